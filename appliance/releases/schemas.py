"""Shapes of releases in the JSON API."""

from __future__ import annotations

from msgspec import Struct

from appliance.hookspecs import ReleaseSummary
from appliance.web.formats import iso


class ReleaseBody(Struct, frozen=True, kw_only=True):
    """One release, as far as events and sessions named it."""

    release: str
    event_count: int
    user_count: int
    session_count: int
    crashed_session_count: int
    first_seen: str
    last_seen: str


class ReleasePage(Struct, frozen=True, kw_only=True):
    """Releases, the newest first; it is one page, `next` is always null."""

    items: list[ReleaseBody]
    next: str | None = None


def release_body(found: ReleaseSummary) -> ReleaseBody:
    """As the API shows it."""
    return ReleaseBody(
        release=found.release,
        event_count=found.events,
        user_count=found.users,
        session_count=found.sessions,
        crashed_session_count=found.crashed_sessions,
        first_seen=iso(found.first_seen),
        last_seen=iso(found.last_seen),
    )
