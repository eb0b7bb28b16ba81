"""When a closed issue opens again because of an event. Pure: the rules, and nothing of databases.

Resolved now: an event that happened after that moment. Resolved in a release: an event of that release, or of one that
was first seen in the project after it; version numbers are not compared, since not everybody's can be. An event that
names no release counts by its time. Ignored: when the count or the time set for it is reached.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

from msgspec import Struct

Return: TypeAlias = Literal["regressed", "count_reached", "time_passed"]


class Closed(Struct, frozen=True, kw_only=True):
    """What is known of an issue that is resolved or ignored."""

    state: str
    resolved_at: int | None = None
    resolved_in: str = ""
    ignored_until: int | None = None
    ignored_until_count: int | None = None


def regresses(closed: Closed, timestamp: int, release: str, first_seen: Mapping[str, int]) -> bool:
    """Whether an event brings a resolved issue back.

    Args:
        closed: the issue.
        timestamp: of the event, µs.
        release: of the event; "" = it names none.
        first_seen: when the project's releases were first seen, µs; the one it was resolved in may be missing.
    """
    resolved_at = closed.resolved_at or 0
    if not closed.resolved_in or not release:
        return timestamp > resolved_at
    if release == closed.resolved_in:
        return True
    # Resolved in a release that is yet to come: whatever the project had seen by then is older.
    fixed = first_seen.get(closed.resolved_in, resolved_at)
    return first_seen.get(release, timestamp) > fixed


def ends_ignoring(closed: Closed, timestamp: int, event_count: int) -> Return | None:
    """Whether an ignored issue opens again.

    Args:
        closed: the issue.
        timestamp: of its newest event, µs.
        event_count: for life, that event included.
    """
    if closed.ignored_until_count is not None and event_count >= closed.ignored_until_count:
        return "count_reached"
    if closed.ignored_until is not None and timestamp >= closed.ignored_until:
        return "time_passed"
    return None
