"""The issue list, an issue's page and its events, as different people see them; on SQLite and Postgres."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from msgspec import structs
from sqlalchemy import update

from appliance.accounts.access import Actor, ForbiddenError, Role
from appliance.hookspecs import EventFilter, IssueChange, Page, StoreUnavailableError
from appliance.issues import listing
from appliance.issues.service import IssueService
from appliance.issues.views import (
    Ignore,
    IssueActionError,
    IssueNotFoundError,
    IssueQuery,
    IssueSort,
    Reopen,
    ResolveIn,
    ResolveNow,
)
from appliance.metadata.database import Database
from appliance.model import EventRow
from appliance.projects.models import ProjectModel
from appliance.testing.clock import FakeClock
from appliance.testing.reference_store import MemoryStore

NOON = 1_800_000_000_000_000
HOUR = 3_600_000_000
DAY = 24 * HOUR

OWNER = Actor(user_id=1, email="owner@example.org", role=Role.OWNER, project_ids=None)
MEMBER = Actor(user_id=2, email="member@example.org", role=Role.MEMBER, project_ids=frozenset({1}))
VIEWER = Actor(user_id=3, email="viewer@example.org", role=Role.VIEWER, project_ids=frozenset({1}))
STRANGER = Actor(user_id=4, email="stranger@example.org", role=Role.MEMBER, project_ids=frozenset({2}))
NOBODY = Actor(user_id=5, email="nobody@example.org", role=Role.MEMBER, project_ids=frozenset())

Happen = Callable[..., Awaitable[list[IssueChange]]]
MakeRow = Callable[..., EventRow]


async def titles(issues: IssueService, actor: Actor = OWNER, **query: Any) -> list[str]:
    found = await issues.list(actor, IssueQuery(**query))
    return [issue.title.removeprefix("TypeError: number ") for issue in found.items]


# ── the list ──


async def test_the_list_shows_the_issues_of_the_projects_one_sees(
    issues: IssueService, happen: Happen, event_row: MakeRow
) -> None:
    await happen(event_row(1), event_row(2, project_id=2))
    assert await titles(issues, OWNER) == ["2", "1"]
    assert await titles(issues, MEMBER) == ["1"]
    assert await titles(issues, MEMBER, project_ids=(2,)) == []
    assert await titles(issues, NOBODY) == []
    assert await issues.state_counts(STRANGER) == await issues.state_counts(OWNER, [2])


async def test_a_deleted_project_is_seen_by_nobody(
    issues: IssueService, happen: Happen, event_row: MakeRow, database: Database
) -> None:
    changes = await happen(event_row(1))
    async with database.write() as session:
        await session.execute(update(ProjectModel).where(ProjectModel.id == 1).values(deleted_at=NOON))
    assert await titles(issues) == []
    with pytest.raises(IssueNotFoundError):
        await issues.issue(OWNER, changes[0].issue_id)


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("last_seen", ["3", "2", "1"]),
        ("first_seen", ["3", "2", "1"]),
        ("events", ["1", "2", "3"]),
        ("users", ["2", "3", "1"]),
    ],
)
async def test_the_list_is_sorted_and_paged_without_gaps_or_repeats(
    issues: IssueService, happen: Happen, event_row: MakeRow, sort: IssueSort, order: list[str]
) -> None:
    users = [n * 0x9E3779B97F4A7C15 % (1 << 64) for n in range(1, 9)]
    await happen(*[event_row(1) for _ in range(5)])
    await happen(*[event_row(2, user_hash=user) for user in users[:4]])
    await happen(*[event_row(3, user_hash=user) for user in users[:2]])
    found: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = await issues.list(OWNER, IssueQuery(sort=sort, limit=1, cursor=cursor, sparklines=False))
        found += [issue.title.removeprefix("TypeError: number ") for issue in page.items]
        cursor = page.next
    assert found == order


async def test_a_cursor_that_is_not_ours_is_said_in_words(issues: IssueService) -> None:
    for cursor in ("nonsense", "e30", "WyJldmVudHMiLDEsMV0", "é", "=", "A" * 150):
        with pytest.raises(IssueActionError, match="first page"):
            await issues.list(OWNER, IssueQuery(cursor=cursor))


async def test_filters_of_the_metadata(issues: IssueService, happen: Happen, event_row: MakeRow) -> None:
    await happen(event_row(1, level="fatal", release="1.0", title="TypeError: number 1 of 100% in cart_total"))
    await happen(event_row(2, kind="message", release="1.1"))
    await happen(event_row(3, timestamp=NOON - 2 * DAY))
    assert await titles(issues, levels=("fatal",)) == ["1 of 100% in cart_total"]
    assert await titles(issues, kinds=("message",)) == ["2"]
    assert await titles(issues, releases=("1.1", "9.9")) == ["2"]
    assert await titles(issues, start=NOON - DAY) == ["2", "1 of 100% in cart_total"]
    assert await titles(issues, text=("CART_total", "100%")) == ["1 of 100% in cart_total"]
    assert await titles(issues, text=("cartXtotal",)) == []
    assert await titles(issues, text=("%",)) == ["1 of 100% in cart_total"]


async def test_a_filter_with_characters_that_no_column_holds_finds_nothing_and_does_not_fail(
    issues: IssueService, happen: Happen, event_row: MakeRow
) -> None:
    await happen(event_row(1))
    strange = "a\0b"
    assert await titles(issues, text=(strange,), levels=(strange,), kinds=(strange,), releases=(strange,)) == []


async def test_filters_on_single_events_ask_the_store_and_say_how_many_match(
    issues: IssueService, happen: Happen, event_row: MakeRow
) -> None:
    await happen(event_row(1, environment="staging"), event_row(1), event_row(1), event_row(2))
    found = await issues.list(OWNER, IssueQuery(environments=("staging",)))
    assert [(issue.event_count, issue.matching_events) for issue in found.items] == [(3, 1)]
    assert await titles(issues, environments=("production",), sort="events") == ["1", "2"]
    assert await titles(issues, browsers=("Netscape",)) == []
    assert await titles(issues, environments=("production",), text=("number 2",)) == ["2"]
    await happen(event_row(3, project_id=2, tags={"plan": "pro"}))
    assert await titles(issues, tags=(("plan", "pro"),)) == ["3"]
    assert await titles(issues, MEMBER, tags=(("plan", "pro"),)) == []


async def test_the_same_hash_in_two_projects_is_counted_apart_in_a_filtered_list(
    issues: IssueService, happen: Happen, event_row: MakeRow
) -> None:
    await happen(event_row(1), event_row(1), event_row(1, project_id=2))
    found = await issues.list(OWNER, IssueQuery(browsers=("Chrome",), sort="events"))
    assert [(issue.project_id, issue.matching_events) for issue in found.items] == [(1, 2), (2, 1)]


async def test_a_filtered_list_is_paged_and_says_when_it_is_partial(
    issues: IssueService, happen: Happen, event_row: MakeRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    await happen(*[event_row(n) for n in range(1, 8)])
    page = await issues.list(OWNER, IssueQuery(browsers=("Chrome",), limit=5))
    rest = await issues.list(OWNER, IssueQuery(browsers=("Chrome",), limit=5, cursor=page.next or ""))
    assert (len(page.items), len(rest.items), rest.next, page.partial) == (5, 2, None, False)
    assert not {issue.id for issue in page.items} & {issue.id for issue in rest.items}
    monkeypatch.setattr(listing, "MAX_GROUPS", 3)
    monkeypatch.setattr(listing, "MAX_NARROWED", 3)
    page = await issues.list(OWNER, IssueQuery(browsers=("Chrome",)))
    assert page.partial
    assert "Narrow the filter" in page.notes[0]


async def test_sparklines_have_a_bar_for_each_hour_of_the_day(
    issues: IssueService, happen: Happen, event_row: MakeRow
) -> None:
    await happen(event_row(1), event_row(1), event_row(1, timestamp=NOON - 3 * HOUR), event_row(2))
    found = await issues.list(OWNER, IssueQuery(sort="events"))
    first, second = (issue.sparkline for issue in found.items)
    assert len(first) == 24
    assert (first[-1], first[-4], sum(first)) == (2, 1, 3)
    assert sum(second) == 1
    assert found.bucket == HOUR


async def test_the_list_stays_up_when_the_store_is_down_and_says_what_is_missing(
    issues: IssueService, happen: Happen, event_row: MakeRow, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unavailable(*_: object) -> dict[int, list[Any]]:
        raise StoreUnavailableError("the event store does not answer")

    await happen(event_row(1))
    monkeypatch.setattr(store, "group_histograms", unavailable)
    found = await issues.list(OWNER, IssueQuery())
    assert [issue.sparkline for issue in found.items] == [()]
    assert "does not answer" in found.notes[0]


async def test_the_marker_moves_with_events_and_with_changes_of_state(
    issues: IssueService, happen: Happen, event_row: MakeRow
) -> None:
    markers = [await issues.marker(OWNER)]
    changes = await happen(event_row(1))
    markers.append(await issues.marker(OWNER))
    await happen(event_row(1))
    markers.append(await issues.marker(OWNER))
    assert await issues.marker(OWNER) == markers[-1]
    await issues.act(OWNER, [changes[0].issue_id], ResolveNow())
    markers.append(await issues.marker(OWNER))
    assert len(set(markers)) == 4


async def test_filter_menus_offer_what_was_seen_in_visible_projects(
    issues: IssueService, happen: Happen, event_row: MakeRow
) -> None:
    await happen(event_row(1, browser="Firefox"), event_row(1, browser="Firefox"), event_row(2, browser="Chrome"))
    await happen(event_row(3, project_id=2, browser="Safari"))
    assert await issues.filter_values(MEMBER, "browser") == ["Firefox", "Chrome"]
    assert await issues.filter_values(MEMBER, "browser", project_ids=[2]) == []


# ── one issue ──


async def test_an_issue_shows_its_history_hashes_and_releases(
    issues: IssueService, happen: Happen, event_row: MakeRow
) -> None:
    changes = await happen(event_row(0xAB, release="1.0"), event_row(0xAB, release="1.1"))
    await issues.act(MEMBER, [changes[0].issue_id], Ignore(more_events=5))
    detail = await issues.issue(VIEWER, changes[0].issue_id)
    assert detail.why.method == "stack"
    assert [(one.hash, one.event_count) for one in detail.hashes] == [("00000000000000ab", 2)]
    assert [(one.release, one.event_count) for one in detail.releases] == [("1.1", 1), ("1.0", 1)]
    assert [(one.action, one.actor, one.detail) for one in detail.activity] == [
        ("ignored", "member@example.org", "until 5 more events"),
        ("opened", "", ""),
    ]
    assert (detail.issue.project_slug, detail.issue.state) == ("shop-1", "ignored")


async def test_the_overview_has_a_bar_for_every_step_and_counts_tags(
    issues: IssueService, happen: Happen, event_row: MakeRow
) -> None:
    changes = await happen(
        event_row(1, tags={"plan": "pro"}), event_row(1), event_row(1, timestamp=NOON - 3 * DAY), event_row(2)
    )
    overview = await issues.overview(MEMBER, changes[0].issue_id)
    assert overview.events == sum(bar.events for bar in overview.histogram) == 3
    steps = {b.start - a.start for a, b in zip(overview.histogram, overview.histogram[1:], strict=False)}
    assert steps == {overview.bucket}
    assert [(count.value, count.events) for count in overview.tags["plan"]] == [("pro", 1), ("", 2)]


async def test_events_are_those_of_the_issue_alone_whatever_the_filter_says(
    issues: IssueService, happen: Happen, event_row: MakeRow
) -> None:
    changes = await happen(event_row(1), event_row(1), event_row(2), event_row(1, project_id=2))
    everything = EventFilter(project_ids=(1, 2), group_hashes=(1, 2))
    found = await issues.events(MEMBER, changes[0].issue_id, Page(limit=1), everything)
    rest = await issues.events(MEMBER, changes[0].issue_id, Page(limit=9, cursor=found.next or ""), everything)
    assert {(one.project_id, one.group_hash) for one in found.items + rest.items} == {(1, 1)}
    assert len(found.items + rest.items) == 2
    with pytest.raises(IssueActionError, match="first page"):
        await issues.events(MEMBER, changes[0].issue_id, Page(cursor="nonsense"))


async def test_an_event_comes_with_its_neighbours_in_the_issue(
    issues: IssueService, happen: Happen, event_row: MakeRow
) -> None:
    rows = [event_row(1), event_row(2), event_row(1), event_row(1)]
    changes = await happen(*rows)
    issue_id = changes[0].issue_id
    middle = await issues.event(MEMBER, rows[2].event_id, issue_id=issue_id)
    assert middle.around is not None
    assert (middle.around.previous, middle.around.next) == (rows[0].event_id, rows[3].event_id)
    assert (await issues.event(MEMBER, "latest", issue_id=issue_id)).summary.event_id == rows[3].event_id
    assert (await issues.event(MEMBER, "oldest", issue_id=issue_id)).summary.event_id == rows[0].event_id
    assert (await issues.event(MEMBER, rows[1].event_id)).issue_id == changes[1].issue_id
    with pytest.raises(IssueNotFoundError):
        await issues.event(MEMBER, rows[1].event_id, issue_id=issue_id)


async def test_an_issue_whose_events_were_dropped_says_so(
    issues: IssueService, record: Happen, event_row: MakeRow
) -> None:
    changes = await record([event_row(1)])
    with pytest.raises(IssueNotFoundError, match="no longer kept"):
        await issues.event(MEMBER, "latest", issue_id=changes[0].issue_id)


async def test_a_page_has_the_issue_an_event_and_the_overview_as_each_alone(
    issues: IssueService, happen: Happen, event_row: MakeRow
) -> None:
    rows = [event_row(1), event_row(2), event_row(1)]
    issue_id = (await happen(*rows))[0].issue_id
    look = await issues.look(MEMBER, issue_id, "latest")
    assert look.detail == await issues.issue(MEMBER, issue_id)
    assert look.event == await issues.event(MEMBER, "latest", issue_id=issue_id)
    assert look.overview == await issues.overview(MEMBER, issue_id)
    with pytest.raises(IssueNotFoundError):
        await issues.look(MEMBER, issue_id, rows[1].event_id)


async def test_a_page_without_kept_events_and_with_a_busy_store_shows_the_rest(
    issues: IssueService, record: Happen, event_row: MakeRow, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unavailable(*_: object) -> list[Any]:
        raise StoreUnavailableError("the event store does not answer")

    issue_id = (await record([event_row(1)]))[0].issue_id
    monkeypatch.setattr(store, "histogram", unavailable)
    look = await issues.look(MEMBER, issue_id, "latest")
    assert (look.detail.issue.id, look.event, look.overview) == (issue_id, None, None)


# ── who may ──


async def test_what_belongs_to_another_project_is_not_found(
    issues: IssueService, happen: Happen, event_row: MakeRow
) -> None:
    row = event_row(1)
    changes = await happen(row)
    issue_id = changes[0].issue_id
    attempts: list[Callable[[], Awaitable[object]]] = [
        lambda: issues.issue(STRANGER, issue_id),
        lambda: issues.overview(STRANGER, issue_id),
        lambda: issues.look(STRANGER, issue_id, "latest"),
        lambda: issues.events(STRANGER, issue_id, Page()),
        lambda: issues.event(STRANGER, row.event_id),
        lambda: issues.event(STRANGER, "latest", issue_id=issue_id),
        lambda: issues.act(STRANGER, [issue_id], ResolveNow()),
        lambda: issues.merge(STRANGER, issue_id, [issue_id + 1]),
        lambda: issues.unmerge(STRANGER, issue_id, ["0" * 16]),
        lambda: issues.require_project(STRANGER, 1),
        lambda: issues.issue(OWNER, 999_999),
        lambda: issues.event(OWNER, "0" * 32),
        lambda: issues.event(OWNER, "'; DROP TABLE events"),
    ]
    for attempt in attempts:
        with pytest.raises(IssueNotFoundError):
            await attempt()
    assert await issues.explanations(STRANGER, [issue_id]) == {}


async def test_a_viewer_reads_and_changes_nothing(issues: IssueService, happen: Happen, event_row: MakeRow) -> None:
    changes = await happen(event_row(1), event_row(2))
    ids = [change.issue_id for change in changes]
    attempts: list[Callable[[], Awaitable[object]]] = [
        lambda: issues.act(VIEWER, ids, ResolveNow()),
        lambda: issues.merge(VIEWER, ids[0], ids[1:]),
        lambda: issues.unmerge(VIEWER, ids[0], ["0" * 16]),
    ]
    for attempt in attempts:
        with pytest.raises(ForbiddenError):
            await attempt()
    assert (await issues.state_counts(VIEWER)).open == 2


async def test_a_token_without_the_scope_reads_nothing(issues: IssueService) -> None:
    token = structs.replace(OWNER, scopes=frozenset({"alerts:read"}))
    with pytest.raises(ForbiddenError):
        await issues.list(token, IssueQuery())


async def test_a_bulk_action_with_one_foreign_issue_does_nothing_at_all(
    issues: IssueService, happen: Happen, event_row: MakeRow
) -> None:
    changes = await happen(event_row(1), event_row(2, project_id=2))
    with pytest.raises(IssueNotFoundError):
        await issues.act(MEMBER, [change.issue_id for change in changes], ResolveNow())
    assert (await issues.state_counts(OWNER)).open == 2


@pytest.mark.parametrize(
    "action",
    [ResolveIn(""), ResolveIn("x" * 201), ResolveIn("a\nb"), Ignore(more_events=0), Ignore(until=NOON - 1)],
)
async def test_an_action_that_makes_no_sense_is_refused_in_words(
    issues: IssueService, happen: Happen, event_row: MakeRow, action: Any
) -> None:
    changes = await happen(event_row(1))
    with pytest.raises(IssueActionError):
        await issues.act(MEMBER, [changes[0].issue_id], action)


async def test_doing_what_is_done_already_changes_nothing(
    issues: IssueService, happen: Happen, event_row: MakeRow, clock: FakeClock
) -> None:
    changes = await happen(event_row(1), event_row(2))
    first, second = (change.issue_id for change in changes)
    assert (await issues.act(MEMBER, [first], ResolveNow())).changed == (first,)
    clock.advance(60)
    result = await issues.act(MEMBER, [first, second, second], ResolveNow())
    assert (result.changed, result.unchanged) == ((second,), (first,))
    assert (await issues.act(MEMBER, [first], Reopen())).changed == (first,)
    with pytest.raises(IssueActionError, match="at least one"):
        await issues.act(MEMBER, [], Reopen())
