"""Brings the metadata database to the schema of this version. Safe to run again, and by two processes at once."""

from __future__ import annotations

import asyncio
import fcntl
from pathlib import Path
from typing import IO, Final

from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from appliance.metadata.database import Database

SCRIPTS: Final = Path(__file__).parent / "migrations"
_POSTGRES_LOCK: Final = 7_261_509_114  # an arbitrary number that only this appliance uses


class SchemaTooNewError(Exception):
    """The database was written by a newer version."""


def alembic_config() -> AlembicConfig:
    """Where the revisions lie."""
    config = AlembicConfig()
    config.set_main_option("script_location", str(SCRIPTS))
    return config


async def migrate(database: Database, data_dir: Path) -> None:
    """Apply every revision that is missing.

    Raises:
        SchemaTooNewError: the database has a revision that this version does not know.
    """
    lock = await asyncio.to_thread(_take_lock, data_dir / "migrate.lock")
    try:
        async with database.engine.connect() as connection:
            # One transaction for all revisions: a killed migration leaves the old schema.
            await connection.execution_options(condev_write=True)
            async with connection.begin():
                if not database.is_sqlite:
                    await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _POSTGRES_LOCK})
                await connection.run_sync(_upgrade)
    finally:
        lock.close()


def _take_lock(path: Path) -> IO[bytes]:
    """Wait for the lock; closing the file gives it back."""
    file = path.open("ab")
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


def _upgrade(connection: Connection) -> None:
    config = alembic_config()
    known = {revision.revision for revision in ScriptDirectory.from_config(config).walk_revisions()}
    current = MigrationContext.configure(connection).get_current_revision()
    if current is not None and current not in known:
        raise SchemaTooNewError(
            f"the metadata database is at revision {current}, which this version does not know: "
            "start the newer version again, or restore a backup made by this one"
        )
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
