"""The condev protocol: version 2 of our own SDK, and version 1, so that pages with the earlier one report unchanged."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.hookspecs import PluginContext, PluginInfo, Protocol, hookimpl

from .protocol import CondevProtocol
from .v2 import CondevProtocolV2

__all__ = ["CondevProtocol", "CondevProtocolV2", "plugin", "register_protocols"]

plugin = PluginInfo(
    name="condev_protocol",
    version="2.0",
    requires_api="1.0",
    summary="Accepts errors, web vitals, white screens, spans and replays from the condev SDK, old and new.",
)


@hookimpl
def register_protocols(context: PluginContext) -> Sequence[Protocol]:
    """Both versions."""
    return [CondevProtocol(), CondevProtocolV2(context.sdk_path)]
