"""What the open lists of issues are told: which issues were opened or came back. Says it from the feed; where nothing
publishes to the feed (a web process without the pipeline), finds it out by looking.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from appliance.accounts.access import Actor
from appliance.hookspecs import Clock
from appliance.issues.feed import IssueFeed, IssueUpdate
from appliance.issues.service import IssueService
from appliance.issues.views import IssueQuery
from appliance.uninterrupted import uninterrupted
from appliance.web.live import Message

LOOK_SECONDS: Final = 10.0  # of silence, then the database is asked: one indexed query for each open page
LOOK_AT: Final = 20  # issues looked at then: more at once are a storm, and "20 new" says as much
OVERLAP: Final = 60_000_000  # µs; an issue's first_seen is the event's time, which lies before it is recorded


async def news(
    actor: Actor, issues: IssueService, feed: IssueFeed, clock: Clock, project_ids: tuple[int, ...]
) -> AsyncIterator[Message]:
    """Messages for one page, without end.

    Args:
        actor: who looks.
        issues: asked when the feed is silent.
        feed: of this process.
        clock: time.
        project_ids: the list's projects; empty: all that the actor sees.
    """
    updates = feed.updates(actor.visible(frozenset(project_ids) or None))
    marker, since = await uninterrupted(issues.marker(actor, project_ids)), clock.now()
    following: asyncio.Task[IssueUpdate] | None = None
    try:
        while True:
            following = following or asyncio.create_task(anext(updates))
            done, _ = await asyncio.wait({following}, timeout=LOOK_SECONDS)
            if done:
                ids, following = following.result().opened, None
            else:
                latest = await uninterrupted(issues.marker(actor, project_ids))
                ids = await _opened_since(actor, issues, project_ids, since) if latest != marker else ()
                marker = latest
            since = clock.now()
            if ids:
                yield Message(event="issues", data={"ids": ids})
    finally:
        if following is not None:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
        await updates.aclose()


async def _opened_since(
    actor: Actor, issues: IssueService, project_ids: tuple[int, ...], since: int
) -> tuple[int, ...]:
    query = IssueQuery(project_ids=project_ids, sort="first_seen", limit=LOOK_AT, sparklines=False)
    found = await uninterrupted(issues.list(actor, query))
    return tuple(item.id for item in found.items if max(item.first_seen, item.regressed_at or 0) >= since - OVERLAP)
