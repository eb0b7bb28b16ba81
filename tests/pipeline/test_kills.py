"""SIGKILL at random moments, with the embedded event store and the real plugins."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from pathlib import Path

import pytest

from appliance.clock import SystemClock
from appliance.data_dir import prepare_data_dir
from appliance.metadata.database import Database, create_all
from appliance.projects.models import ProjectModel
from appliance.spool import SpooledRecord, SpoolWriter, encode_record

CORE = Path(__file__).parent / "core_process.py"
KILLS = 10


def envelope(number: int, at: int) -> bytes:
    """One Sentry error with its own id and message."""
    event = {
        "event_id": f"{number:032x}", "timestamp": at / 1e6, "platform": "javascript", "level": "error",
        "exception": {"values": [{
            "type": f"Error{number % 11}", "value": f"item {number} is gone",
            "stacktrace": {"frames": [{"function": f"load{number % 11}", "filename": "https://x.test/app.js",
                                       "lineno": 3, "colno": number, "in_app": True}]},
        }]},
        "extra": {"padding": "x" * 2_000},
    }  # fmt: skip
    body = json.dumps(event)
    header = json.dumps({"event_id": event["event_id"]})
    return f"{header}\n{json.dumps({'type': 'event', 'length': len(body)})}\n{body}\n".encode()


async def start(data_dir: Path, *more: str) -> asyncio.subprocess.Process:
    """A core, once it runs its pipeline."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(CORE), str(data_dir), *more,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, env=os.environ | {"TZ": "UTC"},
        limit=64 * 1024 * 1024,
    )  # fmt: skip
    assert process.stdout is not None
    async with asyncio.timeout(60):
        while await process.stdout.readline() != b"running\n":
            assert process.returncode is None
    return process


@pytest.mark.faults
@pytest.mark.timeout(300)
async def test_every_accepted_event_is_stored_once_however_often_the_core_is_killed(tmp_path):
    prepare_data_dir(tmp_path)
    database = Database(f"sqlite+aiosqlite:///{tmp_path / 'metadata.db'}")
    async with database.engine.begin() as connection:
        await create_all(connection)
    async with database.write() as session:
        session.add(ProjectModel(id=1, slug="shop", name="Shop", created_at=1))
    await database.close()
    writer = SpoolWriter.open(tmp_path / "spool", max_bytes=1 << 30, min_free_bytes=0)
    clock, chance = SystemClock(), random.Random(7)
    accepted = 0

    async def accept(quantity: int) -> None:
        nonlocal accepted
        for _ in range(quantity):
            now = clock.now()
            record = SpooledRecord(
                protocol="sentry", route="envelope", project_id=1, received_at=now, body=envelope(accepted, now)
            )
            await writer.append(encode_record(record))
            accepted += 1

    for _ in range(KILLS):
        await accept(150)
        process = await start(tmp_path)
        sending = asyncio.create_task(accept(150))
        await asyncio.sleep(chance.uniform(0.2, 2.4))
        process.send_signal(signal.SIGKILL)
        await process.wait()
        await sending
    process = await start(tmp_path, "--report")
    assert process.stdout is not None
    async with asyncio.timeout(120):
        found = json.loads(await process.stdout.readline())
        await process.wait()
    await writer.close()
    assert found["ids"] == [f"{number:032x}" for number in range(accepted)]
    assert found["twice"] == []
    assert found["issues"] == found["project"] == found["groups"] == accepted
    assert found["counts"]["records"] == found["counts"]["events"] == accepted
    assert found["dead"] == 0
