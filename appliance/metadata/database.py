"""The metadata engine: SQLite in WAL mode by default, Postgres by URL; short read and write transactions.

Write transactions on SQLite are `BEGIN IMMEDIATE`, so that two writers wait for each other instead of failing half-way.
No plugin code runs inside a transaction.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import BigInteger, DateTime, Dialect, Integer, MetaData, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.types import TypeDecorator

BUSY_TIMEOUT_MS: Final = 10_000  # a write transaction is a few ms; 10 s covers a checkpoint on a slow disk
NAMING: Final = {  # Alembic needs stable names to change constraints later
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

# SQLite makes a rowid alias of INTEGER PRIMARY KEY alone, Postgres needs 64 bits.
BigId = BigInteger().with_variant(Integer(), "sqlite")


class Base(DeclarativeBase):
    """All metadata tables. Times are integer microseconds UTC (`BigInteger`), as in `appliance.model`."""

    metadata = MetaData(naming_convention=NAMING)


class Unsigned64(TypeDecorator[int]):
    """A 64-bit hash in a signed column: both databases lack an unsigned one."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Dialect) -> int | None:
        """Fold into the signed range."""
        if value is None:
            return None
        return value - (1 << 64) if value >= 1 << 63 else value

    def process_result_value(self, value: int | None, dialect: Dialect) -> int | None:
        """Unfold."""
        if value is None:
            return None
        return value + (1 << 64) if value < 0 else value


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC datetime; for tables of libraries that want datetimes."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """SQLite forgets the zone."""
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


class Database:
    """Hands out sessions. `read()` sees a snapshot, `write()` commits at the end or rolls back when it raises."""

    def __init__(self, url: str) -> None:
        """Args: url: an SQLAlchemy URL, `sqlite+aiosqlite:///path` or `postgresql+asyncpg://…`."""
        self.engine: AsyncEngine = _engine(url)
        self._sessions = async_sessionmaker(self.engine, expire_on_commit=False)

    @property
    def is_sqlite(self) -> bool:
        """Whether statements must be in SQLite's dialect."""
        return self.engine.dialect.name == "sqlite"

    @asynccontextmanager
    async def read(self) -> AsyncGenerator[AsyncSession]:
        """A session for reading; never commits."""
        async with self._sessions() as session:
            yield session

    @asynccontextmanager
    async def write(self) -> AsyncGenerator[AsyncSession]:
        """A session in one write transaction."""
        async with self._sessions() as session:
            await session.connection(execution_options={"condev_write": True})
            async with _committing(session):
                yield session

    async def close(self) -> None:
        """Close all connections."""
        await self.engine.dispose()


@asynccontextmanager
async def _committing(session: AsyncSession) -> AsyncGenerator[None]:
    try:
        yield
        await session.commit()
    except BaseException:
        await session.rollback()
        raise


def _engine(url: str) -> AsyncEngine:
    if not url.startswith("sqlite"):
        return create_async_engine(url, pool_size=5, max_overflow=5, pool_pre_ping=True)
    engine = create_async_engine(url, pool_size=4, max_overflow=4)

    @event.listens_for(engine.sync_engine, "connect")
    def _set_pragmas(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        # The driver's own transaction handling is off: "begin" below says which kind.
        connection.isolation_level = None  # type: ignore[attr-defined]
        cursor = connection.cursor()
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            f"busy_timeout={BUSY_TIMEOUT_MS}",
            "foreign_keys=ON",
            "temp_store=MEMORY",
            "cache_size=-8000",  # 8 MB a connection: the hot issues of a busy project
            "journal_size_limit=16777216",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: Any) -> None:
        writes = connection.get_execution_options().get("condev_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


async def create_all(connection: AsyncConnection) -> None:
    """Create the tables without migrations; for tests of a single part."""
    await connection.run_sync(Base.metadata.create_all)
