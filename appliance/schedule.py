"""Periodic jobs under leases: each runs in one process at a time, whichever comes first, and survives restarts.

A job that fails is logged, shown on the System page and tried again; it stops no other. What the jobs do stands with
the nouns that own them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog
from msgspec import Struct
from sqlalchemy import select, update
from sqlalchemy.exc import SQLAlchemyError

from appliance.hookspecs import Clock
from appliance.metadata.database import Database
from appliance.model import MICROSECONDS
from appliance.system.models import LeaseModel

LOOK_SECONDS: Final = 5.0  # between two looks at what is due; no job needs to be more punctual
LEASE_SECONDS: Final = 90  # a crashed holder blocks a job for so long
RENEW_SECONDS: Final = 30.0
MAX_RUN_SECONDS: Final = 1_800.0  # a job that takes longer hangs, and is cancelled
RETRY_SECONDS: Final = 120  # after an error, or at its next time if that is sooner
AT_ONCE: Final = 2  # jobs that run together: on two cores more would be felt on the dashboard
STOP_SECONDS: Final = 5.0

log = structlog.get_logger(__name__)


class Job(Struct, frozen=True):
    """Something to be done every so often."""

    name: str
    every_seconds: int
    run: Callable[[], Awaitable[object]]
    max_seconds: float = MAX_RUN_SECONDS
    retry_seconds: int = RETRY_SECONDS  # longer for what is costly and fails for reasons that last


class Schedule:
    """Runs jobs until `stop`."""

    def __init__(self, database: Database, clock: Clock, jobs: Sequence[Job]) -> None:
        """Make it; nothing runs yet.

        Args:
            database: holds the leases.
            clock: time; sleeps on it, too.
            jobs: with different names.
        """
        if len({job.name for job in jobs}) != len(jobs):
            raise ValueError("two jobs have the same name")
        self._database = database
        self._clock = clock
        self._jobs = jobs
        self._holder = f"{os.getpid()}-{secrets.token_hex(6)}"
        self._running: dict[str, asyncio.Task[None]] = {}
        self._places = asyncio.Semaphore(AT_ONCE)
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Look for what is due, again and again."""
        stopping = asyncio.ensure_future(self._stopping.wait())
        while not self._stopping.is_set():
            await self.run_due()
            sleeping = asyncio.ensure_future(self._clock.sleep(LOOK_SECONDS))
            await asyncio.wait({sleeping, stopping}, return_when=asyncio.FIRST_COMPLETED)
            sleeping.cancel()
        stopping.cancel()

    async def run_due(self) -> None:
        """Start what is due and does not run yet. Errors of the leases themselves are logged: the next look is soon."""
        for job in self._jobs:
            if job.name in self._running:
                continue
            try:
                taken = await self._take(job)
            except (SQLAlchemyError, OSError) as error:
                log.warning("cannot look at a job's lease", job=job.name, error=str(error))
                continue
            if taken:
                task = asyncio.create_task(self._run(job), name=f"job {job.name}")
                self._running[job.name] = task
                task.add_done_callback(lambda _, name=job.name: self._running.pop(name, None))

    async def settle(self) -> None:
        """Wait until nothing runs; for tests and for `stop`."""
        while self._running:
            await asyncio.wait(set(self._running.values()))

    async def stop(self) -> None:
        """Start nothing more; give what runs a moment, then cancel it."""
        self._stopping.set()
        running = set(self._running.values())
        if running:
            _, late = await asyncio.wait(running, timeout=STOP_SECONDS)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    async def _run(self, job: Job) -> None:
        renewing = asyncio.create_task(self._renew(job))
        problem, wait = "", job.every_seconds
        try:
            async with self._places, asyncio.timeout(job.max_seconds):
                await job.run()
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"[:2_000]
            wait = min(job.retry_seconds, job.every_seconds)
            log.error("job failed", job=job.name, exc_info=error)
        except asyncio.CancelledError:
            problem = "stopped with the appliance, before it was done"
            wait = min(RETRY_SECONDS, job.every_seconds)
            raise
        finally:
            renewing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.shield(self._release(job, problem, wait))

    async def _take(self, job: Job) -> bool:
        """Take the lease if the job is due and nobody runs it."""
        now = self._clock.now()
        async with self._database.read() as session:
            known = await session.get(LeaseModel, job.name)
            if known is not None and not _is_due(known, job, now):
                return False
        async with self._database.write() as session:
            lease = await session.get(LeaseModel, job.name, with_for_update=True)
            if lease is None:
                lease = LeaseModel(name=job.name, holder="", held_until=0, last_error="", next_at=0)
                session.add(lease)
            if not _is_due(lease, job, now):
                return False
            lease.holder = self._holder
            lease.held_until = now + LEASE_SECONDS * MICROSECONDS
            lease.last_started_at = now
        return True

    async def _renew(self, job: Job) -> None:
        while True:
            await self._clock.sleep(RENEW_SECONDS)
            until = self._clock.now() + LEASE_SECONDS * MICROSECONDS
            mine = (LeaseModel.name == job.name) & (LeaseModel.holder == self._holder)
            async with self._database.write() as session:
                await session.execute(update(LeaseModel).where(mine).values(held_until=until))

    async def _release(self, job: Job, problem: str, wait: int) -> None:
        now = self._clock.now()
        mine = (LeaseModel.name == job.name) & (LeaseModel.holder == self._holder)
        async with self._database.write() as session:
            await session.execute(
                update(LeaseModel)
                .where(mine)
                .values(
                    holder="",
                    held_until=0,
                    last_finished_at=now,
                    last_error=problem,
                    next_at=now + wait * MICROSECONDS,
                )
            )


def _is_due(lease: LeaseModel, job: Job, now: int) -> bool:
    """What lies further ahead than anything that is written here was written by a clock that was wrong."""
    is_early = now < lease.next_at <= now + job.every_seconds * MICROSECONDS
    is_held = bool(lease.holder) and now < lease.held_until <= now + LEASE_SECONDS * MICROSECONDS
    return not is_early and not is_held


class JobState(Struct, frozen=True, kw_only=True):
    """A job as the System page shows it."""

    name: str
    running: bool
    last_started_at: int | None
    last_finished_at: int | None
    last_error: str
    next_at: int


async def job_states(database: Database, now: int) -> list[JobState]:
    """All jobs that ever ran, by name."""
    async with database.read() as session:
        leases = await session.scalars(select(LeaseModel).order_by(LeaseModel.name))
        return [
            JobState(
                name=lease.name,
                running=bool(lease.holder) and lease.held_until > now,
                last_started_at=lease.last_started_at,
                last_finished_at=lease.last_finished_at,
                last_error=lease.last_error,
                next_at=lease.next_at,
            )
            for lease in leases
        ]
