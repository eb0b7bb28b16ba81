"""How the decode worker gets its plugins: what the parent sends it, and what it makes of that.

Only protocols and processors are registered there, and their contexts have no way out to the network: what an event
becomes must not depend on what somebody answers today.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final, NoReturn

import msgspec
from msgspec import Struct, structs

from appliance.clock import SystemClock
from appliance.config import Config, Mail, PluginsTable
from appliance.hookspecs import DeliveryError, HttpAnswer
from appliance.model import JsonObject
from appliance.pipeline.decode import PluginSet
from appliance.plugins import HostServices, PluginHost

LOADER: Final = "appliance.pipeline.worker_plugins:load"


class _Options(Struct, kw_only=True):
    plugins: PluginsTable
    tables: dict[str, JsonObject]
    source: str
    sender: str
    data_dir: str
    site_url: str
    memory_bytes: int
    cpus: float
    max_body: int


def worker_options(
    config: Config,
    *,
    data_dir: Path,
    site_url: str,
    memory_bytes: int,
    cpus: float,
    without: Collection[str] = (),
) -> JsonObject:
    """What the parent sends its worker: of the configuration only what protocols and processors may need.

    Args:
        config: the appliance's.
        data_dir: the appliance's.
        site_url: without a trailing slash.
        memory_bytes: of the whole appliance.
        cpus: of the whole appliance.
        without: plugins that bring neither; a process that reads what strangers sent gets none of their secrets.
    """
    return msgspec.to_builtins(
        _Options(
            plugins=structs.replace(config.plugins, disabled=[*config.plugins.disabled, *without]),
            tables={name: table for name, table in config.plugin_tables.items() if name not in without},
            source=str(config.source or ""),
            sender=config.mail.sender,
            data_dir=str(data_dir),
            site_url=site_url,
            memory_bytes=memory_bytes,
            cpus=cpus,
            max_body=int(config.ingest.max_body),
        ),
        enc_hook=str,  # texts from the environment carry their variable's name, which the worker has no use for
    )


def load(options: JsonObject) -> tuple[PluginSet, int]:
    """In the worker: the plugins, and the largest decompressed body.

    Raises:
        PluginError: a plugin is wrong; the parent shows the text.
    """
    given = msgspec.convert(options, _Options)
    config = Config(plugins=given.plugins, plugin_tables=given.tables, mail=Mail(sender=given.sender))
    config.source = Path(given.source) if given.source else None
    services = HostServices(
        http=_NoHttp(),
        clock=SystemClock(),
        data_dir=Path(given.data_dir),
        site_url=given.site_url,
        memory_bytes=given.memory_bytes,
        cpus=given.cpus,
    )
    host = PluginHost.load(config, services, only=("protocols", "processors"))
    return PluginSet(host.protocols, host.processors), given.max_body


class _NoHttp:
    """The HTTP client of a place that must not have one."""

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        timeout: float = 10.0,
        trusted: bool = False,
    ) -> HttpAnswer:
        """Refuse."""
        _refuse()


def _refuse() -> NoReturn:
    raise DeliveryError(
        "protocols and processors cannot make requests: the same record must always give the same rows. "
        "Fetch what you need in a health check or a command, and keep it in the plugin's data directory.",
        retryable=False,
    )
