"""Times of clients, whose clocks are wrong: read, corrected by the skew a request shows, clamped to its receive time.

Not for our own times: those come with the record.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from msgspec import Struct

from appliance.decoding.coerce import number
from appliance.model import MICROSECONDS, Json

# A body has half a minute to arrive, so a difference below a minute says nothing about the client's clock.
MIN_SKEW: Final = 60 * MICROSECONDS
# SDKs keep events while offline: condev for a day, Sentry's for as long as it
# lasts. A month is what Sentry's servers believe.
MAX_AGE: Final = 30 * 24 * 3600 * MICROSECONDS
_LATEST: Final = 253_402_300_799.0  # the end of the year 9999, in seconds


def parse_seconds(value: Json) -> int | None:
    """µs from seconds since the epoch or an RFC 3339 time; None when it is neither."""
    if type(value) is float:  # what browsers send
        return round(value * MICROSECONDS) if 0 <= value <= _LATEST else None
    if isinstance(value, str) and not value[:1].isspace() and ("-" in value[1:] or ":" in value):
        return _parse_rfc3339(value)
    found = number(value)
    return round(found * MICROSECONDS) if found is not None and 0 <= found <= _LATEST else None


def parse_milliseconds(value: Json) -> int | None:
    """µs from milliseconds since the epoch or an RFC 3339 time; None when it is neither."""
    if isinstance(value, str) and ("-" in value[1:] or ":" in value):
        return _parse_rfc3339(value)
    found = number(value)
    return round(found * 1_000) if found is not None and 0 <= found <= _LATEST * 1_000 else None


def _parse_rfc3339(value: str) -> int | None:
    try:
        found = datetime.fromisoformat(value.strip())
        seconds = (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
    return round(seconds * MICROSECONDS) if 0 <= seconds <= _LATEST else None


class ClientClock(Struct, frozen=True):
    """The client's clock as one request shows it."""

    received_at: int  # µs, ours
    skew: int = 0  # µs to add to the client's times

    @classmethod
    def of(cls, received_at: int, sent_at: int | None) -> ClientClock:
        """Args: received_at: µs, ours; sent_at: µs, when the client says it sent the request, if it says."""
        skew = received_at - sent_at if sent_at is not None else 0
        return cls(received_at, skew if abs(skew) >= MIN_SKEW else 0)

    def at(self, client_time: int | None) -> int:
        """Our time of a client's time, never after the receive time.

        It is the receive time itself for None and for a time that is more than MAX_AGE old.
        """
        if client_time is None:
            return self.received_at
        found = client_time + self.skew
        if found > self.received_at or found < self.received_at - MAX_AGE:
            return self.received_at
        return found

    def believes(self, client_time: int) -> bool:
        """False when `at` gives another time than the corrected one, by more than MIN_SKEW."""
        return -MIN_SKEW <= self.received_at - (client_time + self.skew) <= MAX_AGE

    def between(self, start: int | None, end: int | None) -> tuple[int, int]:
        """Our times of an interval; what must be moved is moved whole, so that its length stays."""
        ended = self.at(end if end is not None else start)
        if start is None or end is None:
            return ended, ended
        length = min(max(0, end - start), MAX_AGE)
        return ended - length, ended
