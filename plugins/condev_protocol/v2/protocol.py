"""Where version 2 listens, what it answers, and how an envelope is read line by line: docs/protocol.md."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import parse_qs

import msgspec

from appliance.decoding import MAX_ITEMS, Unkept, UnreadableError, line, read_object
from appliance.hookspecs import (
    Answer,
    Decoded,
    DecodeError,
    IngestRequest,
    Peek,
    Protocol,
    Route,
    Verdict,
    VerdictKind,
)
from appliance.model import Category, Event, Item, Json, JsonObject, Measurement, Record

from .envelope import Envelope
from .events import decode_event
from .measures import decode_measurement, decode_outcome, decode_span
from .replays import Budget, TooLargeError, decode_replay

PATH: Final = "v2"  # always answered, beside the name that [sdk] path gives
_PREFIXES: Final = ("", "/dsn-api")
_KEEP_HEADERS: Final = ("user-agent", "referer")
_DEFAULT_WAIT: Final = 60  # seconds, where nothing better is known
# What each item type is shed as, and what it is called when something is said about it.
CATEGORIES: Final = {
    "event": Category.ERROR,
    "page_view": Category.SESSION,
    "span": Category.TRANSACTION,
    "measurement": Category.MEASUREMENT,
    "replay_segment": Category.REPLAY,
    "outcome": Category.OTHER,
}
_WORDS: Final = {
    Category.ERROR: "error",
    Category.SESSION: "page_view",
    Category.TRANSACTION: "span",
    Category.MEASUREMENT: "measurement",
    Category.REPLAY: "replay",
    Category.OTHER: "outcome",
}
_ORDER: Final = list(Category)
_HAS: Final = re.compile(rb'"has"\s*:\s*\[([^\]]{0,400})\]')
_NAME: Final = re.compile(rb'"([a-z_]{1,20})"')
_TYPE: Final = re.compile(rb'"type"\s*:\s*"([a-z_]{1,20})"')
_ID: Final = re.compile(rb'"id"\s*:\s*"([0-9a-f]{32})"')
_REPLAY: Final = b'"replay_segment"'
_TYPE_WITHIN: Final = 256  # bytes of a line in which its type is looked for before it is read: a replay is not parsed


class CondevProtocolV2(Protocol):
    """Envelopes of our own SDK."""

    name = "condev_v2"
    exposed_headers = ("Retry-After",)

    def __init__(self, path: str = PATH) -> None:
        """Args: path: the endpoint's name; the usual one is answered as well."""
        names = tuple(dict.fromkeys((path, PATH)))
        self.routes = tuple(
            Route(path=f"{prefix}/{name}/{{key}}", methods=("POST",), name="envelope")
            for prefix in _PREFIXES
            for name in names
        )

    def encoding_of(self, query: str, headers: Mapping[str, str]) -> str:
        """`enc=gzip` in the address: Content-Encoding would cost the browser a preflight."""
        said = headers.get("content-encoding", "").strip()
        if said and said.lower() != "identity":
            return said
        return (parse_qs(query[:2_048]).get("enc") or [""])[0][:20]

    def peek(self, request: IngestRequest) -> Peek:
        """Key from the path, id and importance from the header line.

        Raises:
            DecodeError: the body does not begin with a header.
        """
        head = request.head.removeprefix(b"\xef\xbb\xbf").lstrip()
        if head[:1] != b"{":
            raise DecodeError("The body must be lines of JSON, a header first.")
        header, _, rest = head.partition(b"\n")
        found = _ID.search(header)
        return Peek(
            key=request.params.get("key", "")[:64],
            event_id=found[1].decode() if found else "",
            category=_category(header, rest),
            keep_headers=_KEEP_HEADERS,
        )

    def answer(self, verdict: Verdict) -> Answer:
        """Word a verdict; 408, 429 and 5xx make the SDK keep what it has, any other 4xx makes it drop it."""
        match verdict.kind:
            case VerdictKind.ACCEPTED:
                return _json(200, {"ok": True})
            case VerdictKind.GONE:
                return _json(200, {"ok": True, "skipped": True})
            case VerdictKind.RATE_LIMITED | VerdictKind.OVERLOADED:
                return _wait(verdict)
            case _:
                status, reason = _REFUSALS[verdict.kind]
                return _json(status, {"ok": False, "reason": reason, "message": verdict.detail})

    def decode(self, record: Record) -> Decoded:
        """Turn an envelope into items; a line that cannot be read costs no other.

        Raises:
            DecodeError: none of its lines can be read.
        """
        return Decoded(items=_Reading(record).items())


_REFUSALS: Final = {
    VerdictKind.UNKNOWN_KEY: (403, "unknown_key"),
    VerdictKind.FORBIDDEN_ORIGIN: (403, "forbidden_origin"),
    VerdictKind.MALFORMED: (400, "malformed"),
    VerdictKind.TOO_LARGE: (413, "too_large"),
    VerdictKind.TIMED_OUT: (408, "timed_out"),
}


def _category(header: bytes, rest: bytes) -> Category:
    """The most important thing that the header names; without a list, of the items that can be seen."""
    said = _HAS.search(header)
    names = _NAME.findall(said[1]) if said else _TYPE.findall(rest)
    found = {CATEGORIES.get(name.decode(), Category.OTHER) for name in names}
    return min(found, key=_ORDER.index) if found else Category.ERROR


def _json(status: int, body: dict[str, Json], headers: tuple[tuple[str, str], ...] = ()) -> Answer:
    return Answer(status=status, body=msgspec.json.encode(body), headers=headers)


def _wait(verdict: Verdict) -> Answer:
    """Which categories have to wait: all when there are too many requests, else this one and what is missed less."""
    wait = max(1, verdict.retry_after or _DEFAULT_WAIT)
    limited = verdict.kind is VerdictKind.RATE_LIMITED or verdict.category is Category.ERROR
    waiting: list[Json] = [] if limited else [_WORDS[one] for one in _ORDER[_ORDER.index(verdict.category) :]]
    reason = "rate_limited" if verdict.kind is VerdictKind.RATE_LIMITED else "overloaded"
    return _json(
        429,
        {"ok": False, "reason": reason, "retry_after": wait, "categories": waiting, "message": verdict.detail},
        (("Retry-After", str(wait)),),
    )


class _Reading:
    """One envelope as it is read."""

    def __init__(self, record: Record) -> None:
        """Raises DecodeError when not even a header or an item can be read."""
        self._record = record
        self._unkept = Unkept()
        self._budget = Budget()
        # Bounded: a body of line feeds would become millions of lines.
        self._lines = record.body.removeprefix(b"\xef\xbb\xbf").split(b"\n", MAX_ITEMS + 1)
        try:
            header = read_object(self._lines[0])
            self._has_header = True
        except UnreadableError as error:
            header, self._has_header = {}, False
            self._problem = str(error)
        self._envelope = Envelope.of(header, record)

    def items(self) -> list[Item]:
        """Everything that it holds: the items as they came, then the page view, the visit, and what was not kept."""
        kept: dict[tuple[str, ...], Item] = {}
        others: list[Item] = []
        for item in self._read_lines():
            key = _key(item)
            before = kept.get(key) if key else None
            if not key:
                others.append(item)
            elif before is None or _replaces(item, before):
                kept[key] = item
        envelope = self._envelope
        if not self._has_header:
            if not kept and not others:
                raise DecodeError(f"envelope: the header cannot be read ({self._problem}), nor anything else")
            self._unkept.add("unreadable_item", "header")
        own: list[Item] = [item for item in (envelope.page_view(), envelope.visit()) if item is not None]
        return [*kept.values(), *others, *own, *self._unkept.outcomes(self._record.received_at)]

    def _read_lines(self) -> Iterator[Item]:
        for place, raw in enumerate(self._lines[1:], 1):
            if place > MAX_ITEMS:
                self._unkept.add("too_many_items", "default", 1 + raw.count(b"\n"))
                return
            stripped = raw.strip()
            if not stripped:
                continue
            try:
                item = self._read(stripped, place)
            except TooLargeError:
                self._unkept.add("too_large", "replay")
            except UnreadableError:
                self._envelope.note(_number_of(stripped))  # it came: no gap, but one that is said
                self._unkept.add("unreadable_item", "unknown")
            else:
                if item is not None:
                    yield item

    def _read(self, raw: bytes, place: int) -> Item | None:
        if _REPLAY in raw[:_TYPE_WITHIN]:
            return self._replay(raw)
        found = read_object(raw)
        kind = line(found.get("type"))
        if kind == "replay_segment":
            return self._replay(raw)
        envelope = self._envelope
        envelope.note(found)
        if kind == "event":
            item: Item | None = decode_event(found, raw, place, envelope)
        elif kind in _TIMED:
            item = _TIMED[kind](found, raw, place, envelope)
        elif kind == "outcome":
            item = decode_outcome(found, envelope)
        else:
            item = None
            envelope.time(found.get("at"))
            if kind != "page_view":
                self._unkept.add("unsupported_item", kind or "unknown")
        return item

    def _replay(self, raw: bytes) -> Item | None:
        if Category.REPLAY in self._record.refused:
            self._envelope.note(_number_of(raw))
            self._unkept.add("replay_disabled", "replay")
            return None
        return decode_replay(raw, self._envelope, self._budget)


_TIMED: Final = {"measurement": decode_measurement, "span": decode_span}
_NUMBER: Final = re.compile(rb'"n"\s*:\s*(\d{1,9})')


def _number_of(raw: bytes) -> JsonObject:
    """The sequence number of a line that is not read."""
    found = _NUMBER.search(raw[:_TYPE_WITHIN])
    return {"n": int(found[1])} if found else {}


def _key(item: Item) -> tuple[str, ...]:
    """Under which an item is one; () for what has no id of its own."""
    match item:
        case Event() | Measurement():
            return (type(item).__name__, item.id)
        case _:
            return ()


def _replaces(item: Item, before: Item) -> bool:
    """Of one measurement the last value counts; an event that stands twice is the first."""
    return isinstance(item, Measurement) and isinstance(before, Measurement) and item.revision > before.revision
