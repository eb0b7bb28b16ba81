"""Parameters that lists of the JSON API share."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Final

from litestar.exceptions import HTTPException
from litestar.params import PathParameter, QueryParameter

DEFAULT_DAYS: Final = 30  # what a list of measurements, replays or releases looks back without `since`
_DAY: Final = 86_400 * 1_000_000

Id = Annotated[int, PathParameter(ge=1, le=2**63 - 1)]
Limit = Annotated[int, QueryParameter(ge=1, le=200, description="How many at most.")]
Cursor = Annotated[str, QueryParameter(max_length=200, description="`next` of the page before, as it is.")]
Values = Annotated[list[str] | None, QueryParameter(max_items=20, description="May be given several times.")]
Moment = Annotated[str, QueryParameter(max_length=40, description="ISO 8601.")]


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
