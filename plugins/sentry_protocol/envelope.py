"""The framing of an envelope: a header line, then items, each a header line and a payload with or without a length."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from appliance.decoding import MAX_ITEMS, UnreadableError, read_object, text, whole
from appliance.hookspecs import DecodeError
from appliance.model import JsonObject

BINARY_TYPES: Final = frozenset({"attachment", "replay_recording", "statsd"})  # payloads that may hold line breaks
MAX_HEADER: Final = 65_536  # bytes of a header line; baggage makes them a few KiB


class EnvelopeItem(Struct, frozen=True):
    """One item, not yet decoded."""

    type: str
    header: JsonObject
    payload: bytes
    place: int  # its number in the envelope


class Envelope(Struct, frozen=True):
    """A request body, taken apart."""

    header: JsonObject
    items: list[EnvelopeItem]
    broken: str = ""  # why the rest could not be taken apart


def read_envelope(body: bytes) -> Envelope:
    """Take an envelope apart. What follows an unreadable item header is lost, and `broken` says so.

    Raises:
        DecodeError: not even the envelope's header can be read.
    """
    end = _line_end(body, 0)
    try:
        header = read_object(body[: min(end, MAX_HEADER)])
    except UnreadableError as error:
        raise DecodeError(f"the envelope's header cannot be read: {error}") from None
    items: list[EnvelopeItem] = []
    try:
        items.extend(_items(body, end + 1))
    except UnreadableError as error:
        return Envelope(header, items, f"item {len(items) + 1}: {error}")
    return Envelope(header, items)


def _items(body: bytes, position: int) -> Iterator[EnvelopeItem]:
    place = 0
    while position < len(body):
        end = _line_end(body, position)
        head = body[position:end].strip()
        position = end + 1
        if not head:
            continue
        if place >= MAX_ITEMS:
            raise UnreadableError(f"an envelope has at most {MAX_ITEMS} items")
        header = read_object(head[:MAX_HEADER])
        kind = text(header.get("type"))
        end = _payload_end(body, position, whole(header.get("length")), kind)
        yield EnvelopeItem(kind, header, body[position:end], place)
        place += 1
        position = end
        if body[position : position + 1] == b"\n":
            position += 1


def _payload_end(body: bytes, start: int, length: int | None, kind: str) -> int:
    """Where a payload ends: after its length, or at the line's end when it has none or one that cannot be right."""
    if length is None or length < 0:
        return _line_end(body, start)
    end = start + length
    if kind in BINARY_TYPES or (body[end : end + 1] in {b"", b"\n"} and end <= len(body)):
        return min(end, len(body))
    return _line_end(body, start)  # JSON holds no raw line break, so the line is the payload


def _line_end(body: bytes, start: int) -> int:
    end = body.find(b"\n", start)
    return len(body) if end < 0 else end
