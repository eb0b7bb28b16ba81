"""Brings the metadata database to the schema of this version. Safe to run again, and by two processes at once.

An older version goes on with a newer schema when the newer one said that it can: a rollback then needs no backup.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from pathlib import Path
from typing import IO, Final

import msgspec
import structlog
from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from msgspec import Struct
from sqlalchemy import Connection, text

from appliance.metadata.database import Database

SCRIPTS: Final = Path(__file__).parent / "migrations"
SCHEMA_FILE: Final = "metadata-schema.json"
_POSTGRES_LOCK: Final = 7_261_509_114  # an arbitrary number that only this appliance uses

log = structlog.get_logger(__name__)


class SchemaTooNewError(Exception):
    """The database was written by a newer version, and this one cannot read it."""


class MetadataSchema(Struct, frozen=True):
    """What a version makes of the database, and which versions can work with that.

    Written beside the data before a migration, so that an older version finds it whenever the migration was committed.
    """

    revision: str
    readable_by: tuple[str, ...]  # the revisions whose programs can, itself first


def alembic_config(scripts: Path = SCRIPTS) -> AlembicConfig:
    """Where the revisions lie."""
    config = AlembicConfig()
    config.set_main_option("script_location", str(scripts))
    return config


def known_schema(scripts: Path = SCRIPTS) -> MetadataSchema:
    """What this version makes.

    A revision that older programs can live with (a new table, a column with a default) says `readable_before = True`;
    one that does not say it ends the list.
    """
    readable: list[str] = []
    for script in ScriptDirectory.from_config(alembic_config(scripts)).walk_revisions():  # the newest first
        readable.append(script.revision)
        if not getattr(script.module, "readable_before", False):
            break
    return MetadataSchema(readable[0], tuple(readable))


async def migrate(database: Database, data_dir: Path, scripts: Path = SCRIPTS) -> str:
    """Apply every revision that is missing.

    Args:
        database: to bring up to date.
        data_dir: where the lock and the word for older versions lie.
        scripts: the revisions.

    Returns:
        The revision that the database now has: a newer one than this version knows, where that one allows it.

    Raises:
        SchemaTooNewError: the database has a revision that this version neither knows nor can read.
    """
    lock = await asyncio.to_thread(_take_lock, data_dir / "migrate.lock")
    try:
        async with database.engine.connect() as connection:
            # One transaction for all revisions: a killed migration leaves the old schema.
            await connection.execution_options(condev_write=True)
            async with connection.begin():
                if not database.is_sqlite:
                    await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _POSTGRES_LOCK})
                return await connection.run_sync(_upgrade, data_dir, scripts)
    finally:
        lock.close()


def _take_lock(path: Path) -> IO[bytes]:
    """Wait for the lock; closing the file gives it back."""
    file = path.open("ab")
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


def _upgrade(connection: Connection, data_dir: Path, scripts: Path) -> str:
    config = alembic_config(scripts)
    known = {revision.revision for revision in ScriptDirectory.from_config(config).walk_revisions()}
    ours = known_schema(scripts)
    current = MigrationContext.configure(connection).get_current_revision()
    if current is not None and current not in known:
        theirs = _read_schema(data_dir / SCHEMA_FILE)
        if theirs is not None and theirs.revision == current and ours.revision in theirs.readable_by:
            log.warning("the metadata have the schema of a newer version, which this one can read", revision=current)
            return current
        raise SchemaTooNewError(
            f"the metadata database is at revision {current}, which this version does not know: "
            "start the newer version again, or restore a backup made by this one"
        )
    if current == ours.revision:
        return ours.revision  # most starts, and every verb: Alembic would load all tables to find nothing to do
    _write_schema(data_dir / SCHEMA_FILE, ours)
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    return ours.revision


def current_revision(connection: Connection) -> str | None:
    """Of the schema that is there; None when there is none."""
    return MigrationContext.configure(connection).get_current_revision()


def known_revisions() -> frozenset[str]:
    """Of every schema that this version can bring up to its own."""
    return frozenset(script.revision for script in ScriptDirectory.from_config(alembic_config()).walk_revisions())


def make_schema(connection: Connection, revision: str) -> None:
    """Make the tables of a revision, one of `known_revisions`, in the connection's transaction; for a restore."""
    config = alembic_config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def tell_older_versions(data_dir: Path) -> None:
    """Write down which versions can read this one's schema, where a restore made it without `migrate`."""
    _write_schema(data_dir / SCHEMA_FILE, known_schema())


def _read_schema(path: Path) -> MetadataSchema | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=MetadataSchema)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def _write_schema(path: Path, schema: MetadataSchema) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as file:
        file.write(msgspec.json.encode(schema))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
