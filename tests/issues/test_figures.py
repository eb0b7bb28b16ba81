"""The figures above the list: what they count, for whom, how long they are kept, what they say, where they lead."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from sqlalchemy import insert

from appliance.accounts.access import COMMAND_LINE, Actor, Permission, Role
from appliance.hookspecs import StoreUnavailableError
from appliance.issues.figures import DAY, FRESH_SECONDS, ListFigures
from appliance.issues.list_figures import compared, tiles
from appliance.issues.list_page import ListAddress
from appliance.issues.search import parse_search
from appliance.pipeline.models import DropCountModel

HOUR = DAY // 24


def member(*projects: int) -> Actor:
    return Actor(
        user_id=5, email="m@example.com", name="", role=Role.MEMBER, project_ids=frozenset(projects),
        scopes=frozenset({Permission.ISSUES_READ}),
    )  # fmt: skip


async def two_days(issues: Any, happen: Any, event_row: Any, clock: Any) -> None:
    """Three events of two people in the last day, one the day before; a new issue in project 1, one in project 2."""
    now = clock.now()
    await happen(
        event_row(1, timestamp=now - 30 * HOUR, received_at=now - 30 * HOUR, user_id="a", user_hash=1),
        event_row(1, timestamp=now - 3 * HOUR, received_at=now - 3 * HOUR, user_id="a", user_hash=1),
        event_row(2, timestamp=now - 2 * HOUR, received_at=now - 2 * HOUR, user_id="b", user_hash=2),
        event_row(2, timestamp=now - HOUR, received_at=now - HOUR, user_id="b", user_hash=2),
        event_row(3, timestamp=now - HOUR, received_at=now - HOUR, project_id=2, user_id="c", user_hash=3),
    )


async def test_a_day_is_counted_against_the_day_before(
    issues: Any, happen: Any, event_row: Any, clock: Any, database: Any
) -> None:
    await two_days(issues, happen, event_row, clock)
    today = clock.now() // DAY
    drops = [
        {
            "day": today,
            "project_id": 1,
            "source": "ingest",
            "reason": "rate_limited",
            "category": "error",
            "quantity": 7,
        },
        {
            "day": today - 1,
            "project_id": 1,
            "source": "pipeline",
            "reason": "scrub",
            "category": "error",
            "quantity": 2,
        },
        {
            "day": today,
            "project_id": 1,
            "source": "client",
            "reason": "before_send",
            "category": "error",
            "quantity": 90,
        },
        {"day": today - 2, "project_id": 1, "source": "ingest", "reason": "old", "category": "error", "quantity": 80},
        {"day": today, "project_id": 2, "source": "ingest", "reason": "theirs", "category": "error", "quantity": 70},
    ]
    async with database.write() as session:
        await session.execute(insert(DropCountModel), drops)
    assert await issues.figures(COMMAND_LINE, (1,)) == ListFigures(
        since=clock.now() - DAY, new=1, new_before=1, events=3, events_before=1, users=2, users_before=1,
        not_kept=9, not_kept_reason="rate_limited",
    )  # fmt: skip


async def test_an_actor_gets_the_figures_of_their_own_projects(
    issues: Any, happen: Any, event_row: Any, clock: Any
) -> None:
    await two_days(issues, happen, event_row, clock)
    assert (await issues.figures(COMMAND_LINE)).events == 4
    assert (await issues.figures(member(2))).events == 1
    assert (await issues.figures(member(2), (1,))).events == 0


async def test_figures_are_kept_for_some_seconds_and_asked_for_once_at_a_time(
    issues: Any, store: Any, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, real = [], store.count

    async def count(where: Any) -> tuple[int, int]:
        asked.append(where)
        await asyncio.sleep(0)
        return await real(where)

    monkeypatch.setattr(store, "count", count)
    await asyncio.gather(*(issues.figures(COMMAND_LINE) for _ in range(5)))
    await issues.figures(COMMAND_LINE)
    assert len(asked) == 2  # one for each day
    clock.advance(FRESH_SECONDS + 1)
    await issues.figures(COMMAND_LINE)
    assert len(asked) == 4


async def test_who_does_not_wait_gets_nothing_and_the_next_gets_what_was_asked(
    issues: Any, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = asyncio.Event()

    async def count(where: Any) -> tuple[int, int]:
        await gate.wait()
        return 3, 2

    monkeypatch.setattr(store, "count", count)
    assert await issues.figures(COMMAND_LINE, wait=0.0) is None
    gate.set()
    assert (await issues.figures(COMMAND_LINE)).events == 3


async def test_without_the_store_the_rest_is_there_and_says_so(
    issues: Any, store: Any, happen: Any, event_row: Any, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await two_days(issues, happen, event_row, clock)

    async def count(where: Any) -> tuple[int, int]:
        raise StoreUnavailableError("out of memory")

    monkeypatch.setattr(store, "count", count)
    figures = await issues.figures(COMMAND_LINE)
    assert (figures.events, figures.new) == (None, 2)
    shown = tiles(ListAddress(), figures, system=True)
    assert [tile.value for tile in shown] == ["?", "?", "2"]


@pytest.mark.parametrize(
    ("now", "before", "words", "tone"),
    [
        (0, 0, "none, as the day before", ""),
        (7, 7, "as the day before", ""),
        (7, 0, "none the day before", ""),
        (118, 100, "▲ 18\u202f% more than before", "bad"),
        (96, 100, "▼ 4\u202f% fewer than before", "good"),
        (999, 1000, "▼ <\u202f1\u202f% fewer than before", "good"),
        (521, 12_400, "▼ 96\u202f% fewer than before", "good"),
        (521, 3, "▲ from 3 the day before", "bad"),
    ],
)
def test_a_day_compares_in_words(now: int, before: int, words: str, tone: str) -> None:
    assert compared(now, before) == (words, tone)


async def test_the_new_issues_lead_to_a_list_of_just_those(
    issues: Any, happen: Any, event_row: Any, clock: Any
) -> None:
    await two_days(issues, happen, event_row, clock)
    new = tiles(ListAddress(), await issues.figures(COMMAND_LINE), system=False)[2]
    assert "opened-after" in new.href
    parsed = parse_search("is:all opened-after:1970-01-01T00:00:05")
    assert (parsed.query.opened, parsed.errors) == (5_000_000, ())
    query = parse_search(parse_qs(urlsplit(new.href).query)["q"][0]).query
    assert len((await issues.list(COMMAND_LINE, query)).items) == int(new.value) == 2


def test_what_was_not_kept_leads_to_the_system_page_for_those_who_may_see_it() -> None:
    figures = ListFigures(since=0, new=0, new_before=0, events=0, not_kept=12, not_kept_reason="rate_limited")
    assert tiles(ListAddress(), figures, system=True)[-1].href == "/system#drops"
    assert tiles(ListAddress(), figures, system=False)[-1].href == ""
    assert len(tiles(ListAddress(), None, system=True)) == 3
