"""The embedded engine passes the suite that every event store must pass."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from appliance.testing.clock import FakeClock
from appliance.testing.event_store import NOW, EventStoreSuite
from condev_plugins.clickhouse.store import ClickHouseStore
from condev_plugins.clickhouse.testing import embedded_store, empty


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clickhouse")


class TestEmbeddedClickHouse(EventStoreSuite):
    @pytest.fixture
    async def store(self, directory: Path) -> AsyncIterator[ClickHouseStore]:
        """Opened anew for each test, on tables without a row."""
        store = embedded_store(directory, FakeClock(NOW))
        await store.open()
        yield store
        await empty(store)
        await store.close()
