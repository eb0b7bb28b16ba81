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
from appliance.metadata.migrate import SCRIPTS, SchemaTooNewError, known_schema, migrate
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


ENVIRONMENT = (SCRIPTS / "env.py").read_text("utf-8")
FIRST = """
revision = "0001"
down_revision = None
from alembic import op
import sqlalchemy as sa
def upgrade():
    op.create_table("things", sa.Column("id", sa.Integer(), primary_key=True))
"""
SECOND = """
revision = "0002"
down_revision = "0001"
readable_before = {readable}
from alembic import op
import sqlalchemy as sa
def upgrade():
    op.add_column("things", sa.Column("colour", sa.String(8), server_default="red", nullable=False))
"""


def program(place: Path, *revisions: str) -> Path:
    """The revisions that a version of the appliance brings."""
    (place / "versions").mkdir(parents=True)
    (place / "env.py").write_text(ENVIRONMENT, "utf-8")
    for number, text_ in enumerate(revisions, 1):
        (place / "versions" / f"000{number}.py").write_text(text_, "utf-8")
    return place


async def test_an_older_version_goes_on_with_a_newer_schema_that_it_can_read(
    database: Database, tmp_path: Path
) -> None:
    old = program(tmp_path / "old", FIRST)
    new = program(tmp_path / "new", FIRST, SECOND.format(readable=True))
    await migrate(database, tmp_path, old)
    await migrate(database, tmp_path, new)
    await migrate(database, tmp_path, old)  # and changes nothing
    async with database.write() as session:
        await session.execute(text("INSERT INTO things (id) VALUES (1)"))
    await migrate(database, tmp_path, new)
    async with database.read() as session:
        assert (await session.scalar(text("SELECT colour FROM things"))) == "red"


async def test_an_older_version_refuses_a_newer_schema_that_does_not_say_so(database: Database, tmp_path: Path) -> None:
    old = program(tmp_path / "old", FIRST)
    new = program(tmp_path / "new", FIRST, SECOND.format(readable=False))
    await migrate(database, tmp_path, new)
    with pytest.raises(SchemaTooNewError, match="start the newer version again"):
        await migrate(database, tmp_path, old)


async def test_the_word_of_another_revision_counts_for_nothing(database: Database, tmp_path: Path) -> None:
    old = program(tmp_path / "old", FIRST)
    await migrate(database, tmp_path, program(tmp_path / "new", FIRST, SECOND.format(readable=True)))
    async with database.write() as session:
        await session.execute(text("UPDATE alembic_version SET version_num = '0003'"))
    with pytest.raises(SchemaTooNewError):
        await migrate(database, tmp_path, old)


def test_what_this_version_makes_is_known_without_a_database() -> None:
    schema = known_schema()
    assert schema.readable_by[0] == schema.revision
