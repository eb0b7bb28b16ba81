"""A `PluginContext` for tests of one plugin."""

from __future__ import annotations

from pathlib import Path

import structlog
from msgspec import Struct

from appliance.clock import SystemClock
from appliance.hookspecs import Clock, DeliveryError, HttpAnswer, HttpClient, PluginContext


class NoHttp:
    """An HTTP client for plugins that must not make requests."""

    async def request(self, method: str, url: str, **_: object) -> HttpAnswer:
        """Refuse."""
        raise DeliveryError(f"{method} {url}: this plugin was to make no requests", retryable=False)


def plugin_context(
    config: Struct | None,
    data_dir: Path,
    *,
    http: HttpClient | None = None,
    clock: Clock | None = None,
    name: str = "tested",
    mail_from: str = "Condev Monitor <monitor@example.com>",
) -> PluginContext:
    """What the host would give to a plugin.

    Args:
        config: an instance of its config struct.
        data_dir: an existing directory.
        http: None: requests fail.
        clock: None: real time.
        name: the plugin's.
        mail_from: `[mail] from`.
    """
    return PluginContext(
        name=name,
        config=config,
        http=http or NoHttp(),
        clock=clock or SystemClock(),
        log=structlog.get_logger(f"plugin.{name}"),
        data_dir=data_dir,
        site_url="https://monitor.example.com",
        mail_from=mail_from,
        memory_bytes=1 << 30,
        cpus=2.0,
        data_root=data_dir,
    )
