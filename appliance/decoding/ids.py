"""Ids of one form: 32 lower-case hex digits for events and traces, 16 for spans. Others are hashed, always alike."""

from __future__ import annotations

import hashlib
import re
from typing import Final

_HEX32: Final = re.compile(r"[0-9a-f]{32}")
_HEX16: Final = re.compile(r"[0-9a-f]{16}")
_NO_ID: Final = "0" * 32


def hex_id(value: str) -> str:
    """The 32 hex digits of a hex id or UUID; a hash of any other text; "" for none.

    Some SDKs make ids of base 36 where the browser has no secure random source: those are hashed.
    """
    if not value:
        return ""
    plain = value.strip().lower().replace("-", "")
    if _HEX32.fullmatch(plain):
        return plain
    return hash_id("id", value) if plain else ""


def span_id(value: str) -> str:
    """The 16 hex digits of a span id; a hash of any other text; "" for none."""
    if not value:
        return ""
    plain = value.strip().lower()
    if _HEX16.fullmatch(plain):
        return plain
    return hash_id("span", value)[:16] if plain else ""


def hash_id(*parts: str | bytes | int) -> str:
    """32 hex digits made from what identifies a thing that came without an id: the same parts, the same id."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode("utf-8", "replace")
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    found = digest.hexdigest()
    return found if found != _NO_ID else "1" * 32
