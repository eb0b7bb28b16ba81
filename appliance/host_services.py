"""What plugins are given from the configuration and the machine, in the serving process and in verbs alike.

Apart from `app`, so that a verb which only loads plugins pays for neither the web framework nor a database.
"""

from __future__ import annotations

from pathlib import Path

from appliance import host
from appliance.clock import SystemClock
from appliance.config import Config
from appliance.hookspecs import HttpClient
from appliance.http_client import GuardedHttpClient
from appliance.plugins import HostServices


def guarded_http_client(config: Config) -> GuardedHttpClient:
    """The one way out, as `[outbound]` says; closed by whoever made it."""
    return GuardedHttpClient(proxy=config.outbound.proxy, allow_private=config.outbound.allow_private)


def host_services(config: Config, data_dir: Path, site_url: str, http: HttpClient | None = None) -> HostServices:
    """What plugins are given, from the configuration and the machine."""
    return HostServices(
        http=http or guarded_http_client(config),
        clock=SystemClock(),
        data_dir=data_dir,
        site_url=site_url,
        memory_bytes=host.memory_bytes(),
        cpus=host.cpus(),
    )
