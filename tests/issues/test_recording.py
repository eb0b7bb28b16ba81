"""Events into issues: counters, first and last, releases, users, the bound on new issues; on SQLite and Postgres."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence

import pytest
from sqlalchemy import func, select

from appliance.config import Pipeline
from appliance.hookspecs import IssueChange
from appliance.issues import opening, recording
from appliance.issues.grouping import read_explanation
from appliance.issues.models import (
    IssueActivityModel,
    IssueHashModel,
    IssueModel,
    IssueReleaseModel,
    NewIssueWindowModel,
)
from appliance.issues.recording import record_batch
from appliance.metadata.database import Database
from appliance.model import EventRow

NOON = 1_800_000_000_000_000
HOUR = 3_600_000_000

Record = Callable[..., Awaitable[list[IssueChange]]]
MakeRow = Callable[..., EventRow]


async def issues_of(database: Database) -> list[IssueModel]:
    async with database.read() as session:
        return list(await session.scalars(select(IssueModel).order_by(IssueModel.id)))


async def test_the_first_event_of_a_hash_opens_an_issue_and_tells_about_it(
    database: Database, record: Record, event_row: MakeRow
) -> None:
    row = event_row(11, release="1.0", handled=False)
    changes = await record([row], now=NOON + 5)
    issue = (await issues_of(database))[0]
    assert (issue.title, issue.culprit, issue.state, issue.event_count) == (row.title, row.culprit, "open", 1)
    assert (issue.first_event_id, issue.last_event_id) == (row.event_id, row.event_id)
    assert read_explanation(issue.grouping).method == "stack"
    assert changes == [
        IssueChange(
            change="opened",
            project_id=1,
            issue_id=issue.id,
            title=row.title,
            culprit=row.culprit,
            level="error",
            kind="error",
            event_id=row.event_id,
            release="1.0",
            environment="production",
            event_count=1,
            at=NOON + 5,
            unhandled=True,
        )
    ]


async def test_later_events_are_counted_and_open_nothing(
    database: Database, record: Record, event_row: MakeRow
) -> None:
    await record([event_row(11)])
    assert await record([event_row(11), event_row(11), event_row(12, project_id=2)]) != []
    first, second = await issues_of(database)
    assert (first.event_count, second.event_count) == (3, 1)
    assert (first.project_id, second.project_id) == (1, 2)


async def test_the_same_hash_in_two_projects_is_two_issues(
    database: Database, record: Record, event_row: MakeRow
) -> None:
    await record([event_row(11, project_id=1), event_row(11, project_id=2)])
    assert [issue.project_id for issue in await issues_of(database)] == [1, 2]


async def test_hashes_of_all_64_bits_find_their_issue_again(
    database: Database, record: Record, event_row: MakeRow
) -> None:
    for number in (1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1):
        await record([event_row(number)])
        assert await record([event_row(number)]) == []
    assert len(await issues_of(database)) == 4


async def test_events_without_a_hash_are_left_out(database: Database, record: Record, event_row: MakeRow) -> None:
    assert await record([event_row(0, kind="feedback")]) == []
    assert await issues_of(database) == []


async def test_events_of_a_project_that_is_gone_do_not_fail_the_batch(
    database: Database, record: Record, event_row: MakeRow
) -> None:
    changes = await record([event_row(11, project_id=404), event_row(12)])
    assert [change.project_id for change in changes] == [1]


async def test_the_order_of_batches_changes_no_counter(database: Database, record: Record, event_row: MakeRow) -> None:
    """Every column that recording writes is the same for project 1, in order, and project 2, shuffled."""
    chance = random.Random(4)
    rows = [
        event_row(
            chance.randrange(1, 6),
            timestamp=NOON + chance.randrange(0, 40),
            release=chance.choice(["", "1.0", "1.1"]),
            level=chance.choice(["error", "fatal"]),
            user_hash=chance.getrandbits(64),
            payload_withheld=chance.random() < 0.2,
        )
        for _ in range(300)
    ]
    for start in range(0, 300, 37):
        await record(rows[start : start + 37])
    chance.shuffle(rows)
    for row in rows:
        row.project_id = 2
    for start in range(0, 300, 23):
        await record(rows[start : start + 23])
    assert await counters_of(database, 1) == await counters_of(database, 2)


async def counters_of(database: Database, project_id: int) -> Sequence[object]:
    columns = (
        IssueModel.title, IssueModel.event_count, IssueModel.user_count, IssueModel.user_sketch, IssueModel.first_seen,
        IssueModel.last_seen, IssueModel.first_release, IssueModel.last_release, IssueModel.first_event_id,
        IssueModel.last_event_id, IssueModel.level, IssueModel.withheld_payloads, IssueReleaseModel.release,
        IssueReleaseModel.event_count, IssueReleaseModel.first_seen, IssueReleaseModel.last_seen,
    )  # fmt: skip
    statement = (
        select(*columns)
        .join(IssueReleaseModel, IssueReleaseModel.issue_id == IssueModel.id)
        .where(IssueModel.project_id == project_id)
        .order_by(IssueModel.title, IssueReleaseModel.release)
    )
    async with database.read() as session:
        return (await session.execute(statement)).all()


async def test_users_are_counted_once_however_often_they_come(
    database: Database, record: Record, event_row: MakeRow
) -> None:
    for _ in range(3):
        await record([event_row(11, user_hash=(n + 1) * 0x9E3779B97F4A7C15 % (1 << 64)) for n in range(20)])
    assert (await issues_of(database))[0].user_count == pytest.approx(20, abs=1)


async def test_an_issue_lists_a_bounded_number_of_releases(
    database: Database, record: Record, event_row: MakeRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "MAX_RELEASES", 3)
    await record([event_row(11, release=f"1.{n}") for n in range(10)])
    await record([event_row(11, release="1.0"), event_row(11, release="2.0")])
    async with database.read() as session:
        counts = dict((await session.execute(select(IssueReleaseModel.release, IssueReleaseModel.event_count))).all())
    assert counts == {"1.0": 2, "1.1": 1, "1.2": 1}


async def test_new_issues_beyond_the_hourly_bound_are_one_visible_overflow_issue(
    database: Database, record: Record, event_row: MakeRow
) -> None:
    changes = await record([event_row(n) for n in range(1, 11)], new_issues_per_hour=3)
    *opened, overflow = await issues_of(database)
    assert [issue.event_count for issue in opened] == [1, 1, 1]
    assert (overflow.overflow, overflow.event_count, overflow.title) == (
        True,
        7,
        "More new issues than the limit of 3 an hour",
    )
    assert [change.overflow for change in changes] == [False, False, False, True]
    assert await record([event_row(n) for n in range(11, 21)], new_issues_per_hour=3) == []
    assert [issue.event_count for issue in await issues_of(database)] == [1, 1, 1, 17]
    async with database.read() as session:
        window = (await session.scalars(select(NewIssueWindowModel))).one()
    assert (window.opened, window.overflowed) == (3, 17)


async def test_the_bound_holds_for_each_project_and_hour_by_itself(
    database: Database, record: Record, event_row: MakeRow
) -> None:
    await record([event_row(n) for n in range(1, 4)], new_issues_per_hour=2)
    await record([event_row(n, project_id=2) for n in range(1, 3)], new_issues_per_hour=2)
    await record([event_row(n, received_at=NOON + HOUR) for n in range(11, 13)], new_issues_per_hour=2)
    assert sum(not issue.overflow for issue in await issues_of(database)) == 6


async def test_a_hash_of_the_overflow_issue_gets_its_own_issue_in_an_hour_with_room_and_takes_its_events_along(
    database: Database, record: Record, event_row: MakeRow
) -> None:
    await record([event_row(1), event_row(2), event_row(2, user_hash=5), event_row(3)], new_issues_per_hour=1)
    changes = await record([event_row(2, received_at=NOON + HOUR, user_hash=6 << 60)], new_issues_per_hour=1)
    by_title = {issue.title: issue for issue in await issues_of(database)}
    assert by_title["TypeError: number 2"].event_count == 3
    assert by_title["TypeError: number 2"].user_count == 2
    assert by_title["TypeError: number 2"].first_seen < NOON + HOUR
    assert by_title["More new issues than the limit of 1 an hour"].event_count == 1
    assert [(change.change, change.event_count) for change in changes] == [("opened", 3)]


async def test_a_storm_of_hashes_keeps_a_bounded_number_of_them_and_counts_all_events(
    database: Database, record: Record, event_row: MakeRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "MAX_OVERFLOW_HASHES", 5)
    for start in (1, 101, 201):
        await record([event_row(start + n, user_hash=start * 7 + n) for n in range(20)], new_issues_per_hour=2)
    async with database.read() as session:
        assert await session.scalar(select(func.count()).select_from(IssueHashModel)) == 2 + 5
        assert await session.scalar(select(func.sum(IssueModel.event_count))) == 60


async def test_no_bound_means_no_overflow(database: Database, record: Record, event_row: MakeRow) -> None:
    await record([event_row(n) for n in range(1, 40)], new_issues_per_hour=0)
    assert len(await issues_of(database)) == 39


async def test_a_transaction_that_fails_later_leaves_no_trace(database: Database, event_row: MakeRow) -> None:
    async def record_and_fail() -> None:
        async with database.write() as session:
            await record_batch(session, [event_row(11, release="1.0")], {}, limits=Pipeline(), now=NOON)
            raise RuntimeError("the intent could not be marked")

    with pytest.raises(RuntimeError, match="the intent could not be marked"):
        await record_and_fail()
    async with database.read() as session:
        for model in (IssueModel, IssueHashModel, IssueReleaseModel, IssueActivityModel, NewIssueWindowModel):
            assert await session.scalar(select(func.count()).select_from(model)) == 0
