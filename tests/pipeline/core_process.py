"""A core without its pages, to be killed: the embedded event store, SQLite and a pipeline over a data directory.

`python core_process.py DATA_DIR` runs until it is killed; with `--report` it drains the spool, prints what both stores
hold as JSON, and ends.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from pathlib import Path

from sqlalchemy import select

from appliance import host
from appliance.clock import SystemClock
from appliance.config import Config
from appliance.data_dir import metadata_url
from appliance.hookspecs import EventFilter, Page
from appliance.host_services import host_services
from appliance.issues.models import IssueModel
from appliance.metadata.database import Database, create_all
from appliance.pipeline.models import DeadLetterModel, IntentModel, PipelineCountModel
from appliance.pipeline.pipeline import Pipeline
from appliance.pipeline.worker_plugins import LOADER, worker_options
from appliance.pipeline.worker_process import DecodeWorker
from appliance.plugins import PluginHost
from appliance.projects.models import ProjectModel


def say(line: str) -> None:
    """For the test that started this."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def main(data_dir: Path, report: bool) -> None:
    """Run, or drain and report."""
    config = Config()
    config.pipeline.batch_records = 50  # many small batches: more places to be killed at
    services = host_services(config, data_dir, "http://127.0.0.1")
    plugins = PluginHost.load(config, services)
    database = Database(metadata_url(config, data_dir))
    async with database.engine.begin() as connection:
        await create_all(connection)
    store = plugins.event_store()
    await store.open()
    options = worker_options(
        config, data_dir=data_dir, site_url="http://127.0.0.1", memory_bytes=host.memory_bytes(), cpus=1.0
    )
    pipeline = Pipeline(
        config=config, data_dir=data_dir, database=database, store=store, blobs=plugins.blob_store(),
        clock=SystemClock(), worker=DecodeWorker(LOADER, options),
    )  # fmt: skip
    task = asyncio.create_task(pipeline.run())
    say("running")
    if report:
        await drained(database, pipeline)
        await pipeline.stop()
        say(json.dumps(await counted(database, store)))
        await store.close()
        await database.close()
    await task


async def drained(database: Database, pipeline: Pipeline) -> None:
    """Wait until nothing is left to apply."""
    while True:
        await asyncio.sleep(0.1)
        if not pipeline.status().protocols or pipeline.depth().bytes:
            continue
        async with database.read() as session:
            if not list(await session.scalars(select(IntentModel).where(IntentModel.done_at.is_(None)))):
                return


async def counted(database: Database, store) -> dict[str, object]:
    """What both stores hold."""
    ids: Counter[str] = Counter()
    cursor = ""
    while True:
        events, cursor = await store.events(EventFilter(project_ids=(1,)), Page(limit=200, cursor=cursor))
        ids.update(event.event_id for event in events)
        if not cursor:
            break
    groups = await store.group_stats(EventFilter(project_ids=(1,)))
    async with database.read() as session:
        issues = sum(await session.scalars(select(IssueModel.event_count)))
        project = (await session.get_one(ProjectModel, 1)).event_count
        counts = {row.name: row.quantity for row in await session.scalars(select(PipelineCountModel))}
        dead = len(list(await session.scalars(select(DeadLetterModel))))
    return {
        "ids": sorted(ids), "twice": sorted(one for one, times in ids.items() if times > 1), "issues": issues,
        "project": project, "groups": sum(group.events for group in groups), "counts": counts, "dead": dead,
    }  # fmt: skip


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), "--report" in sys.argv))
