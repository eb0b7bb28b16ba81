"""Parameters that lists of the JSON API share, and the filter that they make together.

A list of what a project stored names in `dependencies` what it filters by: `FILTERED`, `ROUTED` or one of the two of a
session, and `PAGED` where it is read page by page; its handler then takes `where` and `page`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Final

from litestar.di import NamedDependency, Provide
from litestar.exceptions import HTTPException
from litestar.params import PathParameter, QueryParameter
from msgspec import structs

from appliance.hookspecs import Clock, EventFilter, Page

DEFAULT_DAYS: Final = 30  # what a list of measurements, replays or releases looks back without `since`
_DAY: Final = 86_400 * 1_000_000

Id = Annotated[int, PathParameter(ge=1, le=2**63 - 1)]
Limit = Annotated[int, QueryParameter(ge=1, le=200, description="How many at most.")]
Cursor = Annotated[str, QueryParameter(max_length=200, description="`next` of the page before, as it is.")]
Values = Annotated[list[str] | None, QueryParameter(max_items=20, description="May be given several times.")]
Moment = Annotated[str, QueryParameter(max_length=40, description="ISO 8601.")]
_SessionId = Annotated[str, QueryParameter(max_length=64, description="Of this session alone.")]


class NoTimeError(HTTPException):
    """A parameter that is no time."""

    status_code = 422

    def __init__(self, name: str) -> None:
        super().__init__(detail=f"{name} is no time: write it as 2027-01-31T08:30:00Z.")


def moment(name: str, text: str) -> int:
    """µs of an ISO 8601 time; 0 for none. Raises `NoTimeError`."""
    if not text:
        return 0
    try:
        found = datetime.fromisoformat(text)
        found = found if found.tzinfo else found.replace(tzinfo=UTC)
        return max(int(found.timestamp() * 1_000_000), 0)
    except (ValueError, OverflowError) as error:
        raise NoTimeError(name) from error


def since_or_default(text: str, now: int) -> int:
    """The start of a period: `since`, else `DEFAULT_DAYS` ago."""
    return moment("since", text) or now - DEFAULT_DAYS * _DAY


def filtered(
    clock: NamedDependency[Clock],
    project_id: Id,
    environment: Values = None,
    release: Values = None,
    browser: Values = None,
    since: Moment = "",
    until: Moment = "",
) -> EventFilter:
    """What every list filters by; of the last 30 days unless `since` says otherwise."""
    return EventFilter(
        project_ids=(project_id,),
        start=since_or_default(since, clock.now()),
        end=moment("until", until),
        environments=tuple(environment or ()),
        releases=tuple(release or ()),
        browsers=tuple(browser or ()),
    )


def routed(common: NamedDependency[EventFilter], route: Values = None) -> EventFilter:
    """The same for what happened on a page, which has a route."""
    return structs.replace(common, routes=tuple(route or ()))


def of_session(every: NamedDependency[EventFilter], session: _SessionId = "") -> EventFilter:
    """The same of one visit alone, where what is listed knows its session."""
    return structs.replace(every, session_id=session)


def paged(limit: Limit = 50, cursor: Cursor = "") -> Page:
    """Which page of a list."""
    return Page(limit=limit, cursor=cursor)


FILTERED: Final[Mapping[str, Provide]] = {"where": Provide(filtered, sync_to_thread=False)}
ROUTED: Final[Mapping[str, Provide]] = {
    "common": Provide(filtered, sync_to_thread=False),
    "where": Provide(routed, sync_to_thread=False),
}
FILTERED_OF_SESSION: Final[Mapping[str, Provide]] = {
    "every": Provide(filtered, sync_to_thread=False),
    "where": Provide(of_session, sync_to_thread=False),
}
ROUTED_OF_SESSION: Final[Mapping[str, Provide]] = {
    "common": Provide(filtered, sync_to_thread=False),
    "every": Provide(routed, sync_to_thread=False),
    "where": Provide(of_session, sync_to_thread=False),
}
PAGED: Final[Mapping[str, Provide]] = {"page": Provide(paged, sync_to_thread=False)}
