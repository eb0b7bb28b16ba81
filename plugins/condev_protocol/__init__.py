"""The condev browser SDK's protocol, version 1, so that pages which carry that SDK report here unchanged."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.hookspecs import PluginContext, PluginInfo, Protocol, hookimpl

from .protocol import CondevProtocol

__all__ = ["CondevProtocol", "plugin", "register_protocols"]

plugin = PluginInfo(
    name="condev_protocol",
    version="1.0",
    requires_api="1.0",
    summary="Accepts errors, web vitals, white screens and replays from the condev SDK.",
)


@hookimpl
def register_protocols(context: PluginContext) -> Sequence[Protocol]:
    """One protocol, "condev"."""
    return [CondevProtocol()]
