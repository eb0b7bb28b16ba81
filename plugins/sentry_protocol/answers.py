"""Verdicts in the words of Sentry's SDKs."""

from __future__ import annotations

from typing import Final

import msgspec

from appliance.hookspecs import Answer, Verdict, VerdictKind
from appliance.model import Category

# What is shed goes by kind, least important first: who sheds one kind wants none of those after it either.
_SHED: Final = {
    Category.ERROR: "",  # nothing at all
    Category.SESSION: "session;transaction;transaction_indexed;span;profile;replay;attachment;log_item;trace_metric",
    Category.TRANSACTION: "transaction;transaction_indexed;span;profile;replay;attachment;log_item;trace_metric",
    Category.MEASUREMENT: "transaction;transaction_indexed;span;profile;replay;attachment;log_item;trace_metric",
    Category.REPLAY: "replay;attachment;log_item;trace_metric;profile",
    Category.OTHER: "attachment;log_item;trace_metric;profile;monitor;default;internal",
}
_REFUSALS: Final = {
    VerdictKind.UNKNOWN_KEY: (403, "No project has this key: check the DSN in the dashboard's project settings."),
    VerdictKind.FORBIDDEN_ORIGIN: (403, "This origin is not among the project's allowed origins."),
    VerdictKind.TOO_LARGE: (413, "The body is too large."),
    VerdictKind.TIMED_OUT: (408, "The body did not arrive in time."),
    VerdictKind.MALFORMED: (400, "The body cannot be read."),
}
_REPLAYS_OFF_SECONDS: Final = 3600  # an SDK asks again after an hour, in case replays were switched on
_DEFAULT_WAIT: Final = 60  # seconds: what the SDKs take themselves when nothing is said


def answer(verdict: Verdict) -> Answer:
    """Word a verdict. No answer is a 5xx: the SDKs never retry one, and a 429 at least stops them for a while."""
    match verdict.kind:
        case VerdictKind.ACCEPTED:
            return Answer(status=200, body=msgspec.json.encode({"id": verdict.event_id}))
        case VerdictKind.RATE_LIMITED:
            return _limited(verdict, "", "rate_limited")
        case VerdictKind.OVERLOADED:
            return _limited(verdict, _SHED[verdict.category], "overloaded")
        case VerdictKind.GONE:
            return _limited(verdict, "replay", "replays_off", _REPLAYS_OFF_SECONDS)
        case _:
            return _refused(verdict)


def _limited(verdict: Verdict, categories: str, reason: str, seconds: int = 0) -> Answer:
    wait = max(1, verdict.retry_after or seconds or _DEFAULT_WAIT)
    detail = verdict.detail or f"Try again in {wait} seconds."
    return Answer(
        status=429,
        body=msgspec.json.encode({"detail": detail}),
        headers=(
            ("Retry-After", str(wait)),
            ("X-Sentry-Rate-Limits", f"{wait}:{categories}:project:{reason}"),
            ("X-Sentry-Error", _one_line(detail)),
        ),
    )


def _refused(verdict: Verdict) -> Answer:
    status, sentence = _REFUSALS.get(verdict.kind, _REFUSALS[VerdictKind.MALFORMED])
    if verdict.kind is VerdictKind.TOO_LARGE and verdict.max_bytes:
        sentence = f"The body is larger than {verdict.max_bytes} bytes."
    detail = verdict.detail or sentence
    return Answer(
        status=status,
        body=msgspec.json.encode({"detail": detail}),
        headers=(("X-Sentry-Error", _one_line(detail)),),
    )


def _one_line(detail: str) -> str:
    """Fit for a header: printable ASCII on one line."""
    return "".join(character if " " <= character <= "~" else " " for character in detail)[:200]
