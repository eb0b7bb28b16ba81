"""Replay segments: rrweb's events as they came, or gzipped and in base64 with a bound on what that unpacks to."""

from __future__ import annotations

import binascii
import json
import zlib
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from appliance.decoding import (
    UnreadableError,
    cut,
    hex_id,
    parse_milliseconds,
    read_object,
    text,
    texts,
    utf8,
    whole,
)
from appliance.model import MAX_URL, Json, JsonObject, ReplaySegment

from .envelope import Envelope

MAX_SEGMENT_BYTES: Final = 10 * 1024 * 1024  # unpacked; segments of our SDK have 100 KB, a full snapshot 2 MB
MAX_UNPACKED_BYTES: Final = 32 * 1024 * 1024  # of all segments of one envelope
_MAX_IDS: Final = 100  # errors, traces and addresses of one segment
_MAX_SEGMENT: Final = 2**31 - 1
_GZIP: Final = 31  # zlib's wbits for gzip
_NOTHING: Final = Raw(b"")


class TooLargeError(UnreadableError):
    """It unpacks to more than a segment may have."""


class Budget:
    """Bytes that the segments of one envelope may still unpack to."""

    def __init__(self) -> None:
        self.left = MAX_UNPACKED_BYTES

    def limit(self) -> int:
        """Of the next segment."""
        return min(MAX_SEGMENT_BYTES, self.left)


class _Wire(Struct):
    """A line; only its events are long, and they are kept as they came."""

    events: Raw = _NOTHING
    data: Any = None
    n: Any = None
    at: Any = None
    replay_id: Any = None
    segment: Any = None
    replay_type: Any = None
    started: Any = None
    ended: Any = None
    error_ids: Any = None
    trace_ids: Any = None
    urls: Any = None


_decoder: Final = msgspec.json.Decoder(_Wire)
_array: Final = msgspec.json.Decoder(list[Raw])


def decode_replay(raw: bytes, envelope: Envelope, budget: Budget) -> ReplaySegment:
    """One segment; its sequence number is noted.

    Raises:
        UnreadableError: it names no replay, or has no array of events.
        TooLargeError: it unpacks to too much.
    """
    found = _read(raw)
    envelope.note({"n": found.n})
    replay_id = hex_id(text(found.replay_id))
    if not replay_id:
        raise UnreadableError("a replay segment has a replay_id")
    body = _events(bytes(found.events), found.data, budget)
    segment = whole(found.segment) or 0
    started, ended = envelope.clock.between(parse_milliseconds(found.started), parse_milliseconds(found.ended))
    envelope.time(found.at or found.ended)
    return ReplaySegment(
        replay_id=replay_id,
        segment=min(max(0, segment), _MAX_SEGMENT),
        timestamp=ended,
        started=started,
        body=body,
        replay_type="buffer" if found.replay_type == "buffer" else "session",
        error_ids=_ids(found.error_ids),
        trace_ids=_ids(found.trace_ids),
        urls=[cut(url, MAX_URL) for url in texts(found.urls, _MAX_IDS) if url],
        release=envelope.release,
        environment=envelope.environment,
        user_agent=envelope.user_agent,
        user_id=envelope.user_id,
        session_id=envelope.session_id,
    )


def _read(raw: bytes) -> _Wire:
    try:
        found = _decoder.decode(raw)
        bytes(found.events).decode()
    except (ValueError, RecursionError):
        return _mended(read_object(raw))
    return found


def _mended(found: JsonObject) -> _Wire:
    """A line that was broken and could be read all the same: its events are written anew."""
    wire = msgspec.convert({name: value for name, value in found.items() if name != "events"}, _Wire)
    if "events" in found:
        wire.events = Raw(json.dumps(found["events"], separators=(",", ":")).encode())
    return wire


def _events(events: bytes, data: Json, budget: Budget) -> bytes:
    if events not in (b"", b"null"):
        body = events
        if len(body) > budget.limit():
            raise TooLargeError(f"a replay segment has at most {MAX_SEGMENT_BYTES} bytes")
    elif isinstance(data, str):
        body = _unpacked(data, budget.limit())
    else:
        raise UnreadableError("a replay segment has events or data")
    budget.left -= len(body)
    try:
        _array.decode(body)
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"the replay's events are no array: {error}") from None
    return body


def _unpacked(data: str, limit: int) -> bytes:
    """What base64 of gzip holds, at most `limit` bytes of it, as UTF-8."""
    try:
        packed = binascii.a2b_base64(data.encode("ascii", "replace"))
        inflater = zlib.decompressobj(_GZIP)
        body = inflater.decompress(packed, limit + 1)
    except (ValueError, zlib.error) as error:
        raise UnreadableError(f"the replay's data is not base64 of gzip: {error}") from None
    if len(body) > limit:
        raise TooLargeError(f"a replay segment unpacks to at most {limit} bytes")
    if not inflater.eof:
        raise UnreadableError("the replay's data is cut off")
    try:
        body.decode()
    except UnicodeDecodeError:
        return utf8(body).encode()
    return body


def _ids(value: Json) -> list[str]:
    return [found for entry in texts(value, _MAX_IDS) if (found := hex_id(entry))]
