"""Recorded sessions of a project: the list, one of them with what broke in it, and the bytes of its segments.

What the bytes mean is the player's business (web/static/js/replay-frame.js): nothing here reads a recording.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from appliance.accounts.access import Actor, NotFoundError, Permission
from appliance.hookspecs import (
    BlobStore,
    Clock,
    EventFilter,
    EventStore,
    EventStoreError,
    EventSummary,
    Page,
    ReplaySummary,
)

HOUR: Final = 3_600_000_000  # µs
DAY: Final = 24 * HOUR  # an error that waited offline may come so much later than its recording
MAX_EVENTS: Final = 200  # beside one replay: what a page of the store holds
KEPT_SECONDS: Final = 20.0  # a player asks for all segments of a replay one after another; the store is asked once
KEPT_REPLAYS: Final = 64
NO_REPLAY: Final = (
    "This replay is not here. Its segments may not have arrived yet, were refused because replays are switched off "
    "for the project, or were removed by retention."
)
_HEX: Final = re.compile(r"[0-9a-f]{32}")
_NAMED: Final = re.compile(r"-([0-9a-f]{16})\.json\.gz\Z")  # the beginning of the bytes' SHA-256, in their key


class Replay(Struct, frozen=True, kw_only=True):
    """One recorded session, and the events that say they happened in it, oldest first."""

    summary: ReplaySummary
    events: list[EventSummary]
    more_events: bool = False


class ReplayService:
    """Replays, as an actor may see them."""

    def __init__(self, store: EventStore, blobs: BlobStore, clock: Clock) -> None:
        """Make it.

        Args:
            store: the index of segments, and the events.
            blobs: the segments' bytes.
            clock: says how long a found replay is remembered.
        """
        self._store = store
        self._blobs = blobs
        self._clock = clock
        self._found: dict[tuple[int, str], tuple[float, ReplaySummary]] = {}

    async def list(self, actor: Actor, where: EventFilter, page: Page) -> tuple[list[ReplaySummary], str]:
        """Replays of one project, newest first, and the next cursor. Raises `NotFoundError` for a foreign project."""
        for project_id in where.project_ids:
            actor.require_project(project_id, Permission.ISSUES_READ)
        return await self._store.replays(where, page)

    async def values(self, actor: Actor, where: EventFilter, name: str, limit: int = 50) -> list[tuple[str, int]]:
        """Values of a field among page views and how often they occur: replays are of the same visits."""
        for project_id in where.project_ids:
            actor.require_project(project_id, Permission.ISSUES_READ)
        found = await self._store.field_values("page_views", where, name, limit)
        return [(one.value, one.events) for one in found if one.value]

    async def project_of(self, actor: Actor, project_ids: Sequence[int], replay_id: str) -> int:
        """Which of the projects a replay belongs to.

        Args:
            actor: who asks; projects that they do not see are not looked at.
            project_ids: where to look.
            replay_id: 32 hex digits.

        Raises:
            NotFoundError: it is in none of them.
        """
        actor.require(Permission.ISSUES_READ)
        seen = [one for one in project_ids if actor.sees(one)]
        if not _HEX.fullmatch(replay_id) or not seen:
            raise NotFoundError(NO_REPLAY)
        found = await self._store.replay(seen, replay_id)
        if found is None:
            raise NotFoundError(NO_REPLAY)
        return found.project_id

    async def replay(self, actor: Actor, project_id: int, replay_id: str) -> Replay:
        """One replay with its events.

        Raises:
            NotFoundError: there is none of this id in the project, or the project is not theirs.
        """
        actor.require_project(project_id, Permission.ISSUES_READ)
        summary = await self._summary(project_id, replay_id, fresh=True)
        # The times are those of the index; without them every day of the retention would be read.
        where = EventFilter(
            project_ids=(project_id,), replay_id=replay_id, start=summary.started - HOUR, end=summary.ended + DAY
        )
        events, following = await self._store.events(where, Page(limit=MAX_EVENTS))
        return Replay(summary=summary, events=events[::-1], more_events=bool(following))

    async def segment(self, actor: Actor, project_id: int, replay_id: str, number: int) -> bytes:
        """The bytes of one segment: rrweb events as a JSON array, gzipped.

        Args:
            actor: who asks.
            project_id: the project.
            replay_id: 32 hex digits.
            number: 0… in the order of the recording, whatever numbers the segments came with.

        Raises:
            NotFoundError: there is no such segment (any more), or it is not theirs.
            EventStoreError: the bytes are not those that were stored.
        """
        actor.require_project(project_id, Permission.ISSUES_READ)
        summary = await self._summary(project_id, replay_id)
        if not 0 <= number < len(summary.blob_keys):
            raise NotFoundError("This replay has no such segment.")
        key = summary.blob_keys[number]
        try:
            body = await self._blobs.get(key)
        except KeyError as error:
            raise NotFoundError("This part of the replay is no longer kept.") from error
        named = _NAMED.search(key)
        digest = await asyncio.to_thread(lambda: hashlib.sha256(body).hexdigest())
        if named is None or not digest.startswith(named[1]):
            raise EventStoreError(f"Blob {key} is not what was stored: the disk or somebody changed it.")
        return body

    async def _summary(self, project_id: int, replay_id: str, fresh: bool = False) -> ReplaySummary:
        """What the index has; remembered for a while, under the project: whoever asks has been found to see it."""
        if not _HEX.fullmatch(replay_id):
            raise NotFoundError(NO_REPLAY)
        now, key = self._clock.monotonic(), (project_id, replay_id)
        kept = self._found.get(key)
        if kept is not None and not fresh and now - kept[0] < KEPT_SECONDS:
            return kept[1]
        found = await self._store.replay([project_id], replay_id)
        if found is None:
            raise NotFoundError(NO_REPLAY)
        self._found.pop(key, None)
        self._found[key] = (now, found)
        while len(self._found) > KEPT_REPLAYS:
            del self._found[next(iter(self._found))]
        return found
