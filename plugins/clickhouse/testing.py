"""A real ClickHouse store for tests: embedded, in a directory and a database of its own, dropped at the end.

For tests that need the real engine; most are served by `appliance.testing.reference_store`, which opens in no time. One
process can hold one embedded directory at a time, so stores that are open together in one process must share
`directory` and differ by database: give each its own by leaving `database` out. pytest-xdist's workers are processes of
their own; a `tmp_path` keeps them apart.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from appliance.hookspecs import Clock

from .config import GIB, ClickHouseConfig, derive_caps
from .engine_embedded import EmbeddedEngine
from .store import ClickHouseStore


def embedded_store(directory: Path, clock: Clock, database: str = "condev") -> ClickHouseStore:
    """A store that is not open yet, on the embedded engine with the caps of a 2 GiB machine.

    Args:
        directory: the engine's; may hold data of an earlier store.
        clock: the store's idea of today.
        database: within the engine.
    """
    config = ClickHouseConfig(disk_reserve=0)
    engine = EmbeddedEngine(directory, database, derive_caps(config, 2 * GIB, 2), config.query_timeout_seconds)
    return ClickHouseStore(engine, clock, config.disk_reserve)


@asynccontextmanager
async def temporary_store(directory: Path, clock: Clock) -> AsyncGenerator[ClickHouseStore]:
    """An open embedded store that nobody else uses.

    Typical use, in a conftest::

        @pytest.fixture
        async def store(tmp_path, clock):
            async with temporary_store(tmp_path / "clickhouse", clock) as store:
                yield store
    """
    store = embedded_store(directory, clock, f"test_{secrets.token_hex(8)}")
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def empty(store: ClickHouseStore) -> None:
    """Take every row out of an open store, so that another test may have its tables: to make them costs ten times that.

    For tests that use the store's own methods alone; one that changes a table needs a store of its own.
    """
    tables = await store.engine.query(
        "listing the tables",
        "SELECT name FROM system.tables WHERE database = currentDatabase() AND name != 'schema_migrations'",
    )
    for (name,) in tables:
        await store.engine.maintain("emptying a table", f"TRUNCATE TABLE {name} SYNC")
