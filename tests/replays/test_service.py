"""Replays, as actors may see them: on the reference store and real files."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import pytest

from appliance.accounts.access import Actor, NotFoundError, Role
from appliance.hookspecs import EventFilter, EventStoreError, Page
from appliance.model import Batch
from appliance.replays.service import KEPT_SECONDS, ReplayService
from appliance.testing.clock import FakeClock
from appliance.testing.reference_store import MemoryStore
from appliance.testing.rows import NOW, SECOND, event_row, hex_id, replay_segment_row
from condev_plugins.local_blobs import LocalBlobs

MEMBER = Actor(user_id=3, email="m@example.com", role=Role.MEMBER, project_ids=frozenset({1}))
STRANGER = Actor(user_id=4, email="s@example.com", role=Role.MEMBER, project_ids=frozenset({2}))
REPLAY = hex_id(1)


class Stage:
    """A store with one replay of two segments, in project 1."""

    def __init__(self, directory: Path) -> None:
        self.store = MemoryStore()
        self.clock = FakeClock(NOW)
        self.blobs = LocalBlobs(directory)
        self.service = ReplayService(self.store, self.blobs, self.clock)

    async def add(self, number: int, text: str, batch: int) -> str:
        body = gzip.compress(text.encode())
        key = f"replays/1/2027-01-15/{REPLAY}-{number}-{hashlib.sha256(body).hexdigest()[:16]}.json.gz"
        await self.blobs.put(key, body)
        row = replay_segment_row(0, segment=number, blob_key=key, replay_id=REPLAY)
        await self.store.write(Batch(batch_id=batch, replay_segments=[row]))
        return key


@pytest.fixture
async def stage(tmp_path: Path) -> Stage:
    made = Stage(tmp_path / "blobs")
    await made.add(0, "[1]", 1)
    await made.add(1, "[2]", 2)
    return made


async def test_segments_come_in_the_order_of_the_recording(stage: Stage) -> None:
    bodies = [await stage.service.segment(MEMBER, 1, REPLAY, number) for number in (0, 1)]
    assert [gzip.decompress(body) for body in bodies] == [b"[1]", b"[2]"]


async def test_nobody_reads_a_replay_of_a_project_that_is_not_theirs(stage: Stage) -> None:
    for asked in (
        stage.service.segment(STRANGER, 1, REPLAY, 0),
        stage.service.segment(STRANGER, 2, REPLAY, 0),
        stage.service.replay(STRANGER, 1, REPLAY),
        stage.service.replay(STRANGER, 2, REPLAY),
        stage.service.project_of(STRANGER, [1, 2], REPLAY),
        stage.service.list(STRANGER, EventFilter(project_ids=(1,)), Page()),
        stage.service.values(STRANGER, EventFilter(project_ids=(1,)), "release"),
    ):
        with pytest.raises(NotFoundError):
            await asked
    assert await stage.service.project_of(MEMBER, [1, 2], REPLAY) == 1


async def test_what_was_found_for_one_person_is_not_shown_to_another(stage: Stage) -> None:
    await stage.service.segment(MEMBER, 1, REPLAY, 0)
    with pytest.raises(NotFoundError):
        await stage.service.segment(STRANGER, 1, REPLAY, 0)


async def test_the_events_of_a_replay_come_in_the_order_of_time(stage: Stage) -> None:
    rows = [
        event_row(n, event_id=hex_id(10 + n), replay_id=REPLAY if n < 3 else hex_id(2), timestamp=NOW - n * SECOND)
        for n in range(4)
    ]
    await stage.store.write(Batch(batch_id=3, events=rows))
    found = await stage.service.replay(MEMBER, 1, REPLAY)
    assert [event.event_id for event in found.events] == [hex_id(12), hex_id(11), hex_id(10)]
    assert (found.summary.segments, found.more_events) == (2, False)


@pytest.mark.parametrize("replay_id", ["", "x" * 32, "../etc", REPLAY.upper() + "\n", "0" * 31])
async def test_what_is_no_id_is_no_replay(stage: Stage, replay_id: str) -> None:
    with pytest.raises(NotFoundError):
        await stage.service.replay(MEMBER, 1, replay_id)
    with pytest.raises(NotFoundError):
        await stage.service.segment(MEMBER, 1, replay_id, 0)


async def test_a_segment_that_is_not_there_says_so(stage: Stage) -> None:
    for number in (-1, 2, 10**9):
        with pytest.raises(NotFoundError):
            await stage.service.segment(MEMBER, 1, REPLAY, number)
    found = await stage.service.replay(MEMBER, 1, REPLAY)
    await stage.blobs.delete(found.summary.blob_keys[1])
    with pytest.raises(NotFoundError, match="no longer kept"):
        await stage.service.segment(MEMBER, 1, REPLAY, 1)


async def test_changed_bytes_are_not_handed_out(stage: Stage) -> None:
    found = await stage.service.replay(MEMBER, 1, REPLAY)
    await stage.blobs.put(found.summary.blob_keys[0], gzip.compress(b"[3]"))
    with pytest.raises(EventStoreError, match="not what was stored"):
        await stage.service.segment(MEMBER, 1, REPLAY, 0)


async def test_a_segment_that_comes_while_a_replay_is_watched_is_seen_after_a_while(stage: Stage) -> None:
    await stage.service.segment(MEMBER, 1, REPLAY, 0)
    await stage.add(2, "[3]", 5)
    with pytest.raises(NotFoundError):
        await stage.service.segment(MEMBER, 1, REPLAY, 2)
    stage.clock.advance(KEPT_SECONDS + 1)
    assert gzip.decompress(await stage.service.segment(MEMBER, 1, REPLAY, 2)) == b"[3]"
