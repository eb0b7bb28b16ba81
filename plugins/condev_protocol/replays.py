"""The replay body: one segment, which a later one of the same replay replaces."""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from appliance.decoding import (
    ClientClock,
    UnreadableError,
    cut,
    hash_id,
    hex_id,
    line,
    parse_milliseconds,
    read_object,
    text,
)
from appliance.model import MAX_LABEL, MAX_URL, JsonObject, Record, ReplaySegment


class _Wire(Struct, rename="camel"):
    """The body; only its events are long, and they are kept as they came."""

    events: Raw
    replay_id: Any = None
    started_at: Any = None
    ended_at: Any = None
    url: Any = None
    user_agent: Any = None
    user_id: Any = None
    release: Any = None
    environment: Any = None


_decoder: Final = msgspec.json.Decoder(_Wire)


def decode_replay(record: Record) -> ReplaySegment:
    """Decode a body of /replay/.

    Raises:
        UnreadableError: it is not a JSON object with an array of events.
    """
    found = _read(record.body)
    events = bytes(found.events)
    if events[:1] != b"[":
        raise UnreadableError("a replay has an array of events")
    clock = ClientClock(record.received_at)
    started, ended = clock.between(parse_milliseconds(found.started_at), parse_milliseconds(found.ended_at))
    address = text(found.url)
    return ReplaySegment(
        replay_id=hex_id(text(found.replay_id)) or hash_id("replay", record.project_id, record.body),
        segment=0,
        timestamp=ended,
        started=started,
        body=events,
        replay_type="buffer",  # what lay before an error, and a while after it
        urls=[cut(address, MAX_URL)] if address else [],
        release=cut(line(found.release), MAX_LABEL),
        environment=cut(line(found.environment), MAX_LABEL),
        user_agent=(text(found.user_agent) or record.headers.get("user-agent", ""))[:MAX_URL],
        user_id=cut(line(found.user_id), MAX_LABEL),
    )


def _read(body: bytes) -> _Wire:
    try:
        found = _decoder.decode(body)
        bytes(found.events).decode()
    except (ValueError, RecursionError):
        return _mended(read_object(body))
    return found


def _mended(found: JsonObject) -> _Wire:
    """A body that was broken and could be read all the same: its events are written anew."""
    events = json.dumps(found.get("events"), separators=(",", ":")).encode()
    return _Wire(
        events=Raw(events),
        replay_id=found.get("replayId"),
        started_at=found.get("startedAt"),
        ended_at=found.get("endedAt"),
        url=found.get("url"),
        user_agent=found.get("userAgent"),
        user_id=found.get("userId"),
        release=found.get("release"),
        environment=found.get("environment"),
    )
