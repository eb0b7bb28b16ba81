"""Sentry's ingest protocol, so that any of its SDKs can report here.

Not for sentry-cli's Web API (releases and source maps), which is no ingest.
"""

from __future__ import annotations

from collections.abc import Sequence

from appliance.hookspecs import PluginContext, PluginInfo, Protocol, hookimpl

from .protocol import SentryProtocol

__all__ = ["SentryProtocol", "plugin", "register_protocols"]

plugin = PluginInfo(
    name="sentry_protocol",
    version="1.0",
    requires_api="1.0",
    summary="Accepts events, spans, sessions and replays from Sentry's SDKs, and CSP reports.",
)


@hookimpl
def register_protocols(context: PluginContext) -> Sequence[Protocol]:
    """One protocol, "sentry"."""
    return [SentryProtocol()]
