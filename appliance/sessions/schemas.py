"""Shapes of sessions and page views in the JSON API."""

from __future__ import annotations

from msgspec import Struct

from appliance.hookspecs import PageViewSummary, SessionSummary
from appliance.web.formats import iso


class SessionBody(Struct, frozen=True, kw_only=True):
    """One session; `duration` is in seconds, `missing` counts reports that never arrived."""

    id: str
    project_id: int
    started_at: str
    last_at: str
    duration: float
    status: str
    errors: int
    page_views: int
    missing: int
    user_id: str
    url: str
    route: str
    release: str
    environment: str
    browser: str
    os: str
    device: str
    quantity: int


class PageViewBody(Struct, frozen=True, kw_only=True):
    """One page view; of what it `captured`, `arrived` came or was dropped and said so, and the rest is `missing`."""

    id: str
    project_id: int
    session_id: str
    started_at: str
    url: str
    route: str
    title: str
    referrer: str
    captured: int
    arrived: int
    missing: int
    envelopes: int
    release: str
    environment: str
    browser: str
    os: str
    device: str


class SessionList(Struct, frozen=True, kw_only=True):
    """A page of sessions, newest first."""

    items: list[SessionBody]
    next: str | None


class PageViewList(Struct, frozen=True, kw_only=True):
    """A page of page views, newest first."""

    items: list[PageViewBody]
    next: str | None


def session_body(found: SessionSummary) -> SessionBody:
    """As the API shows it."""
    return SessionBody(
        id=found.session_id,
        project_id=found.project_id,
        started_at=iso(found.started),
        last_at=iso(found.timestamp),
        duration=found.duration,
        status=found.status,
        errors=found.errors,
        page_views=found.page_views,
        missing=found.missing,
        user_id=found.user_id,
        url=found.url,
        route=found.route,
        release=found.release,
        environment=found.environment,
        browser=found.browser,
        os=found.os,
        device=found.device,
        quantity=found.quantity,
    )


def page_view_body(found: PageViewSummary) -> PageViewBody:
    """As the API shows it."""
    return PageViewBody(
        id=found.page_view_id,
        project_id=found.project_id,
        session_id=found.session_id,
        started_at=iso(found.timestamp),
        url=found.url,
        route=found.route,
        title=found.title,
        referrer=found.referrer,
        captured=found.last_sequence,
        arrived=found.arrived,
        missing=found.missing,
        envelopes=found.envelopes,
        release=found.release,
        environment=found.environment,
        browser=found.browser,
        os=found.os,
        device=found.device,
    )
