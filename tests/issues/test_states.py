"""Resolved and ignored issues: what brings them back, what does not, and what is told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import select

from appliance.accounts.access import Actor, Role
from appliance.alerts.entries import decode_body
from appliance.alerts.models import OutboxModel
from appliance.hookspecs import IssueChange
from appliance.issues.service import IssueService
from appliance.issues.views import Ignore, IssueAction, Reopen, ResolveIn, ResolveNow
from appliance.metadata.database import Database
from appliance.model import EventRow
from appliance.testing.clock import FakeClock

NOON = 1_800_000_000_000_000
SECOND = 1_000_000
HOUR = 3_600 * SECOND
NOW = NOON + 1_800 * SECOND  # what the clock shows

MEMBER = Actor(user_id=2, email="member@example.org", role=Role.MEMBER, project_ids=frozenset({1}))

Record = Callable[..., Awaitable[list[IssueChange]]]
MakeRow = Callable[..., EventRow]


async def opened(issues: IssueService, record: Record, row: EventRow, action: IssueAction) -> int:
    """An issue that was opened by an event and then closed."""
    changes = await record([row])
    await issues.act(MEMBER, [changes[0].issue_id], action)
    return changes[0].issue_id


async def state(issues: IssueService, issue_id: int) -> str:
    return (await issues.issue(MEMBER, issue_id)).issue.state


async def test_a_resolved_issue_comes_back_with_an_event_that_happened_later(
    issues: IssueService, record: Record, event_row: MakeRow
) -> None:
    issue_id = await opened(issues, record, event_row(1), ResolveNow())
    late = event_row(1, timestamp=NOW + SECOND, release="2.0", handled=False)
    changes = await record([event_row(1), late, event_row(2)], now=NOW + 2 * SECOND)
    assert [change.change for change in changes] == ["opened", "regressed"]
    back = changes[1]
    assert (back.issue_id, back.event_id, back.event_count) == (issue_id, late.event_id, 3)
    assert (back.release, back.unhandled, back.at) == ("2.0", True, NOW + 2 * SECOND)
    detail = await issues.issue(MEMBER, issue_id)
    assert (detail.issue.state, detail.issue.regressed_at, detail.issue.resolved_at) == ("open", NOW + 2 * SECOND, None)
    assert (detail.activity[0].action, detail.activity[0].detail) == ("regressed", "seen in 2.0")


async def test_an_event_that_happened_before_the_resolution_and_arrives_after_it_only_counts(
    issues: IssueService, record: Record, event_row: MakeRow
) -> None:
    issue_id = await opened(issues, record, event_row(1), ResolveNow())
    assert await record([event_row(1, timestamp=NOW - 1, received_at=NOW + HOUR)]) == []
    detail = await issues.issue(MEMBER, issue_id)
    assert (detail.issue.state, detail.issue.event_count) == ("resolved", 2)


async def test_a_resolved_issue_comes_back_once(issues: IssueService, record: Record, event_row: MakeRow) -> None:
    await opened(issues, record, event_row(1), ResolveNow())
    assert len(await record([event_row(1, timestamp=NOW + 1), event_row(1, timestamp=NOW + 2)])) == 1
    assert await record([event_row(1, timestamp=NOW + 3)]) == []


@pytest.mark.parametrize(
    ("release", "comes_back"), [("2.0", True), ("2.1", True), ("1.0", False), ("1.9", False), ("", True)]
)
async def test_resolved_in_a_release_comes_back_in_it_or_in_one_first_seen_later(
    issues: IssueService, record: Record, event_row: MakeRow, release: str, comes_back: bool
) -> None:
    """1.0, 1.9 and 2.0 have been seen in other issues of the project, in that order; 2.1 never."""
    for hour, name in enumerate(("1.0", "1.9", "2.0")):
        await record([event_row(5 + hour, release=name, timestamp=NOON - (10 - hour) * HOUR)])
    issue_id = await opened(issues, record, event_row(1, release="1.0"), ResolveIn("2.0"))
    changes = await record([event_row(1, release=release, timestamp=NOW + HOUR)])
    assert [change.change for change in changes] == (["regressed"] if comes_back else [])
    assert await state(issues, issue_id) == ("open" if comes_back else "resolved")


async def test_resolved_in_a_release_that_is_yet_to_come_ignores_the_releases_of_today(
    issues: IssueService, record: Record, event_row: MakeRow
) -> None:
    issue_id = await opened(issues, record, event_row(1, release="1.0"), ResolveIn("next"))
    assert await record([event_row(1, release="1.0", timestamp=NOW + HOUR)]) == []
    assert len(await record([event_row(1, release="next", timestamp=NOW + 2 * HOUR)])) == 1
    assert (await issues.issue(MEMBER, issue_id)).activity[0].detail == "resolved in next, seen in next"


async def test_the_order_of_releases_is_the_projects_own(
    issues: IssueService, record: Record, event_row: MakeRow
) -> None:
    """Another project saw 1.5 long ago; this one sees it first after 2.0, as a hotfix branch may be."""
    await record([event_row(9, project_id=2, release="1.5", timestamp=NOON - 100 * HOUR)])
    await record([event_row(5, release="2.0", timestamp=NOON - HOUR)])
    await opened(issues, record, event_row(1, release="1.0"), ResolveIn("2.0"))
    await record([event_row(6, release="1.5", timestamp=NOON - 1)])
    assert len(await record([event_row(1, release="1.5", timestamp=NOW + HOUR)])) == 1


async def test_ignored_for_ever_stays_ignored(issues: IssueService, record: Record, event_row: MakeRow) -> None:
    issue_id = await opened(issues, record, event_row(1), Ignore())
    assert await record([event_row(1, timestamp=NOW + n * HOUR) for n in range(50)]) == []
    assert await state(issues, issue_id) == "ignored"


async def test_ignored_until_a_number_of_events_comes_back_with_the_last_of_them(
    issues: IssueService, record: Record, event_row: MakeRow
) -> None:
    issue_id = await opened(issues, record, event_row(1), Ignore(more_events=3))
    assert await record([event_row(1), event_row(1)]) == []
    assert await state(issues, issue_id) == "ignored"
    changes = await record([event_row(1)])
    assert [(change.change, change.event_count) for change in changes] == [("regressed", 4)]
    assert await state(issues, issue_id) == "open"


async def test_ignored_until_a_time_opens_quietly_when_the_time_has_come(
    issues: IssueService, record: Record, event_row: MakeRow
) -> None:
    issue_id = await opened(issues, record, event_row(1), Ignore(until=NOW + HOUR))
    other = await opened(issues, record, event_row(2), Ignore(until=NOW + 3 * HOUR))
    assert await issues.reopen_due(NOW + HOUR - 1) == 0
    assert await issues.reopen_due(NOW + HOUR) == 1
    assert await issues.reopen_due(NOW + HOUR) == 0
    assert (await state(issues, issue_id), await state(issues, other)) == ("open", "ignored")
    assert (await issues.issue(MEMBER, issue_id)).activity[0].action == "reopened"


async def test_an_event_after_ignored_until_opens_the_issue_without_waiting_for_the_job(
    issues: IssueService, record: Record, event_row: MakeRow
) -> None:
    issue_id = await opened(issues, record, event_row(1), Ignore(until=NOW + HOUR))
    assert await record([event_row(1, timestamp=NOW + 2 * HOUR)]) == []
    assert await state(issues, issue_id) == "open"


async def test_resolving_tells_the_outbox_and_ignoring_does_not(
    issues: IssueService, record: Record, event_row: MakeRow, database: Database, clock: FakeClock
) -> None:
    changes = await record([event_row(1), event_row(2)])
    await issues.act(MEMBER, [change.issue_id for change in changes], ResolveIn("3.0"))
    clock.advance(1)
    await issues.act(MEMBER, [changes[0].issue_id], Ignore())
    await issues.act(MEMBER, [changes[0].issue_id], Reopen())
    async with database.read() as session:
        bodies = [decode_body(text) for text in await session.scalars(select(OutboxModel.body))]
    told = [(change.change, change.issue_id, change.release) for body in bodies for change in body.changes]
    assert told == [("resolved", change.issue_id, "3.0") for change in changes]


async def test_a_resolved_overflow_issue_comes_back_when_there_is_more(
    issues: IssueService, record: Record, event_row: MakeRow
) -> None:
    changes = await record([event_row(1), event_row(2)], new_issues_per_hour=1)
    await issues.act(MEMBER, [changes[1].issue_id], ResolveNow())
    changes = await record([event_row(3, timestamp=NOW + HOUR)], new_issues_per_hour=1)
    assert [change.change for change in changes] == ["regressed"]


@pytest.mark.parametrize(
    ("first", "then", "before"),
    [
        (Reopen(), ResolveNow(), "open"),
        (ResolveNow(), Reopen(), "resolved"),
        (Ignore(), ResolveNow(), "ignored"),
        (ResolveIn(release="1.2"), Reopen(), ""),
        (Ignore(more_events=5), Reopen(), ""),
    ],
)
async def test_an_action_names_the_state_that_takes_it_back_when_that_is_all_there_was(
    issues: IssueService, record: Record, event_row: MakeRow, first: IssueAction, then: IssueAction, before: str
) -> None:
    issue = await opened(issues, record, event_row(1), first)
    assert (await issues.act(MEMBER, [issue], then)).before == before


async def test_issues_of_several_states_are_not_taken_back_as_one(
    issues: IssueService, record: Record, event_row: MakeRow
) -> None:
    ignored = await opened(issues, record, event_row(1), Ignore())
    still_open = await opened(issues, record, event_row(2), Reopen())
    assert (await issues.act(MEMBER, [ignored, still_open], ResolveNow())).before == ""
