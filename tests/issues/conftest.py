"""A metadata database with a project, and events as the pipeline hands them over."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from appliance.config import Pipeline
from appliance.hookspecs import IssueChange
from appliance.issues.grouping import VERSION, Grouping
from appliance.issues.grouping.result import write_explanation
from appliance.issues.recording import record_batch
from appliance.issues.service import IssueService
from appliance.metadata.database import Database
from appliance.model import Batch, EventRow
from appliance.projects.models import ProjectModel
from appliance.testing.clock import FakeClock
from appliance.testing.databases import BACKENDS, temporary_database
from appliance.testing.reference_store import MemoryStore

NOON = 1_800_000_000_000_000  # µs; exactly on an hour
SECOND = 1_000_000


@pytest.fixture(params=BACKENDS)
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    """SQLite, then Postgres; with projects 1 and 2."""
    async with temporary_database(request.param, tmp_path) as database:
        async with database.write() as session:
            projects = [{"id": n, "slug": f"shop-{n}", "name": f"Shop {n}", "created_at": NOON} for n in (1, 2)]
            await session.execute(insert(ProjectModel), projects)
        yield database


@pytest.fixture
def event_row() -> Callable[..., EventRow]:
    """Makes event rows, each with an id of its own; name what matters to the test."""
    numbers = itertools.count(1)

    def make(group_hash: int = 7, **values: Any) -> EventRow:
        number = next(numbers)
        fields: dict[str, Any] = {
            "ordinal": number, "project_id": 1, "event_id": f"{number:032x}", "kind": "error", "level": "error",
            "timestamp": NOON + number, "received_at": NOON + number, "group_hash": group_hash,
            "grouping_version": VERSION if group_hash else 0, "title": f"TypeError: number {group_hash}",
            "culprit": "src/cart.ts in total", "type": "TypeError", "message": "", "platform": "javascript",
            "release": "", "dist": "", "environment": "production", "transaction": "", "url": "", "user_id": "",
            "user_hash": 0, "browser": "Chrome", "browser_version": "", "os": "", "os_version": "", "device": "",
            "sdk": "", "sdk_version": "", "handled": True, "trace_id": "", "session_id": "", "page_view_id": "",
            "replay_id": "", "tags": {}, "payload": b"",
        }  # fmt: skip
        return EventRow(**{**fields, **values})

    return make


@pytest.fixture
def record(database: Database) -> Callable[..., Any]:
    """Records rows as one batch."""

    async def run(rows: Sequence[EventRow], *, new_issues_per_hour: int = 1_000, now: int = NOON) -> list[IssueChange]:
        explanation = write_explanation("stack", "The same functions.", [])
        groupings = {
            row.group_hash: Grouping(row.group_hash, VERSION, row.title, row.culprit, row.type, explanation)
            for row in rows
        }
        async with database.write() as session:
            return await record_batch(
                session, rows, groupings, limits=Pipeline(new_issues_per_hour=new_issues_per_hour), now=now
            )

    return run


@pytest.fixture
def clock() -> FakeClock:
    """Half an hour after noon, when nearly all events of these tests have happened."""
    return FakeClock(NOON + 1_800 * SECOND)


@pytest.fixture
def store(clock: FakeClock) -> MemoryStore:
    """An event store."""
    return MemoryStore(clock)


@pytest.fixture
def issues(database: Database, store: MemoryStore, clock: FakeClock) -> IssueService:
    """The service."""
    return IssueService(database, store, clock)


@pytest.fixture
def happen(record: Callable[..., Any], store: MemoryStore) -> Callable[..., Any]:
    """Events happen: they are stored and recorded, as the pipeline does both."""
    batches = itertools.count(1)

    async def run(*rows: EventRow, **options: Any) -> list[IssueChange]:
        await store.write(Batch(batch_id=next(batches), events=list(rows)))
        return await record(rows, **options)

    return run
