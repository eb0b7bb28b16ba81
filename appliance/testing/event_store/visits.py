"""Replays, releases and what was not kept."""

from __future__ import annotations

from typing import Any

from appliance.hookspecs import (
    EventStore,
    Page,
)
from appliance.model import Batch
from appliance.testing.event_store.common import ALL, BATCH, where
from appliance.testing.rows import (
    HOUR,
    NOW,
    SECOND,
    event_row,
    hex_id,
    outcome_row,
    replay_segment_row,
    session_row,
)


class VisitsSuite:
    """Replays, releases, outcomes."""

    async def test_a_replay_is_told_from_its_segments(self, store: EventStore) -> None:
        rows = [
            replay_segment_row(
                n, segment=n, blob_key=f"k{n}", timestamp=NOW - HOUR + n * SECOND, urls=["https://a/", f"https://{n}/"],
                error_ids=[hex_id(n)], trace_ids=[hex_id(50 + n)], session_id=("", "s-1", "s-2")[n],
            )
            for n in (1, 0, 2)
        ]  # fmt: skip
        again = replay_segment_row(5, segment=1, blob_key="k1-again", blob_bytes=7, timestamp=NOW - HOUR + 2 * SECOND)
        await store.write(Batch(batch_id=BATCH, replay_segments=rows))
        await store.write(Batch(batch_id=BATCH + 1, replay_segments=[again]))
        found = await store.replay((1,), hex_id(1))
        assert found is not None
        assert (found.segments, found.blob_bytes, found.blob_keys) == (3, 207, ("k0", "k1-again", "k2"))
        assert (found.started, found.ended) == (NOW - HOUR, NOW - HOUR + 2 * SECOND)
        assert found.urls == ("https://a/", "https://0/", "https://2/")
        assert found.error_ids == (hex_id(0), hex_id(2))
        assert found.session_ids == ("s-2",)
        assert await store.replay((2,), hex_id(1)) is None
        assert await store.replay((1,), "") is None

    async def test_replays_are_listed_newest_first_and_filtered(self, store: EventStore) -> None:
        rows = [
            replay_segment_row(
                n, replay_id=hex_id(n), started=NOW - HOUR + n, timestamp=NOW - HOUR + n + SECOND, urls=[f"https://{n}/"],
                environment=("staging", "production")[n % 2], trace_ids=[hex_id(90 + n)], session_id=f"s-{n // 2}",
            )
            for n in range(5)
        ]  # fmt: skip
        await store.write(Batch(batch_id=BATCH, replay_segments=rows))
        first, cursor = await store.replays(ALL, Page(limit=3))
        second, end = await store.replays(ALL, Page(limit=3, cursor=cursor))
        assert [one.replay_id for one in first + second] == [hex_id(n) for n in (4, 3, 2, 1, 0)]
        assert end == ""

        async def chosen(**fields: Any) -> list[str]:
            return [one.replay_id for one in (await store.replays(where(**fields), Page()))[0]]

        assert await chosen(environments=("production",)) == [hex_id(3), hex_id(1)]
        assert await chosen(urls=("https://2/",)) == [hex_id(2)]
        assert await chosen(trace_id=hex_id(93)) == [hex_id(3)]
        assert await chosen(session_id="s-1") == [hex_id(3), hex_id(2)]
        assert await chosen(replay_id=hex_id(4)) == [hex_id(4)]
        assert await chosen(start=NOW - HOUR + 4 + SECOND) == [hex_id(4)]
        assert await chosen(end=NOW - HOUR + 1) == [hex_id(0)]

    async def test_releases_count_a_session_as_it_ended(self, store: EventStore) -> None:
        sessions = [
            session_row(0, release="b", timestamp=NOW - 20, status="ok", user_hash=5),
            session_row(1, session_id=hex_id(1), release="b", timestamp=NOW - 10, status="crashed", user_hash=5),
            session_row(2, release="b", status="exited", quantity=4),
        ]
        events = [event_row(3, release="a", timestamp=NOW - 2 * HOUR, user_hash=6), event_row(4, release="")]
        await store.write(Batch(batch_id=BATCH, events=events, sessions=sessions))
        newer, older = await store.releases(ALL)
        assert (newer.release, newer.events, newer.sessions, newer.crashed_sessions, newer.users) == ("b", 0, 5, 1, 1)
        assert (newer.first_seen, newer.last_seen) == (NOW - HOUR, NOW - 10)
        assert (older.release, older.events, older.sessions, older.users) == ("a", 1, 0, 1)

    async def test_outcomes_are_added_up(self, store: EventStore) -> None:
        rows = [outcome_row(n, quantity=n + 1) for n in range(3)] + [
            outcome_row(9, reason="before_send", source="server")
        ]
        await store.write(Batch(batch_id=BATCH, outcomes=rows))
        assert await store.outcomes(ALL) == [
            ("client", "ratelimit_backoff", "error", 6),
            ("server", "before_send", "error", 1),
        ]
