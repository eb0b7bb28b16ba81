"""A real spool, a real decode worker, SQLite and the reference store around a pipeline."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from sqlalchemy import select

from appliance.clock import SystemClock
from appliance.config import Config
from appliance.hookspecs import BlobInfo, BlobStore, EventStore
from appliance.issues.models import IssueModel
from appliance.metadata.database import Database
from appliance.pipeline.models import DeadLetterModel, DropCountModel, IntentModel, PipelineCountModel
from appliance.pipeline.pipeline import Pipeline
from appliance.pipeline.worker_process import DecodeWorker
from appliance.projects.models import ProjectModel
from appliance.spool import SpooledRecord, SpoolWriter, encode_record
from appliance.testing.databases import temporary_database
from appliance.testing.reference_store import MemoryStore

HERE = Path(__file__).parent
MIB = 1024 * 1024


class MemoryBlobs(BlobStore):
    """Blobs in a dictionary."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}

    async def put(self, key: str, body: bytes) -> BlobInfo:
        self.blobs[key] = body
        return BlobInfo(key=key, size=len(body), sha256=hashlib.sha256(body).hexdigest())

    async def get(self, key: str, sha256: str = "") -> bytes:
        return self.blobs[key]

    async def delete(self, key: str) -> None:
        self.blobs.pop(key, None)

    async def list(self, prefix: str) -> AsyncIterator[BlobInfo]:  # type: ignore[override]
        for key, body in list(self.blobs.items()):
            if key.startswith(prefix):
                yield BlobInfo(key=key, size=len(body), sha256="")


class House:
    """What a pipeline stands in, and shortcuts to look at what it did."""

    def __init__(self, data_dir: Path, database: Database, writer: SpoolWriter) -> None:
        self.data_dir = data_dir
        self.database = database
        self.writer = writer
        self.store = MemoryStore()
        self.blobs = MemoryBlobs()
        self.clock = SystemClock()
        self.config = Config()
        self.config.pipeline.decode_timeout_seconds = 1.5
        self.pipelines: list[Pipeline] = []
        self.worker_options: dict[str, object] = {}

    def pipeline(
        self, checkpoint: Callable[[str], None] = lambda _: None, store: EventStore | None = None, **more: object
    ) -> Pipeline:
        """A new pipeline over the same spool and stores, as after a restart."""
        worker = DecodeWorker("plugins_for_tests:load", self.worker_options, {"PYTHONPATH": str(HERE)})  # type: ignore[arg-type]
        made = Pipeline(
            config=self.config, data_dir=self.data_dir, database=self.database, store=store or self.store,
            blobs=self.blobs, clock=self.clock, worker=worker, checkpoint=checkpoint, **more,  # type: ignore[arg-type]
        )  # fmt: skip
        self.pipelines.append(made)
        return made

    async def send(self, *lines: dict[str, object], project_id: int = 1, protocol: str = "lines") -> None:
        """Spool one record with these lines."""
        await self.send_body("\n".join(json.dumps(line) for line in lines).encode(), project_id, protocol)

    async def send_body(self, body: bytes, project_id: int = 1, protocol: str = "lines") -> None:
        """Spool one record."""
        record = SpooledRecord(
            protocol=protocol, route="lines", project_id=project_id, received_at=self.clock.now(), body=body
        )
        await self.writer.append(encode_record(record))

    async def drain(self, pipeline: Pipeline, timeout: float = 60.0) -> None:
        """Run a pipeline until the spool is empty, then stop it."""
        task = asyncio.create_task(pipeline.run())
        try:
            await self.drained(pipeline, timeout)
        finally:
            await pipeline.stop(10.0)
            await task

    async def drained(self, pipeline: Pipeline, timeout: float = 60.0) -> None:
        """Wait until everything in the spool is applied."""
        async with asyncio.timeout(timeout):
            while not pipeline.status().protocols or pipeline.depth().bytes or await self.unfinished():
                await asyncio.sleep(0.02)

    async def unfinished(self) -> int:
        """Intents that are not done."""
        async with self.database.read() as session:
            return len(list(await session.scalars(select(IntentModel).where(IntentModel.done_at.is_(None)))))

    def event_ids(self) -> list[str]:
        """Of all stored events, sorted."""
        return sorted(row.event_id for row in self.store.tables["events"].values())  # type: ignore[union-attr]

    async def counts(self) -> dict[str, int]:
        """Totals for life."""
        async with self.database.read() as session:
            return {row.name: row.quantity for row in await session.scalars(select(PipelineCountModel))}

    async def drops(self) -> dict[tuple[str, str], int]:
        """(source, reason) → how many."""
        async with self.database.read() as session:
            found: dict[tuple[str, str], int] = {}
            for row in await session.scalars(select(DropCountModel)):
                key = (row.source, row.reason)
                found[key] = found.get(key, 0) + row.quantity
            return found

    async def dead(self) -> list[DeadLetterModel]:
        """All dead letters."""
        async with self.database.read() as session:
            return list(await session.scalars(select(DeadLetterModel).order_by(DeadLetterModel.id)))

    async def issue_events(self) -> int:
        """The sum of all issues' counters."""
        async with self.database.read() as session:
            return sum(await session.scalars(select(IssueModel.event_count)))

    async def project_events(self, project_id: int = 1) -> int:
        """A project's counter."""
        async with self.database.read() as session:
            return (await session.get_one(ProjectModel, project_id)).event_count


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with temporary_database("sqlite", tmp_path) as database:
        async with database.write() as session:
            session.add(ProjectModel(id=1, slug="shop", name="Shop", created_at=1))
            session.add(ProjectModel(id=2, slug="blog", name="Blog", created_at=1))
        writer = SpoolWriter.open(tmp_path / "spool", max_bytes=256 * MIB, min_free_bytes=0)
        house = House(tmp_path, database, writer)
        yield house
        for pipeline in house.pipelines:
            await pipeline.stop(5.0)
        await writer.close()


def event(number: int, **more: object) -> dict[str, object]:
    """A line that becomes an event."""
    return {"id": f"{number:032x}", "message": f"message of {number}", **more}


@pytest.fixture(name="event")
def _event() -> Callable[..., dict[str, object]]:
    return event
