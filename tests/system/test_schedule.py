"""Jobs under leases."""

from __future__ import annotations

import asyncio

import pytest

from appliance.schedule import LEASE_SECONDS, Job, Schedule, job_states
from appliance.system.models import LeaseModel
from appliance.testing.clock import FakeClock
from appliance.testing.databases import BACKENDS, temporary_database


@pytest.fixture(params=BACKENDS)
async def database(request, tmp_path):
    async with temporary_database(request.param, tmp_path) as database:
        yield database


class Counting:
    """A job's body."""

    def __init__(self) -> None:
        self.runs = 0
        self.error: Exception | None = None
        self.gate: asyncio.Event | None = None

    async def __call__(self) -> None:
        self.runs += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error


async def run_due(schedule):
    await schedule.run_due()
    await schedule.settle()


async def test_a_job_runs_once_a_period(database):
    clock, body = FakeClock(), Counting()
    schedule = Schedule(database, clock, [Job("tidy", 60, body)])
    await run_due(schedule)
    await run_due(schedule)
    assert body.runs == 1
    clock.advance(59)
    await run_due(schedule)
    assert body.runs == 1
    clock.advance(2)
    await run_due(schedule)
    assert body.runs == 2


async def test_a_job_that_fails_is_shown_tried_again_and_stops_no_other(database):
    clock, bad, good = FakeClock(), Counting(), Counting()
    bad.error = RuntimeError("disk gone")
    schedule = Schedule(database, clock, [Job("bad", 3600, bad), Job("good", 3600, good)])
    await run_due(schedule)
    states = {state.name: state for state in await job_states(database, clock.now())}
    assert "disk gone" in states["bad"].last_error
    assert states["good"].last_error == ""
    assert (bad.runs, good.runs) == (1, 1)
    clock.advance(121)
    bad.error = None
    await run_due(schedule)
    assert (bad.runs, good.runs) == (2, 1)
    assert (await job_states(database, clock.now()))[0].last_error == ""


async def test_a_costly_job_that_fails_is_tried_again_after_its_own_time(database):
    clock, bad = FakeClock(), Counting()
    bad.error = RuntimeError("disk full")
    schedule = Schedule(database, clock, [Job("backup", 86_400, bad, retry_seconds=3_600)])
    await run_due(schedule)
    clock.advance(3_599)
    await run_due(schedule)
    assert bad.runs == 1
    clock.advance(2)
    await run_due(schedule)
    assert bad.runs == 2


async def test_times_that_a_wrong_clock_wrote_are_not_waited_for(database):
    clock, body = FakeClock(), Counting()
    async with database.write() as session:
        year = clock.now() + 365 * 86_400 * 1_000_000
        session.add(LeaseModel(name="early", holder="", held_until=0, last_error="", next_at=year))
        session.add(LeaseModel(name="held", holder="dead", held_until=year, last_error="", next_at=0))
        soon = clock.now() + 60 * 1_000_000
        session.add(LeaseModel(name="waits", holder="", held_until=0, last_error="", next_at=soon))
    other = Counting()
    schedule = Schedule(database, clock, [Job("early", 60, body), Job("held", 60, body), Job("waits", 60, other)])
    await run_due(schedule)
    assert (body.runs, other.runs) == (2, 0)


async def test_a_job_runs_in_one_process_at_a_time(database):
    clock, body = FakeClock(), Counting()
    body.gate = asyncio.Event()
    one, other = (Schedule(database, clock, [Job("tidy", 60, body)]) for _ in range(2))
    await one.run_due()
    while body.runs == 0:
        await asyncio.sleep(0.01)
    await other.run_due()
    await other.settle()
    assert body.runs == 1
    body.gate.set()
    await one.settle()


async def test_the_job_of_a_process_that_died_is_taken_over(database):
    clock, dead, body = FakeClock(), Counting(), Counting()
    dead.gate = asyncio.Event()
    first = Schedule(database, clock, [Job("tidy", 60, dead)])
    await first.run_due()
    while dead.runs == 0:
        await asyncio.sleep(0.01)
    second = Schedule(database, clock, [Job("tidy", 60, body)])
    await run_due(second)
    assert body.runs == 0
    clock._now += (LEASE_SECONDS + 1) * 1_000_000  # no sleeper wakes: nobody renews
    await run_due(second)
    assert body.runs == 1
    dead.gate.set()
    await first.settle()
    state = (await job_states(database, clock.now()))[0]
    assert state.last_finished_at == clock.now()


async def test_a_long_job_keeps_its_lease(database):
    clock, body = FakeClock(), Counting()
    body.gate = asyncio.Event()
    first = Schedule(database, clock, [Job("long", 60, body)])
    await first.run_due()
    while body.runs == 0:
        await asyncio.sleep(0.01)
    second = Schedule(database, clock, [Job("long", 60, body)])
    for _ in range(10):
        clock.advance(31)
        await asyncio.sleep(0.05)
        await run_due(second)
    assert body.runs == 1
    body.gate.set()
    await first.settle()


async def test_stop_cancels_what_does_not_end_and_gives_the_lease_back(database, monkeypatch):
    monkeypatch.setattr("appliance.schedule.STOP_SECONDS", 0.05)
    clock, body = FakeClock(), Counting()
    body.gate = asyncio.Event()
    schedule = Schedule(database, clock, [Job("endless", 60, body)])
    running = asyncio.create_task(schedule.run())
    while body.runs == 0:
        await asyncio.sleep(0.01)
    await schedule.stop()
    await running
    state = (await job_states(database, clock.now()))[0]
    assert not state.running
    assert "stopped" in state.last_error


def test_two_jobs_of_one_name_are_refused(database):
    async def nothing() -> None: ...

    with pytest.raises(ValueError, match="same name"):
        Schedule(database, FakeClock(), [Job("a", 1, nothing), Job("a", 2, nothing)])
