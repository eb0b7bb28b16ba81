"""Publishes what ingest may accept: called after every change of a project, at start, and by the scheduler to heal."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec
from sqlalchemy import select

from appliance.hookspecs import Clock
from appliance.ingest.admission import AdmissionTable, AdmittedProject, hash_key, publish
from appliance.metadata.database import Database
from appliance.model import JsonObject
from appliance.projects.models import IngestKeyModel, ProjectModel

LOCK_SECONDS: Final = 10.0  # who holds it writes one file: more is a process that hangs


async def publish_admission(database: Database, path: Path, clock: Clock) -> None:
    """Write `admission.json` from what the metadata says now.

    The command line and the server may do this at once: a lock around reading and writing keeps an older state from
    replacing a newer one.

    Args:
        database: the metadata.
        path: of `admission.json`.
        clock: for the time in the file.

    Raises:
        OSError: it cannot be written; the old one stays.
    """
    async with _locked(path.with_suffix(".lock")):
        table = AdmissionTable(projects=await _projects(database), published_at=clock.now())
        await asyncio.to_thread(publish, path, table)


async def _projects(database: Database) -> list[AdmittedProject]:
    keys: dict[int, list[str]] = {}
    async with database.read() as session:
        for key in await session.scalars(select(IngestKeyModel).where(IngestKeyModel.disabled_at.is_(None))):
            keys.setdefault(key.project_id, []).append(hash_key(key.key))
        projects = (
            await session.scalars(
                select(ProjectModel).where(ProjectModel.deleted_at.is_(None)).order_by(ProjectModel.id)
            )
        ).all()
    return [
        AdmittedProject(
            id=project.id,
            key_hashes=sorted(keys[project.id]),
            origins=project.allowed_origins.split("\n"),
            requests_per_second=project.requests_per_second,
            replay_enabled=project.replay_enabled,
            sdk=msgspec.json.decode(project.settings, type=JsonObject),
        )
        for project in projects
        if project.id in keys
    ]


@asynccontextmanager
async def _locked(path: Path) -> AsyncGenerator[None]:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        # Asked again and again instead of waiting in a thread: waiters could take every thread that the holder needs.
        deadline = asyncio.get_running_loop().time() + LOCK_SECONDS
        while not _try_lock(file):
            if asyncio.get_running_loop().time() > deadline:
                raise TimeoutError(f"{path} is held by another process; see which with `fuser {path}`")
            await asyncio.sleep(0.01)
        yield
    finally:
        os.close(file)  # which gives the lock up


def _try_lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
