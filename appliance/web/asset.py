"""One static file, ready to send: its type, and its body compressed as a client takes it.

Apart from `assets`, since ingest serves the SDK's files and has no web framework.
"""

from __future__ import annotations

import gzip
import mimetypes
from functools import cached_property
from typing import Final

import brotli

FOREVER: Final = "public, max-age=31536000, immutable"
_OWN_TYPES: Final = {
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".speculationrules": "application/speculationrules+json",
}
_COMPRESSED: Final = frozenset({".css", ".js", ".svg", ".json", ".html"})
_SMALL: Final = 512  # bytes; below it compression gains less than its header costs


class Asset:
    """One file, ready to send. Compressed when first asked for: most of a process's files never are."""

    def __init__(self, content_type: str, body: bytes, *, worth_it: bool) -> None:
        """Args: worth_it: whether compression gains anything."""
        self.content_type: Final = content_type
        self.body: Final = body
        self._worth_it: Final = worth_it

    @cached_property
    def gzip(self) -> bytes:
        """Empty: not worth it."""
        return gzip.compress(self.body, 9, mtime=0) if self._worth_it else b""

    @cached_property
    def br(self) -> bytes:
        """Empty: not worth it."""
        return brotli.compress(self.body, quality=9) if self._worth_it else b""  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]


def asset_of(suffix: str, body: bytes) -> Asset:
    """A file made ready; `suffix` says of which kind it is."""
    kind = _OWN_TYPES.get(suffix) or mimetypes.types_map.get(suffix, "")
    return Asset(
        f"{kind}; charset=utf-8" if kind.startswith("text/") else kind or "application/octet-stream",
        body,
        worth_it=suffix in _COMPRESSED and len(body) > _SMALL,
    )


def encoded(asset: Asset, accepts: str) -> tuple[bytes, bytes]:
    """The body as this client takes it, and its Content-Encoding, b"" for none; `accepts` is Accept-Encoding."""
    codings = {part.split(";")[0].strip() for part in accepts.split(",") if "q=0" not in part.replace("q=0.", "")}
    if "br" in codings and asset.br:
        return asset.br, b"br"
    if "gzip" in codings and asset.gzip:
        return asset.gzip, b"gzip"
    return asset.body, b""
