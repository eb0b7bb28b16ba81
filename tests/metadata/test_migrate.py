"""Migrations lead to the tables that the code declares, on both databases, once, whoever runs them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text

from appliance.metadata.database import Database
from appliance.metadata.migrate import SchemaTooNewError, migrate
from appliance.metadata.tables import Base
from appliance.testing.databases import BACKENDS, temporary_database


@pytest.fixture(params=BACKENDS)
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Database]:
    async with temporary_database(request.param, tmp_path, with_tables=False) as made:
        yield made


def differences(connection: Connection) -> list[object]:
    return compare_metadata(MigrationContext.configure(connection), Base.metadata)


async def test_the_migrations_make_the_tables_that_the_code_declares(database: Database, tmp_path: Path) -> None:
    await migrate(database, tmp_path)
    async with database.engine.connect() as connection:
        assert await connection.run_sync(differences) == []


async def test_migrating_again_and_twice_at_once_changes_nothing(database: Database, tmp_path: Path) -> None:
    other = Database(database.engine.url.render_as_string(hide_password=False))
    try:
        await asyncio.gather(migrate(database, tmp_path), migrate(other, tmp_path))
        await migrate(database, tmp_path)
        async with database.read() as session:
            assert (await session.scalar(text("SELECT count(*) FROM alembic_version"))) == 1
    finally:
        await other.close()


async def test_a_database_of_a_newer_version_is_refused_in_words(database: Database, tmp_path: Path) -> None:
    await migrate(database, tmp_path)
    async with database.write() as session:
        await session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SchemaTooNewError, match="start the newer version again"):
        await migrate(database, tmp_path)
