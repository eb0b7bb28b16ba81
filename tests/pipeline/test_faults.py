"""Crashes between any two steps, workers that die, plugins that misbehave, stores that refuse."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from appliance.hookspecs import StoreRefusedError, StoreUnavailableError
from appliance.pipeline.isolate import MAX_SPARED
from appliance.pipeline.worker import NICE
from appliance.testing.reference_store import MemoryStore

STEPS = ["claimed", "decoded", "prepared", "blobs", "stored", "dead_letters", "recorded", "acknowledged"]


class Killed(BaseException):
    """What a test throws where a process would die."""


class CrashAt:
    """Raises once when a step is done."""

    def __init__(self, step: str) -> None:
        self.step = step
        self.crashed = False

    def __call__(self, step: str) -> None:
        if step == self.step and not self.crashed:
            self.crashed = True
            raise Killed(step)


async def crash(house, step):
    """Run a pipeline until it dies behind a step."""
    pipeline = house.pipeline(CrashAt(step))
    with pytest.raises(Killed):
        await asyncio.wait_for(pipeline.run(), 30)


@pytest.mark.parametrize("step", STEPS)
async def test_a_batch_killed_behind_any_step_is_applied_once(house, event, step):
    await house.send(event(1), event(2, kind="measurement"), event(3, kind="replay"), event(4, kind="outcome"))
    await house.send(event(5), event(6, do="drop"))
    await house.send_body(b"not json")
    await crash(house, step)
    await house.drain(house.pipeline())
    assert house.event_ids() == [f"{1:032x}", f"{5:032x}"]
    assert {table: len(rows) for table, rows in house.store.tables.items() if rows} == {
        "events": 2, "measurements": 1, "replay_segments": 1, "outcomes": 2,
    }  # fmt: skip
    assert len(house.blobs.blobs) == 1
    assert await house.issue_events() == 2
    assert await house.project_events() == 2
    counts = await house.counts()
    assert (counts["records"], counts["events"], counts["dead_letters"]) == (3, 2, 1)
    assert (await house.drops())[("client", "before_send")] == 3
    assert len(await house.dead()) == 1


@pytest.mark.parametrize("table", ["measurements", "spans", "outcomes"])
async def test_a_batch_killed_between_two_tables_is_applied_once(house, event, table):
    await house.send(event(1), event(2, kind="measurement"), event(3, kind="span"), event(4, kind="outcome"))
    house.store.fail_before[table] = StoreUnavailableError("killed here")
    pipeline = house.pipeline()
    task = asyncio.create_task(pipeline.run())
    async with asyncio.timeout(20):
        while not pipeline.status().waiting_for:
            await asyncio.sleep(0.01)
    await pipeline.stop()
    await task
    assert len(house.store.tables["events"]) == 1
    house.store.fail_before.clear()
    await house.drain(house.pipeline())
    assert {name: len(rows) for name, rows in house.store.tables.items() if rows} == {
        "events": 1, "measurements": 1, "spans": 1, "outcomes": 1,
    }  # fmt: skip
    assert await house.issue_events() == 1


async def test_a_store_that_refuses_for_a_while_loses_nothing_and_is_said_on_the_page(house, event):
    for number in range(20):
        await house.send(event(number))
    house.store.fail_before["events"] = StoreUnavailableError("out of memory")
    pipeline = house.pipeline()
    task = asyncio.create_task(pipeline.run())
    async with asyncio.timeout(20):
        while not pipeline.status().waiting_for:
            await asyncio.sleep(0.01)
    assert "out of memory" in pipeline.status().waiting_for
    await house.send(event(20))
    house.store.fail_before.clear()
    await house.drained(pipeline)
    assert pipeline.status().waiting_for == ""
    await pipeline.stop()
    await task
    assert len(house.event_ids()) == 21
    assert await house.issue_events() == 21


async def test_a_worker_killed_in_the_middle_of_a_batch_costs_nothing(house, event):
    for number in range(10):
        await house.send(event(number, decode="slow"))
    house.config.pipeline.decode_timeout_seconds = 20
    pipeline = house.pipeline()
    task = asyncio.create_task(pipeline.run())
    async with asyncio.timeout(20):
        while await house.unfinished() == 0 or pipeline.status().worker_pid is None:
            await asyncio.sleep(0.01)
    os.kill(pipeline.status().worker_pid, signal.SIGKILL)
    await house.drained(pipeline)
    assert pipeline.status().worker_starts == 2
    await pipeline.stop()
    await task
    assert len(house.event_ids()) == 10
    assert not await house.dead()


@pytest.mark.parametrize(("deaths", "dead"), [(MAX_SPARED, 0), (50, 1)])
async def test_a_record_that_was_stored_before_is_no_dead_letter_because_the_worker_was_killed(
    house, event, tmp_path, deaths, dead
):
    left = tmp_path / "left"
    await house.send(event(1))
    await house.send(event(2, decode=str(left)))
    await house.send(event(3))
    await crash(house, "stored")
    left.write_text(str(deaths))
    await house.drain(house.pipeline())
    assert len(house.event_ids()) == 3
    assert len(await house.dead()) == dead
    assert await house.issue_events() == 3 - dead


async def test_the_worker_stands_back_where_processor_time_is_short(house, event):
    pipeline = house.pipeline()
    task = asyncio.create_task(pipeline.run())
    await house.send(event(1))
    await house.drained(pipeline)
    assert os.getpriority(os.PRIO_PROCESS, pipeline.status().worker_pid) == min(19, os.nice(0) + NICE)
    await pipeline.stop()
    await task


@pytest.mark.parametrize("how", ["hang", "abort"])
@pytest.mark.parametrize("where", ["do", "decode"])
async def test_one_poisonous_record_among_500_is_found_and_the_others_stored(house, event, how, where):
    await asyncio.gather(
        *(house.send(event(number, **({where: how} if number == 321 else {}))) for number in range(500))
    )
    await house.drain(house.pipeline())
    assert len(house.event_ids()) == 499
    assert await house.issue_events() == 499
    (letter,) = await house.dead()
    assert letter.reason == {"hang": "timed_out", "abort": "crashed"}[how]
    counts = await house.counts()
    assert (counts["records"], counts["dead_letters"]) == (500, 1)


async def test_two_poisonous_records_are_both_found(house, event):
    for number in range(50):
        await house.send(event(number, do="abort" if number in (0, 49) else ""))
    await house.drain(house.pipeline())
    assert len(house.event_ids()) == 48
    assert [letter.reason for letter in await house.dead()] == ["crashed", "crashed"]


async def test_a_processor_that_raises_costs_one_item_its_change_and_nobody_else(house, event):
    for number in range(20):
        await house.send(event(number, do="raise" if number == 7 else ""))
    pipeline = house.pipeline()
    await house.drain(pipeline)
    rows = {row.event_id: row for row in house.store.tables["events"].values()}
    assert len(rows) == 20
    assert "obeyed" not in rows[f"{7:032x}"].tags
    assert rows[f"{8:032x}"].tags["obeyed"] == "1"
    failure = pipeline.status().processor_failures["obedient"]
    assert failure.times == 1
    assert "as asked" in failure.detail


async def test_what_cannot_be_scrubbed_is_not_stored(house, event):
    for number in range(20):
        await house.send(event(number, message="unscrubbable secret" if number == 7 else "fine"))
    await house.drain(house.pipeline())
    assert len(house.event_ids()) == 19
    assert all(b"unscrubbable" not in row.payload for row in house.store.tables["events"].values())
    (letter,) = await house.dead()
    assert letter.reason == "processor"
    assert "scrub" in letter.detail


async def test_a_worker_that_cannot_start_blames_no_record(house, event):
    await house.send(event(1))
    house.worker_options["broken"] = True
    pipeline = house.pipeline()
    task = asyncio.create_task(pipeline.run())
    async with asyncio.timeout(20):
        while "a plugin is broken" not in pipeline.status().error:
            await asyncio.sleep(0.02)
    await pipeline.stop()
    await task
    house.worker_options.clear()
    await house.drain(house.pipeline())
    assert len(house.event_ids()) == 1
    assert not await house.dead()


class PickyStore(MemoryStore):
    """Refuses one event for its content, as long as it is told to."""

    refused = f"{5:032x}"

    async def write(self, batch, missing=None):
        if any(row.event_id == self.refused for row in batch.events if not missing or row.ordinal in missing["events"]):
            raise StoreRefusedError("no such enum value")
        await super().write(batch, missing)


async def test_what_the_store_refuses_becomes_a_dead_letter_and_its_neighbours_are_stored(house, event):
    house.store = PickyStore()
    for number in range(9):
        await house.send(event(number))
    await house.drain(house.pipeline())
    assert len(house.event_ids()) == 8
    assert await house.issue_events() == 8
    (letter,) = await house.dead()
    assert (letter.reason, letter.detail) == ("refused_by_store", "no such enum value")


async def test_what_the_metadata_refuse_becomes_a_dead_letter_and_the_pipeline_goes_on(house, event, monkeypatch):
    from appliance.pipeline import effects

    record_batch = effects.record_batch

    async def picky(session, rows, groupings, *, limits, now):
        if any(row.event_id == f"{5:032x}" for row in rows):
            raise ValueError("cannot be counted")
        return await record_batch(session, rows, groupings, limits=limits, now=now)

    monkeypatch.setattr(effects, "record_batch", picky)
    for number in range(9):
        await house.send(event(number))
    await house.drain(house.pipeline())
    assert await house.issue_events() == 8
    (letter,) = await house.dead()
    assert letter.reason == "refused_by_metadata"


async def test_a_stop_finishes_what_is_in_flight(house, event):
    for number in range(10):
        await house.send(event(number, decode="slow"))
    house.config.pipeline.decode_timeout_seconds = 20
    pipeline = house.pipeline()
    task = asyncio.create_task(pipeline.run())
    async with asyncio.timeout(20):
        while await house.unfinished() == 0:
            await asyncio.sleep(0.01)
    await pipeline.stop(15)
    await task
    assert len(house.event_ids()) == 10
    assert await house.unfinished() == 0


async def test_a_stop_that_would_take_too_long_leaves_the_batch_for_the_next_start(house, event):
    await house.send(event(1, decode="slow"), *(event(number, decode="slow") for number in range(2, 12)))
    house.config.pipeline.decode_timeout_seconds = 20
    pipeline = house.pipeline()
    task = asyncio.create_task(pipeline.run())
    async with asyncio.timeout(20):
        while await house.unfinished() == 0:
            await asyncio.sleep(0.01)
    await pipeline.stop(0.1)
    await asyncio.wait({task})
    assert not house.event_ids()
    await house.drain(house.pipeline())
    assert len(house.event_ids()) == 11
    assert not await house.dead()
