"""The quick look at a request before it is accepted: key, event id and kind, from what arrives first.

Not for decoding: the head is the first 4 KiB of the body and may end anywhere.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from appliance.decoding import hex_id
from appliance.hookspecs import DecodeError, IngestRequest, Peek
from appliance.model import Category

from .sender import credentials_of

KEEP_HEADERS: Final = ("user-agent", "x-sentry-auth", "content-type")
# Whose key it is when only the DSN names it; the CLI writes an empty password.
_DSN: Final = re.compile(r"https?://([A-Za-z0-9_-]{1,64})(?::[^@/]*)?@[^/]+/(?:[^?#]*/)?(\d{1,18})/?")
_CATEGORIES: Final = {
    "event": Category.ERROR,
    "feedback": Category.ERROR,
    "user_report": Category.ERROR,
    "session": Category.SESSION,
    "sessions": Category.SESSION,
    "transaction": Category.TRANSACTION,
    "span": Category.TRANSACTION,
    "replay_event": Category.REPLAY,
    "replay_recording": Category.REPLAY,
}
_ORDER: Final = list(Category)  # most important first
_TYPE: Final = re.compile(rb'\{[^{}]*?"type"\s*:\s*"([a-z_]{1,40})"[^\n]*')
_LENGTH: Final = re.compile(rb'"length"\s*:\s*(\d{1,12})')
# Strings and brackets of a JSON text that may be cut off anywhere.
_TOKENS: Final = re.compile(rb'"([^"\\]*+(?:\\.[^"\\]*+)*+)"(\s*:)?|[\[{]|[\]}]', re.DOTALL)
_MAX_ITEMS: Final = 20  # headers looked at: an error comes first, its attachments after


class _Header(msgspec.Struct):
    event_id: str | None = None
    dsn: str | None = None


_header_decoder: Final = msgspec.json.Decoder(_Header)
_HEADER_TEXTS: Final = {
    name: re.compile(rb'"%s"\s*:\s*"([^"\\]{1,200})"' % name.encode()) for name in ("event_id", "dsn")
}


def peek(request: IngestRequest) -> Peek:
    """Find what admission needs.

    Raises:
        DecodeError: the body cannot be what the route takes.
    """
    key = credentials_of(request.query, request.headers.get("x-sentry-auth", "")).get("sentry_key", "")
    event_id, category = "", Category.ERROR
    match request.route:
        case "envelope":
            event_id, dsn, category = _peek_envelope(request.head)
            key = key or dsn
        case "store":
            _expect(request.head, b"{", "a JSON object")
            event_id = hex_id(_top_level_text(request.head, b"event_id"))
        case _:
            _expect(request.head, b"{[", "a JSON object or array")
    project = request.params.get("project_id", "")
    return Peek(
        key=key[:64],
        project_id=int(project) if project.isdecimal() and len(project) <= 18 else 0,
        event_id=event_id,
        category=category,
        keep_headers=KEEP_HEADERS,
    )


def _expect(head: bytes, first: bytes, what: str) -> None:
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if not start or start not in first:
        raise DecodeError(f"The body must be {what}.")


def _peek_envelope(head: bytes) -> tuple[str, str, Category]:
    """The event id, the key of the DSN, and the most important kind among the first items."""
    _expect(head, b"{", "an envelope: a JSON header, a line break, then items")
    end = head.find(b"\n")
    line = head if end < 0 else head[:end]
    try:
        header = _header_decoder.decode(line)
    except (ValueError, RecursionError):  # longer than the head, or with a field of another type: decode will say
        header = _Header(*(_found(_HEADER_TEXTS[name], line) for name in ("event_id", "dsn")))
    dsn = _DSN.fullmatch(header.dsn) if header.dsn else None
    category = _category(head, end + 1) if end >= 0 else None
    return hex_id(header.event_id or ""), dsn[1] if dsn else "", category or Category.OTHER


def _found(pattern: re.Pattern[bytes], line: bytes) -> str | None:
    found = pattern.search(line)
    return found[1].decode("utf-8", "replace") if found else None


def _category(head: bytes, position: int) -> Category | None:
    best: Category | None = None
    for _ in range(_MAX_ITEMS):
        found = _TYPE.match(head, position)
        if found is None:
            break
        category = _CATEGORIES.get(found[1].decode(), Category.OTHER)
        if best is None or _ORDER.index(category) < _ORDER.index(best):
            best = category
        if best is Category.ERROR:
            break
        length = _LENGTH.search(found[0])
        position = found.end() + 1
        position = position + int(length[1]) + 1 if length else head.find(b"\n", position) + 1
        if position <= 0 or position >= len(head):
            break
    return best


def _top_level_text(head: bytes, name: bytes) -> str:
    """The value of a key of the outermost object; breadcrumbs have keys of the same name."""
    depth, wanted = 0, False
    for token in _TOKENS.finditer(head):
        first = head[token.start()]
        if first == 0x22:  # a string
            if wanted and not token[2]:
                return token[1].decode("utf-8", "replace")
            wanted = depth == 1 and token[2] is not None and token[1] == name
        else:
            depth += 1 if first in b"[{" else -1
            wanted = False
    return ""
