"""Secrets in replay segments. They are megabytes of JSON, so they are searched as bytes and never parsed.

Not for what rrweb masks itself (inputs), nor for text on the page, which is what a replay is for.
"""

from __future__ import annotations

import re
from typing import Final

from .values import FILTERED, is_card

_FILTERED: Final = FILTERED.encode()
_WORD: Final = (
    rb"password|passwd|passphrase|secret|token|authorization|cookie|csrf"
    rb"|api[_-]?key|access[_-]?key|private[_-]?key|session[_-]?id"
)
# "authorization":"…" of network breadcrumbs; also inside a string of JSON, where the quotes are escaped.
_MEMBER: Final = re.compile(
    rb'(\\?"[A-Za-z0-9_.-]{0,40}(?i:' + _WORD + rb')[A-Za-z0-9_.-]{0,40}\\?"\s{0,4}+:\s{0,4}+\\?")([^"\\]{1,8192}+)'
)
_PARAMETER: Final = re.compile(
    rb"([?&#;][A-Za-z0-9_.-]{0,40}(?i:" + _WORD + rb")[A-Za-z0-9_.-]{0,40}=)([^&\s\"'#;<>\\]{1,8192}+)"
)
_TOKEN: Final = re.compile(
    rb"eyJ[A-Za-z0-9_-]{10,4096}+(?:\.[A-Za-z0-9_-]{2,8192}+){0,4}+"
    rb"|(?<![A-Za-z0-9])(?:A[KS]IA[A-Z0-9]{12,128}+|AIza[A-Za-z0-9_-]{30,128}+|github_pat_[A-Za-z0-9_]{10,255}+"
    rb"|gh[pousr]_[A-Za-z0-9]{10,255}+|(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{10,255}+|xox[abeoprs]-[A-Za-z0-9-]{8,255}+)"
)
_CARD: Final = re.compile(rb"(?<![\w.])(?:\d[ -]?){12,18}\d(?![\w])")
# What stands before a number of JSON; its place must be taken by a number.
_NUMBER: Final = re.compile(rb'(?:":|[\[,])\s{0,4}\Z')
_DIGITS: Final = bytes(0x30 if 0x30 <= byte <= 0x39 else byte for byte in range(256))


def clean_recording(body: bytes) -> bytes:
    """The events without tokens, sensitive parameters and members, and card numbers; still JSON."""
    found = _MEMBER.sub(rb"\1" + _FILTERED, body) if b'":' in body else body
    if b"=" in found:
        found = _PARAMETER.sub(rb"\1" + _FILTERED, found)
    found = _TOKEN.sub(_FILTERED, found)
    if b"0" * 13 in found.translate(_DIGITS, b" -"):
        found = _CARD.sub(_card, found)
    return found


def _card(found: re.Match[bytes]) -> bytes:
    digits = found[0].translate(None, b" -")
    if not is_card(digits.decode()):
        return found[0]
    return b"0" if _NUMBER.search(found.string, max(0, found.start() - 8), found.start()) else _FILTERED
