"""Merging issues and taking hashes out again: where events count, before and after; on SQLite and Postgres."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import func, select

from appliance.accounts.access import Actor, Role
from appliance.hookspecs import IssueChange, Page
from appliance.issues.models import IssueModel
from appliance.issues.service import IssueService
from appliance.issues.views import IssueActionError, IssueQuery, ResolveNow
from appliance.metadata.database import Database
from appliance.model import EventRow

NOON = 1_800_000_000_000_000
HOUR = 3_600_000_000
OWNER = Actor(user_id=1, email="owner@example.org", role=Role.OWNER, project_ids=None)

Happen = Callable[..., Awaitable[list[IssueChange]]]
MakeRow = Callable[..., EventRow]


async def total(database: Database) -> int:
    """Events of all issues: never changes by moving hashes."""
    async with database.read() as session:
        return int(await session.scalar(select(func.sum(IssueModel.event_count))) or 0)


def people(*numbers: int) -> list[int]:
    return [number * 0x9E3779B97F4A7C15 % (1 << 64) for number in numbers]


async def two_issues(happen: Happen, event_row: MakeRow) -> tuple[int, int]:
    """One with 3 events of 3 users in 1.0, one with 2 of 2 in 1.1; one user is in both."""
    first = [event_row(1, release="1.0", user_hash=user) for user in people(1, 2, 3)]
    second = [event_row(2, release="1.1", user_hash=user) for user in people(3, 4)]
    changes = await happen(*first, *second)
    return changes[0].issue_id, changes[1].issue_id


async def test_a_merged_issue_counts_the_events_users_and_releases_of_both(
    issues: IssueService, happen: Happen, event_row: MakeRow, database: Database
) -> None:
    target, source = await two_issues(happen, event_row)
    result = await issues.merge(OWNER, target, [source])
    assert (result.issue_id, result.merged) == (target, (source,))
    detail = await issues.issue(OWNER, target)
    assert (detail.issue.event_count, detail.issue.user_count) == (5, 4)
    assert {(one.release, one.event_count) for one in detail.releases} == {("1.0", 3), ("1.1", 2)}
    assert {(one.hash, one.event_count, one.merged_from) for one in detail.hashes} == {
        ("0000000000000001", 3, None),
        ("0000000000000002", 2, source),
    }
    assert detail.merged_issue_ids == (source,)
    assert detail.issue.last_event_id == (await issues.event(OWNER, "latest", issue_id=target)).summary.event_id
    assert len((await issues.events(OWNER, target, Page())).items) == 5
    assert await total(database) == 5


async def test_the_address_of_a_merged_issue_leads_to_the_other_and_the_list_has_one(
    issues: IssueService, happen: Happen, event_row: MakeRow
) -> None:
    target, source = await two_issues(happen, event_row)
    await issues.merge(OWNER, target, [source])
    assert (await issues.issue(OWNER, source)).issue.id == target
    assert [issue.id for issue in (await issues.list(OWNER, IssueQuery(state="all"))).items] == [target]
    assert (await issues.act(OWNER, [source], ResolveNow())).changed == (target,)


async def test_later_events_of_both_hashes_count_in_the_issue_they_were_merged_into(
    issues: IssueService, happen: Happen, event_row: MakeRow
) -> None:
    target, source = await two_issues(happen, event_row)
    await issues.merge(OWNER, target, [source])
    assert await happen(event_row(1), event_row(2, user_hash=people(9)[0]), event_row(2)) == []
    detail = await issues.issue(OWNER, target)
    assert (detail.issue.event_count, detail.issue.user_count) == (8, 5)
    assert {(one.hash[-1], one.event_count) for one in detail.hashes} == {("1", 4), ("2", 4)}


async def test_unmerging_gives_an_issue_back_with_what_happened_since(
    issues: IssueService, happen: Happen, event_row: MakeRow, database: Database
) -> None:
    target, source = await two_issues(happen, event_row)
    await issues.merge(OWNER, target, [source])
    await happen(event_row(2, release="1.2", user_hash=people(9)[0]), event_row(1, release="1.2"))
    result = await issues.unmerge(OWNER, target, ["0000000000000002"])
    assert result.issues == (source,)
    back, left = await issues.issue(OWNER, source), await issues.issue(OWNER, target)
    assert (back.issue.id, back.issue.event_count, back.issue.user_count) == (source, 3, 3)
    assert (left.issue.event_count, left.issue.user_count) == (4, 3)
    assert {(one.release, one.event_count) for one in back.releases} == {("1.1", 2), ("1.2", 1)}
    assert {(one.release, one.event_count) for one in left.releases} == {("1.0", 3), ("1.2", 1)}
    assert back.issue.last_release == left.issue.last_release == "1.2"
    assert (back.activity[0].action, left.activity[0].action) == ("unmerged", "unmerged")
    await happen(event_row(2))
    assert (await issues.issue(OWNER, source)).issue.event_count == 4
    assert await total(database) == 8


async def test_an_issue_can_be_merged_and_given_back_again_and_again(
    issues: IssueService, happen: Happen, event_row: MakeRow, database: Database
) -> None:
    target, source = await two_issues(happen, event_row)
    for _ in range(3):
        await issues.merge(OWNER, target, [source])
        await happen(event_row(2))
        await issues.unmerge(OWNER, target, ["0000000000000002"])
        await happen(event_row(1))
    assert (await issues.issue(OWNER, target)).issue.event_count == 6
    assert (await issues.issue(OWNER, source)).issue.event_count == 5
    assert await total(database) == 11


async def test_an_issues_own_hash_that_leaves_gets_a_new_issue(
    issues: IssueService, happen: Happen, event_row: MakeRow
) -> None:
    target, source = await two_issues(happen, event_row)
    await issues.merge(OWNER, target, [source])
    result = await issues.unmerge(OWNER, target, ["0000000000000001"])
    new = await issues.issue(OWNER, result.issues[0])
    assert new.issue.id not in {target, source}
    assert (new.issue.title, new.issue.type, new.issue.event_count) == ("TypeError: number 1", "TypeError", 3)
    assert new.hashes[0].merged_from is None
    assert (await issues.issue(OWNER, target)).issue.event_count == 2


async def test_merging_a_merged_issue_leaves_no_chain_and_everything_can_be_taken_apart(
    issues: IssueService, happen: Happen, event_row: MakeRow
) -> None:
    changes = await happen(event_row(1), event_row(2), event_row(3))
    a, b, c = (change.issue_id for change in changes)
    await issues.merge(OWNER, b, [c])
    await issues.merge(OWNER, a, [b])
    detail = await issues.issue(OWNER, c)
    assert (detail.issue.id, detail.merged_issue_ids) == (a, (b, c))
    result = await issues.unmerge(OWNER, a, ["0000000000000002", "0000000000000003"])
    assert set(result.issues) == {b, c}
    for issue_id in (a, b, c):
        assert (await issues.issue(OWNER, issue_id)).issue.event_count == 1


async def test_a_hash_of_the_overflow_issue_can_be_taken_out(
    issues: IssueService, happen: Happen, event_row: MakeRow, database: Database
) -> None:
    changes = await happen(event_row(1), event_row(2), event_row(2), event_row(3), new_issues_per_hour=1)
    overflow = changes[-1].issue_id
    result = await issues.unmerge(OWNER, overflow, ["0000000000000002"])
    new = (await issues.issue(OWNER, result.issues[0])).issue
    assert (new.title, new.event_count, new.overflow) == ("TypeError: number 2", 2, False)
    assert (await issues.issue(OWNER, overflow)).issue.event_count == 1
    assert await total(database) == 4


async def test_what_cannot_be_merged_is_refused_in_words(
    issues: IssueService, happen: Happen, event_row: MakeRow
) -> None:
    changes = await happen(event_row(1), event_row(2, project_id=2), event_row(3), new_issues_per_hour=1)
    first, foreign, overflow = (change.issue_id for change in changes)
    for sources, words in (
        ([first], "with itself"),
        ([], "another issue"),
        ([foreign], "one project"),
        ([overflow], "overflow"),
        (list(range(1, 200)), "select fewer"),
    ):
        with pytest.raises(IssueActionError, match=words):
            await issues.merge(OWNER, first, sources)


async def test_what_cannot_be_unmerged_is_refused_in_words(
    issues: IssueService, happen: Happen, event_row: MakeRow
) -> None:
    target, source = await two_issues(happen, event_row)
    for hashes, words in (
        ([], "Select"),
        (["xyz"], "hexadecimal"),
        (["00000000000000ff"], "not in this issue"),
        (["0000000000000001"], "has to stay"),
        (["0" * 16] * 60, "select fewer"),
    ):
        with pytest.raises(IssueActionError, match=words):
            await issues.unmerge(OWNER, target, hashes)
    await issues.merge(OWNER, target, [source])
    with pytest.raises(IssueActionError, match=f"merged into #{target}"):
        await issues.unmerge(OWNER, source, ["0000000000000002"])


async def test_hashes_can_be_taken_apart_after_their_events_are_gone(
    issues: IssueService, record: Happen, event_row: MakeRow
) -> None:
    changes = await record([event_row(1), event_row(2, release="1.0"), event_row(2)])
    target, source = (change.issue_id for change in changes)
    await issues.merge(OWNER, target, [source])
    await issues.unmerge(OWNER, target, ["0000000000000002"])
    assert (await issues.issue(OWNER, source)).issue.event_count == 2
