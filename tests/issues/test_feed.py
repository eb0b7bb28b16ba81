"""The in-process feed: who hears of which changes, and how many updates a storm becomes."""

from __future__ import annotations

import asyncio

from appliance.hookspecs import IssueChange
from appliance.issues.feed import MAX_OPENED, IssueFeed


def opened(issue_id: int, project_id: int = 1) -> IssueChange:
    return IssueChange(
        change="opened", project_id=project_id, issue_id=issue_id, title="", culprit="", level="error", kind="error",
        event_id="", release="", environment="", event_count=1, at=0,
    )  # fmt: skip


async def test_a_page_hears_of_its_own_projects_alone() -> None:
    feed = IssueFeed()
    updates = feed.updates(frozenset({1}), pause=0)
    waiting = asyncio.ensure_future(anext(updates))
    await asyncio.sleep(0)
    feed.publish([2], [opened(5, project_id=2)])
    await asyncio.sleep(0)
    assert not waiting.done()
    feed.publish([1, 2], [opened(6), opened(7, project_id=2)])
    update = await waiting
    assert (update.project_ids, update.opened) == ({1}, (6,))
    await updates.aclose()


async def test_what_happens_while_a_page_is_busy_comes_as_one_update() -> None:
    feed = IssueFeed()
    updates = feed.updates(None, pause=0)
    waiting = asyncio.ensure_future(anext(updates))
    await asyncio.sleep(0)
    feed.publish([1])
    await waiting
    for number in range(3 * MAX_OPENED):
        feed.publish([number % 3], [opened(number, number % 3)])
    update = await anext(updates)
    assert update.project_ids == {0, 1, 2}
    assert update.opened == tuple(range(MAX_OPENED))
    await updates.aclose()


async def test_a_page_that_leaves_is_forgotten() -> None:
    feed = IssueFeed()
    updates = feed.updates(None, pause=0)
    waiting = asyncio.ensure_future(anext(updates))
    await asyncio.sleep(0)
    assert feed.listeners == 1
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await updates.aclose()
    assert feed.listeners == 0
    feed.publish([1], [opened(1)])
