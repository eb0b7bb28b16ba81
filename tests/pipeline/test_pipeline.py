"""From the spool to both stores, with nothing going wrong but the input."""

from __future__ import annotations

import asyncio
import gzip
import json

import msgspec

from appliance.model import Event
from appliance.spool import DropCount, SpooledDrops, encode_record


async def test_each_event_is_stored_once_and_counted_everywhere(house, event):
    for number in range(300):
        await house.send(event(number, type=f"Error{number % 7}"))
    await house.drain(house.pipeline())
    assert house.event_ids() == [f"{number:032x}" for number in range(300)]
    assert await house.issue_events() == 300
    assert await house.project_events() == 300
    counts = await house.counts()
    assert (counts["records"], counts["events"], counts.get("duplicates", 0)) == (300, 300, 0)


async def test_several_items_of_one_record_keep_their_ordinals(house, event):
    await house.send(event(1), event(2, kind="measurement"), event(3, kind="span"), event(4, kind="session"))
    await house.send(event(5), event(6, kind="outcome"))
    await house.drain(house.pipeline())
    ordinals = {table: sorted(ordinal for _, ordinal in rows) for table, rows in house.store.tables.items() if rows}
    assert ordinals == {
        "events": [0, 65_536], "measurements": [1], "spans": [2], "sessions": [3], "outcomes": [65_537],
    }  # fmt: skip


async def test_the_same_event_again_is_one_event_in_a_batch_and_across_batches(house, event):
    await house.send(event(1))
    await house.send(event(1))
    await house.drain(house.pipeline())
    await house.send(event(1), event(2, kind="measurement"))
    await house.send(event(1), event(2, kind="measurement"))
    await house.drain(house.pipeline())
    assert house.event_ids() == [f"{1:032x}"]
    assert len(house.store.tables["measurements"]) == 1
    assert await house.issue_events() == 1
    assert (await house.counts())["duplicates"] == 4


async def test_a_request_sent_again_adds_nothing_not_even_its_outcomes(house, event):
    def request(envelope: str) -> list[dict[str, object]]:
        view = event(9, kind="page_view", envelope=envelope)
        return [event(1), event(2, kind="outcome", reason="before_send", quantity=3), view]

    await house.send(*request("a" * 32))
    await house.send(*request("a" * 32))
    await house.drain(house.pipeline())
    await house.send(*request("a" * 32))
    await house.send(*request("b" * 32))  # another request of the same page view
    await house.drain(house.pipeline())
    views = house.store.tables["page_views"].values()
    assert sorted((row.page_view_id, row.envelope_id) for row in views) == [(f"{9:032x}", n * 32) for n in "ab"]
    assert len(house.store.tables["outcomes"]) == 2
    assert await house.drops() == {("client", "before_send"): 6}
    assert await house.issue_events() == 1


async def test_each_value_that_takes_anothers_place_is_stored_once(house, event):
    values = [event(5, kind="measurement", value=n, revision=n) for n in (0, 2, 1)]
    await house.send(*values)
    await house.send(*values[1:])
    await house.drain(house.pipeline())
    rows = house.store.tables["measurements"].values()
    assert sorted((row.value, row.revision) for row in rows) == [(0.0, 0), (1.0, 1), (2.0, 2)]


async def test_two_projects_may_use_the_same_event_id(house, event):
    await house.send(event(1), project_id=1)
    await house.send(event(1), project_id=2)
    await house.drain(house.pipeline())
    assert len(house.event_ids()) == 2


async def test_processors_change_drop_and_are_counted(house, event):
    await house.send(event(1), event(2, do="drop"), event(3))
    await house.drain(house.pipeline())
    stored = [msgspec.json.decode(row.payload, type=Event) for row in house.store.tables["events"].values()]
    assert [one.id for one in stored] == [f"{1:032x}", f"{3:032x}"]
    assert all(one.tags["obeyed"] == "1" and "scrubbed" in one.extra for one in stored)
    outcomes = list(house.store.tables["outcomes"].values())
    assert [(row.reason, row.source, row.category, row.ordinal) for row in outcomes] == [
        ("processor:obedient", "server", "error", 1)
    ]
    assert (await house.drops())[("pipeline", "processor:obedient")] == 1


async def test_a_compressed_body_is_read_and_a_damaged_one_becomes_a_dead_letter(house, event):
    from appliance.spool import SpooledRecord

    body = gzip.compress(json.dumps(event(1)).encode())
    for given in (body, body[:-20], b"not gzip"):
        record = SpooledRecord(
            protocol="lines", route="lines", project_id=1, received_at=house.clock.now(), body=given,
            headers={"content-encoding": "gzip"},
        )  # fmt: skip
        await house.writer.append(encode_record(record))
    await house.drain(house.pipeline())
    assert house.event_ids() == [f"{1:032x}"]
    assert [letter.reason for letter in await house.dead()] == ["undecodable", "undecodable"]


async def test_records_of_an_unknown_protocol_are_kept_as_dead_letters_that_say_so(house, event):
    await house.send(event(1), protocol="otlp")
    await house.send(event(2))
    await house.drain(house.pipeline())
    (letter,) = await house.dead()
    assert "'otlp'" in letter.detail
    assert "lines" in letter.detail
    assert house.event_ids() == [f"{2:032x}"]
    path = house.data_dir / "dead_letters" / f"{letter.record_id}.record"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


async def test_records_of_a_deleted_project_are_dropped_and_counted(house, event):
    await house.send(event(1), project_id=99)
    await house.send(event(2, kind="measurement"), project_id=99)
    await house.send(event(3))
    await house.drain(house.pipeline())
    assert house.event_ids() == [f"{3:032x}"]
    assert (await house.drops())[("pipeline", "project_deleted")] == 2
    assert not house.store.tables["measurements"]


async def test_drops_that_ingest_counted_arrive_in_the_totals(house, event):
    for _ in range(2):
        drops = SpooledDrops(counted_at=house.clock.now(), drops=[DropCount(1, "rate_limited", "error", 5)])
        await house.writer.append(encode_record(drops))
    await house.send(event(1))
    await house.drain(house.pipeline())
    assert (await house.drops())[("ingest", "rate_limited")] == 10
    assert (await house.counts())["records"] == 1


async def test_payloads_beyond_the_bound_are_withheld_and_the_rows_kept(house, event):
    house.config.pipeline.payloads_per_hour_per_issue = 3
    for number in range(8):
        await house.send(event(number, type="Noisy"))
    await house.send(event(100, type="Quiet"))
    await house.drain(house.pipeline())
    rows = list(house.store.tables["events"].values())
    assert [row.payload_withheld for row in rows] == [False] * 3 + [True] * 5 + [False]
    assert all((row.payload == b"") == row.payload_withheld for row in rows)
    assert (await house.counts())["withheld_payloads"] == 5


async def test_a_text_that_no_column_can_hold_is_mended_not_lost(house, event):
    await house.send(event(1, do="surrogate"), event(2))
    await house.drain(house.pipeline())
    assert len(house.event_ids()) == 2
    assert not await house.dead()


async def test_replay_bodies_lie_in_the_blob_store_before_their_row(house, event):
    await house.send(event(7, kind="replay"))
    await house.drain(house.pipeline())
    (row,) = house.store.tables["replay_segments"].values()
    assert gzip.decompress(house.blobs.blobs[row.blob_key]) == b"[1,2,3]"
    assert len(house.blobs.blobs[row.blob_key]) == row.blob_bytes


async def test_a_batch_is_cut_where_its_rows_grow_too_large(house, event, monkeypatch):
    monkeypatch.setattr("appliance.pipeline.pipeline.MAX_OUTPUT", 200_000)
    for number in range(200):
        await house.send(event(number, padding="x" * 10_000))
    await house.drain(house.pipeline())
    assert len(house.event_ids()) == 200
    batches = {batch for batch, _ in house.store.tables["events"]}
    assert len(batches) >= 3
    assert await house.issue_events() == 200


async def test_an_event_is_stored_while_the_pipeline_runs_without_another_one_following(house, event):
    pipeline = house.pipeline()
    task = asyncio.create_task(pipeline.run())
    for number in range(3):
        await house.send(event(number))
        await house.drained(pipeline)
        assert len(house.event_ids()) == number + 1
    await pipeline.stop()
    await task


async def test_another_spool_in_the_directory_is_taken_up(house, event, tmp_path):
    from appliance.spool import SpoolWriter

    pipeline = house.pipeline()
    task = asyncio.create_task(pipeline.run())
    await house.send(event(1))
    await house.drained(pipeline)
    await house.writer.close()
    (tmp_path / "spool").rename(tmp_path / "old-spool")
    house.writer = SpoolWriter.open(tmp_path / "spool", max_bytes=10_000_000, min_free_bytes=0)
    await house.send(event(2))
    async with asyncio.timeout(30):
        while len(house.event_ids()) < 2:
            await asyncio.sleep(0.05)
    await pipeline.stop()
    await task


async def test_applied_segments_are_unlinked(house, event):
    for number in range(50):
        await house.send(event(number))
    await house.drain(house.pipeline())
    async with asyncio.timeout(5):
        assert await house.unfinished() == 0
    # the segment being written stays; everything before it goes
    assert len(list((house.data_dir / "spool").glob("*.seg"))) <= 1


async def test_changes_are_told_after_commit(house, event):
    heard: list[list[str]] = []
    for number in range(3):
        await house.send(event(number))
    await house.drain(house.pipeline(on_changes=lambda changes: heard.append([one.change for one in changes])))
    assert heard == [["opened"]]
