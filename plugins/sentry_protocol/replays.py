"""Replay segments: a replay_event with its replay_recording, which holds rrweb events, zlib or plain."""

from __future__ import annotations

import re
import zlib
from typing import Final

from appliance.decoding import (
    UnreadableError,
    cut,
    hex_id,
    line,
    parse_milliseconds,
    parse_seconds,
    read_object,
    text,
    utf8,
    whole,
)
from appliance.model import MAX_LABEL, MAX_URL, Item, Json, JsonObject, ReplaySegment

from .sender import Sender

MAX_SEGMENT_BYTES: Final = 20 * 1024 * 1024  # inflated: what a segment sent without compression could have
_MAX_IDS: Final = 100  # errors, traces and addresses of one segment; the recorded ones have up to 30
_MAX_SEGMENT: Final = 2**31 - 1
_FIRST_TIME: Final = re.compile(rb'"timestamp":\s*(\d{13})')
_HEAD: Final = 64 * 1024  # bytes in which the first rrweb event's time is looked for


class TooLargeError(UnreadableError):
    """The recording inflates to more than MAX_SEGMENT_BYTES."""


def decode_replay(event: bytes | None, recording: bytes | None, sender: Sender) -> list[Item]:
    """One segment, from both of its items; the recording may have come without its event.

    Raises:
        UnreadableError: the recording is missing or broken.
    """
    if recording is None:
        raise UnreadableError("a replay_event without its replay_recording")
    head, _, packed = recording.partition(b"\n")
    try:
        said = read_object(head)
    except UnreadableError:
        said, packed = {}, recording
    body = _inflated(packed)
    found = read_object(event) if event is not None else {}
    ended = sender.clock.at(parse_seconds(found.get("timestamp")))
    segment = whole(found.get("segment_id"))
    if segment is None:
        segment = whole(said.get("segment_id")) or 0
    headers = _object(_object(found.get("request")).get("headers"))
    user = _object(found.get("user"))
    identity = line(user.get("id")) or line(user.get("email")) or line(user.get("username"))
    replay_id = hex_id(text(found.get("replay_id"))) or sender.event_id
    if not replay_id:
        raise UnreadableError("a replay_recording without a replay id")
    return [
        ReplaySegment(
            replay_id=replay_id,
            segment=min(max(0, segment), _MAX_SEGMENT),
            timestamp=ended,
            started=min(ended, _started(found, body, sender, ended)),
            body=body,
            replay_type="buffer" if found.get("replay_type") == "buffer" else "session",
            error_ids=_ids(found.get("error_ids")),
            trace_ids=_ids(found.get("trace_ids")),
            urls=[cut(text(url), MAX_URL) for url in _list(found.get("urls"))[:_MAX_IDS] if url],
            release=cut(line(found.get("release")) or sender.release, MAX_LABEL),
            environment=cut(line(found.get("environment")) or sender.environment, MAX_LABEL),
            user_agent=(text(headers.get("User-Agent")) or sender.user_agent)[:MAX_URL],
            user_id=cut(identity, MAX_LABEL),
        )
    ]


def _inflated(packed: bytes) -> bytes:
    """The rrweb events as a JSON array, at most MAX_SEGMENT_BYTES of it."""
    if packed.lstrip()[:1] == b"[":
        body = packed
    else:
        inflater = zlib.decompressobj()
        try:
            body = inflater.decompress(packed, MAX_SEGMENT_BYTES + 1)
        except zlib.error as error:
            raise UnreadableError(f"the recording is neither JSON nor zlib: {error}") from None
        if len(body) <= MAX_SEGMENT_BYTES and not inflater.eof:
            raise UnreadableError("the recording is cut off")
    if len(body) > MAX_SEGMENT_BYTES:
        raise TooLargeError(f"a recording has at most {MAX_SEGMENT_BYTES} bytes")
    stripped = body.strip()
    if stripped[:1] != b"[" or stripped[-1:] != b"]":
        raise UnreadableError("the recording is not an array of events")
    try:
        stripped.decode()
    except UnicodeDecodeError:
        return utf8(stripped).encode()
    return stripped


def _started(found: JsonObject, body: bytes, sender: Sender, ended: int) -> int:
    said = parse_seconds(found.get("replay_start_timestamp"))
    if said is not None:
        return sender.clock.at(said)
    first = _FIRST_TIME.search(body, 0, _HEAD)
    return sender.clock.at(parse_milliseconds(int(first[1]))) if first else ended


def _ids(value: Json) -> list[str]:
    return [found for found in (hex_id(text(entry)) for entry in _list(value)[:_MAX_IDS]) if found]


def _object(value: Json) -> JsonObject:
    return value if isinstance(value, dict) else {}


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []
