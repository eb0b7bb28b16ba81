"""The metadata as rows of plain values: the same whether they come from SQLite or Postgres, and for either.

Read in one snapshot, which is taken in an instant and read at leisure; written in one transaction, schema included.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import Struct
from sqlalchemy import Column, Connection, MetaData, Table, func, inspect, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.deploy.backup.archive import BackupError
from appliance.metadata.database import Database
from appliance.metadata.migrate import current_revision, known_revisions, make_schema

VERSIONS: Final = "alembic_version"
ROWS_AT_ONCE: Final = 500  # a row is below 10 KB: so many stay within a few MB
Value: TypeAlias = "int | float | str | bytes | bool | None"


class Rows(Struct, array_like=True):
    """Some rows of one table."""

    columns: list[str]
    values: list[list[Any]]


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Rows)


class MetadataSnapshot:
    """The metadata as it is when the block is entered."""

    def __init__(self, database: Database) -> None:
        """Args: database: migrated to this version."""
        self._database = database
        self._connection: AsyncConnection | None = None
        self.revision = ""
        self.backend = "sqlite" if database.is_sqlite else "postgresql"

    async def __aenter__(self) -> MetadataSnapshot:
        connection = self._database.engine.connect()
        self._connection = await connection.__aenter__()
        try:
            if not self._database.is_sqlite:
                await self._connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            # The first read is what fixes the snapshot, in both.
            self.revision = await self._connection.run_sync(current_revision) or ""
        except BaseException:
            await self._connection.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ):
        await self.close()

    async def close(self) -> None:
        """Let go of the snapshot, which keeps the database from tidying up. May be called again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def count(self) -> dict[str, int]:
        """Rows by table."""
        found: dict[str, int] = {}
        for table in _tables():
            found[str(table.name)] = await self._open.scalar(select(func.count()).select_from(table)) or 0
        return found

    async def rows(self) -> AsyncIterator[tuple[str, int, bytes]]:
        """Table, number of rows, and these as bytes; parents before children."""
        for table in _tables():
            names = [str(column.name) for column in table.columns]
            result = await self._open.stream(select(table).execution_options(yield_per=ROWS_AT_ONCE))
            async for some in result.partitions(ROWS_AT_ONCE):
                yield str(table.name), len(some), _encoder.encode(Rows(names, [list(row) for row in some]))

    @property
    def _open(self) -> AsyncConnection:
        if self._connection is None:
            raise RuntimeError("use it as a context manager")
        return self._connection


async def holds_anything(database: Database) -> bool:
    """Whether there are rows in any table of ours, whatever its schema's version."""

    def look(connection: Connection) -> bool:
        names = set(inspect(connection).get_table_names()) & {table.name for table in _tables()}
        return any(connection.scalar(text(f'SELECT 1 FROM "{name}" LIMIT 1')) for name in names)  # noqa: S608 - ours

    async with database.engine.connect() as connection:
        return await connection.run_sync(look)


def check_revision(revision: str) -> None:
    """Raises `BackupError` when this version cannot read that schema."""
    if revision not in known_revisions():
        raise BackupError(
            f"the backup's metadata has schema {revision or 'unknown'}, which this version does not know: "
            "restore it with the version that made it, or a newer one"
        )


class MetadataLoader:
    """Replaces a database's tables in one transaction: nothing has changed until the block is left without an error."""

    def __init__(self, database: Database, revision: str) -> None:
        """Args: database: empty or not. revision: of the schema that the rows are of."""
        self._database = database
        self._revision = revision
        self._connection: AsyncConnection | None = None
        self._tables: Mapping[str, Table] = {}

    async def __aenter__(self) -> MetadataLoader:
        self._connection = connection = await self._database.engine.connect().__aenter__()
        try:
            await connection.execution_options(condev_write=True)
            await connection.begin()
            if self._database.is_sqlite:
                await connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
            self._tables = await connection.run_sync(_make_anew, self._revision)
        except BaseException:
            await connection.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ):
        connection = self._connection
        if connection is None:
            return
        try:
            if kind is None:
                await self._set_sequences(connection)
                await connection.commit()
        finally:
            await connection.close()

    async def add(self, name: str, data: bytes) -> None:
        """Insert some rows. Raises `BackupError` for a table or column that the schema does not have."""
        if self._connection is None:
            raise RuntimeError("use it as a context manager")
        rows = _decoder.decode(data)
        table = self._tables.get(name)
        if table is None or not set(rows.columns) <= set(table.columns.keys()):
            raise BackupError(f"the backup has rows of {name!r} that its own schema has no place for; use another")
        values = [dict(zip(rows.columns, row, strict=True)) for row in rows.values]
        if values:
            await self._connection.execute(table.insert(), values)

    async def _set_sequences(self, connection: AsyncConnection) -> None:
        """On Postgres, go on counting behind the ids that were loaded."""
        if self._database.is_sqlite:
            return
        for name, table in self._tables.items():
            for column in table.primary_key.columns:
                sequence = await connection.scalar(
                    text("SELECT pg_get_serial_sequence(:table, :column)"), {"table": name, "column": column.name}
                )
                if sequence is not None:
                    highest = await connection.scalar(select(func.max(column)))
                    if highest is not None:
                        await connection.execute(
                            text("SELECT setval(CAST(:sequence AS regclass), :highest)"),
                            {"sequence": sequence, "highest": highest},
                        )


def _tables() -> Sequence[Table]:
    from appliance.metadata import tables  # all nouns' models, only when a backup is made

    return tables.Base.metadata.sorted_tables


def _make_anew(connection: Connection, revision: str) -> dict[str, Table]:
    """Drop every table of ours, make those of a revision, and say how rows are put into them."""
    ours = {table.name: table for table in _tables()}
    there = MetaData()
    there.reflect(connection, only=lambda name, _: name in ours or name == VERSIONS)
    there.drop_all(connection)
    make_schema(connection, revision)
    made = MetaData()
    made.reflect(connection, only=lambda name, _: name in ours)
    return {str(table.name): _typed(table, ours[table.name]) for table in made.sorted_tables}


def _typed(found: Table, ours: Table) -> Table:
    """A table as it is in the database, with our types where we still have the column: they fold 64-bit hashes."""
    columns = [
        Column(column.name, ours.columns[column.name].type if column.name in ours.columns else column.type,
               primary_key=column.primary_key, autoincrement=False)
        for column in found.columns
    ]  # fmt: skip
    return Table(found.name, MetaData(), *columns)


__all__ = ["MetadataLoader", "MetadataSnapshot", "check_revision", "holds_anything"]
