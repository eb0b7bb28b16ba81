"""What the pages of replays show: rows of the list, and the moments of one replay in the order of time. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct

from appliance.hookspecs import EventSummary, ReplaySummary
from appliance.issues.views import IssueMention
from appliance.replays.service import Replay

MARK_WIDTH: Final = 4.0  # of 1000, on the player's line of time


class ReplayRow(Struct, frozen=True, kw_only=True):
    """One replay in the list."""

    replay: ReplaySummary
    seconds: float
    place: str  # the path of its first page
    more_pages: int
    errors: int


class Moment(Struct, frozen=True, kw_only=True):
    """Something that happened while it was recorded."""

    event: EventSummary
    issue: IssueMention | None
    offset: int  # ms from the beginning of the replay
    x: float  # on a line of 1000


class ReplayView(Struct, frozen=True, kw_only=True):
    """One replay, as its page shows it."""

    replay: ReplaySummary
    seconds: float
    moments: list[Moment]
    more_moments: bool
    start_at: int  # ms; where the player begins
    session_ids: tuple[str, ...] = ()  # of its segments; of its events where those do not say


def row_of(replay: ReplaySummary) -> ReplayRow:
    """A row of the list."""
    return ReplayRow(
        replay=replay,
        seconds=_seconds(replay),
        place=path_of(replay.urls[0]) if replay.urls else "",
        more_pages=max(0, len(replay.urls) - 1),
        errors=len(replay.error_ids),
    )


def view_of(found: Replay, issues: Mapping[int, IssueMention], event_id: str, lead: int) -> ReplayView:
    """A replay's page.

    Args:
        found: the replay with its events.
        issues: group hash → issue.
        event_id: where to begin; "" or one that is not in it: at the beginning.
        lead: ms before that event.
    """
    replay = found.summary
    length = max(1, (replay.ended - replay.started) // 1000)
    moments: list[Moment] = []
    start_at = 0
    for event in found.events:
        offset = min(max(0, (event.timestamp - replay.started) // 1000), length)
        x = min(offset / length * 1000, 1000 - MARK_WIDTH)
        moments.append(Moment(event=event, issue=issues.get(event.group_hash), offset=offset, x=x))
        if event.event_id == event_id:
            start_at = max(0, offset - lead)
    return ReplayView(
        replay=replay,
        seconds=_seconds(replay),
        moments=moments,
        more_moments=found.more_events,
        start_at=start_at,
        session_ids=replay.session_ids
        or tuple(dict.fromkeys(event.session_id for event in found.events if event.session_id)),
    )


def path_of(url: str) -> str:
    """What tells pages of one site apart; an address that cannot be read stays as it is."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    return parts.path + (f"?{parts.query}" if parts.query else "") if parts.netloc and parts.path else url


def _seconds(replay: ReplaySummary) -> float:
    return max(0, replay.ended - replay.started) / 1_000_000
