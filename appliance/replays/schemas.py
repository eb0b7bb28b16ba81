"""Shapes of replays in the JSON API."""

from __future__ import annotations

from msgspec import Struct

from appliance.hookspecs import ReplaySummary
from appliance.web.formats import iso


class ReplayBody(Struct, frozen=True, kw_only=True):
    """One recorded session."""

    id: str
    project_id: int
    started_at: str
    ended_at: str
    segments: int
    bytes: int
    urls: list[str]
    error_ids: list[str]
    session_ids: list[str]
    release: str
    environment: str
    browser: str


class ReplayPage(Struct, frozen=True, kw_only=True):
    """A page of replays."""

    items: list[ReplayBody]
    next: str | None


def replay_body(found: ReplaySummary) -> ReplayBody:
    """As the API shows it."""
    return ReplayBody(
        id=found.replay_id,
        project_id=found.project_id,
        started_at=iso(found.started),
        ended_at=iso(found.ended),
        segments=found.segments,
        bytes=found.blob_bytes,
        urls=list(found.urls),
        error_ids=list(found.error_ids),
        session_ids=list(found.session_ids),
        release=found.release,
        environment=found.environment,
        browser=found.browser,
    )
