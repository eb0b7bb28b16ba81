"""Version 2 of the condev protocol, as our own SDK speaks it: docs/protocol.md."""

from __future__ import annotations

from .protocol import CondevProtocolV2

__all__ = ["CondevProtocolV2"]
