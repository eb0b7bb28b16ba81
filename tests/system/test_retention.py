"""What is dropped, and in which order."""

from __future__ import annotations

import hashlib

import pytest
from msgspec.structs import replace

from appliance.config import Retention as Limits
from appliance.hookspecs import BlobInfo
from appliance.model import Batch
from appliance.system.retention import Retention
from appliance.testing.clock import FakeClock
from appliance.testing.reference_store import MemoryStore
from appliance.testing.rows import event_row, measurement_row, replay_segment_row, span_row

DAY = 86_400_000_000


class SizedStore(MemoryStore):
    """Each row weighs 100 bytes."""

    async def stats(self):
        stats = await super().stats()
        return replace(stats, bytes_on_disk=sum(table.rows for table in stats.tables) * 100)


class Blobs:
    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}

    async def delete(self, key: str) -> None:
        del self.blobs[key]

    async def list(self, prefix: str):
        for key, body in list(self.blobs.items()):
            if key.startswith(prefix):
                yield BlobInfo(key=key, size=len(body), sha256=hashlib.sha256(body).hexdigest())


@pytest.fixture
def kept():
    return Kept()


class Kept:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = SizedStore(self.clock)
        self.blobs = Blobs()
        self.full: list[bool] = []

    async def fill(self, days: range) -> None:
        """One row of four kinds and a body for each day, so many days ago."""
        for ago in days:
            at = self.clock.now() - ago * DAY
            times = {"timestamp": at, "received_at": at}
            batch = Batch(
                batch_id=ago + 1,
                events=[event_row(0, **times)],
                measurements=[measurement_row(1, **times)],
                spans=[span_row(2, received_at=at)],
                replay_segments=[replay_segment_row(3, **times)],
            )
            await self.store.write(batch)
            from datetime import UTC, datetime

            day = datetime.fromtimestamp(at / 1e6, UTC).strftime("%Y-%m-%d")
            self.blobs.blobs[f"replays/1/{day}/a.json.gz"] = b"x" * 50

    async def run(self, **limits):
        retention = Retention(
            self.store, self.blobs, self.clock, Limits(**limits), on_full=self.full.append,  # type: ignore[arg-type]
        )  # fmt: skip
        return await retention.run()

    def rows(self) -> dict[str, int]:
        return {name: len(rows) for name, rows in self.store.tables.items() if rows}


async def test_days_beyond_the_bound_are_dropped_with_their_bodies(kept):
    await kept.fill(range(6))
    done = await kept.run(days=3, bytes=0)
    assert kept.rows() == {"events": 4, "measurements": 4, "spans": 4, "replay_segments": 4}
    assert len(kept.blobs.blobs) == 4
    assert (done.dropped_days, done.dropped_blobs, done.full) == (8, 2, False)


async def test_within_bytes_replays_go_first_then_spans_then_measurements_then_events(kept):
    await kept.fill(range(4))  # 1,600 bytes of rows and 200 of bodies
    await kept.run(days=0, bytes=1_700)
    assert kept.rows() == {"events": 4, "measurements": 4, "spans": 4, "replay_segments": 3}
    await kept.run(days=0, bytes=1_250)
    assert kept.rows() == {"events": 4, "measurements": 4, "spans": 3, "replay_segments": 1}
    await kept.run(days=0, bytes=700)
    assert kept.rows() == {"events": 3, "measurements": 1, "spans": 1, "replay_segments": 1}
    assert kept.full == [False, False, False]


async def test_today_is_never_dropped_and_payloads_stop_instead(kept):
    await kept.fill(range(2))
    done = await kept.run(days=0, bytes=10)
    assert kept.rows() == {"events": 1, "measurements": 1, "spans": 1, "replay_segments": 1}
    assert done.full
    await kept.run(days=0, bytes=10_000)
    assert kept.full == [True, False]


async def test_bodies_that_a_waiting_record_may_still_need_stay(kept):
    await kept.fill(range(1))
    kept.blobs.blobs["replays/1/2027-01-12/late.json.gz"] = b"y"  # three days ago; its row is not written yet
    retention = Retention(
        kept.store, kept.blobs, kept.clock, Limits(days=30), oldest_waiting=lambda: 4 * 86_400.0,  # type: ignore[arg-type]
    )  # fmt: skip
    await retention.run()
    assert len(kept.blobs.blobs) == 2
    await kept.run(days=30)
    assert len(kept.blobs.blobs) == 1
