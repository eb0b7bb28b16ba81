"""Version 1 of the condev protocol, as the earlier SDK in the field speaks it: where it listens and what it answers.

Not for version 2 (`v2`), but that both ask for their settings at one address.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import parse_qs

import msgspec

from appliance.decoding import MAX_ITEMS, Unkept, UnreadableError, line, read_json
from appliance.hookspecs import (
    Answer,
    Decoded,
    DecodeError,
    IngestRequest,
    Peek,
    ProjectSettings,
    Protocol,
    Route,
    Verdict,
    VerdictKind,
)
from appliance.model import MICROSECONDS, Category, Item, Json, Record, Span

from .ai import decode_span, decode_stream, merge_spans
from .common import Report
from .events import decode_custom, decode_error, decode_other
from .measures import decode_measurement
from .replays import decode_replay
from .v2.settings import settings_answer

_PREFIXES: Final = ("", "/dsn-api")  # the canonical DSN has the prefix, the SDK's shorter forms do not
_KEEP_HEADERS: Final = ("user-agent", "origin", "referer")
_EVENT_TYPE: Final = re.compile(rb'"event_type"\s*:\s*"([A-Za-z_]{1,40})"')
# The SDK sends what is urgent first, so the first kinds of a body are its most important ones.
_CATEGORIES: Final = {
    b"error": Category.ERROR,
    b"custom": Category.ERROR,
    b"performance": Category.MEASUREMENT,
    b"ai_streaming": Category.TRANSACTION,
    b"ai_span": Category.TRANSACTION,
    b"ai_observation": Category.TRANSACTION,
}
_ORDER: Final = list(Category)
_FACTS: Final = frozenset({"ai_feedback", "ai_evaluation", "ai_ingestion_run"})
_DEFAULT_WAIT: Final = 60  # seconds: what the SDK takes itself when it cannot read the header


class CondevProtocol(Protocol):
    """Answers as the server did that the SDK was made for: it takes any 4xx but 408 and 429 as "delivered"."""

    name = "condev"
    routes = tuple(
        route
        for prefix in _PREFIXES
        for route in (
            Route(path=f"{prefix}/tracking/{{key}}", methods=("POST",), name="tracking"),
            Route(path=f"{prefix}/replay/{{key}}", methods=("POST",), name="replay"),
            Route(path=f"{prefix}/app-config", methods=("GET",), name="app-config", takes_body=False),
            Route(path=f"{prefix}/healthz", methods=("GET", "HEAD"), name="healthz", takes_body=False),
        )
    )
    exposed_headers = ("Retry-After", "X-Rate-Limit-Reset")

    def peek(self, request: IngestRequest) -> Peek:
        """Key from the path, kind from the first entries.

        Raises:
            DecodeError: the body is announced as JSON and cannot be any.
        """
        start = request.head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
        announced = request.headers.get("content-type", "").lower().startswith("application/json")
        if announced and start not in (b"{", b"["):
            raise DecodeError("The body must be a JSON object or array.")
        return Peek(
            key=request.params.get("key", "")[:64],
            category=Category.REPLAY if request.route == "replay" else _category(request.head),
            keep_headers=_KEEP_HEADERS,
        )

    def answer(self, verdict: Verdict) -> Answer:
        """Word a verdict; 408 and 429 make the SDK keep what it has and try again."""
        tracking = verdict.route == "tracking"
        match verdict.kind:
            case VerdictKind.ACCEPTED:  # "kafka" is the upstream's word for: a durable queue has it
                return _json(201, {"ok": True, "persistedVia": "kafka"} if tracking else {"ok": True})
            case VerdictKind.GONE:
                return _json(201, {"ok": True, "skipped": True})
            case VerdictKind.RATE_LIMITED | VerdictKind.OVERLOADED:
                return _limited(verdict)
            case _:
                status, reason = _REFUSALS[verdict.kind]
                return _json(status, {"ok": False, "reason": reason, "message": verdict.detail})

    def key_of(self, request: IngestRequest) -> str:
        """The key that app-config is asked for."""
        return _app_id(request.query)[:64]

    def inform(self, request: IngestRequest, settings: ProjectSettings | None) -> Answer:
        """app-config and healthz. An unknown key gets "no replays": the SDK takes any failure for that too."""
        if request.route == "healthz":
            return _json(200, {"ok": True})
        app_id = _app_id(request.query)
        if not app_id:
            return _json(400, {"message": "appId is required", "error": "APP_ID_REQUIRED"})
        if (parse_qs(request.query[:2048]).get("v") or [""])[0] == "2":
            return settings_answer(app_id, settings)
        enabled = settings is not None and settings.replay_enabled
        return _json(200, {"success": True, "data": {"appId": app_id, "replayEnabled": enabled}})

    def decode(self, record: Record) -> Decoded:
        """Turn an accepted body into items.

        Raises:
            DecodeError: it is not JSON, or of another shape than the route takes.
        """
        try:
            if record.route == "replay":
                return Decoded(items=[decode_replay(record)])
            return Decoded(items=_decode_tracking(record))
        except UnreadableError as error:
            raise DecodeError(f"{record.route}: {error}") from None


_REFUSALS: Final = {
    VerdictKind.UNKNOWN_KEY: (403, "unknown_key"),
    VerdictKind.FORBIDDEN_ORIGIN: (403, "forbidden_origin"),
    VerdictKind.MALFORMED: (400, "malformed"),
    VerdictKind.TOO_LARGE: (413, "too_large"),
    VerdictKind.TIMED_OUT: (408, "timed_out"),
}


def _category(head: bytes) -> Category:
    found = {_CATEGORIES.get(kind, Category.OTHER) for kind in _EVENT_TYPE.findall(head)}
    return min(found, key=_ORDER.index) if found else Category.ERROR


def _app_id(query: str) -> str:
    return (parse_qs(query[:2048]).get("appId") or [""])[0][:200]


def _json(status: int, body: dict[str, Json], headers: tuple[tuple[str, str], ...] = ()) -> Answer:
    return Answer(status=status, body=msgspec.json.encode(body), headers=headers)


def _limited(verdict: Verdict) -> Answer:
    wait = max(1, verdict.retry_after or _DEFAULT_WAIT)
    reset = verdict.now // MICROSECONDS + wait
    return _json(
        429,
        {"ok": False, "reason": "rate_limited", "retryAfter": wait},
        (("Retry-After", str(wait)), ("X-Rate-Limit-Reset", str(reset))),
    )


def _decode_tracking(record: Record) -> list[Item]:
    found = read_json(record.body)
    if not isinstance(found, (dict, list)):
        raise UnreadableError("expected an event or an array of events")
    entries = found if isinstance(found, list) else [found]
    unkept = Unkept()
    if len(entries) > MAX_ITEMS:
        unkept.add("too_many_items", "default", len(entries) - MAX_ITEMS)
        entries = entries[:MAX_ITEMS]
    items: list[Item] = []
    spans: list[Span] = []
    for place, entry in enumerate(entries):
        item = _decode_entry(entry, place, record, unkept)
        if isinstance(item, Span):
            spans.append(item)
        elif item is not None:
            items.append(item)
    if not items and not spans and entries and not any(isinstance(entry, dict) for entry in entries):
        raise UnreadableError("expected events, found none")
    return items + list[Item](merge_spans(spans)) + unkept.outcomes(record.received_at)


def _decode_entry(entry: Json, place: int, record: Record, unkept: Unkept) -> Item | None:
    if not isinstance(entry, dict):
        unkept.add("unreadable_item", "unknown")
        return None
    report = Report.of(entry, place, record)
    kind = line(entry.get("event_type"))
    item: Item | None = None
    match kind:
        case "error":
            item = decode_error(report)
        case "custom":
            item = decode_custom(report)
        case "performance":
            item = decode_measurement(report)
        case "ai_streaming":
            item = decode_stream(report)
        case "ai_span" | "ai_observation":
            item = decode_span(report)
        case _ if kind in _FACTS:
            item = decode_other(report, kind)
        case _:
            pass
    if item is None:
        unkept.add("unsupported_item", kind or "unknown")
    return item
