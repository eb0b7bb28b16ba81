"""The embedded engine passes the suite that every event store must pass."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from appliance.testing.clock import FakeClock
from appliance.testing.event_store import NOW, EventStoreSuite
from condev_plugins.clickhouse.store import ClickHouseStore
from condev_plugins.clickhouse.testing import temporary_store


class TestEmbeddedClickHouse(EventStoreSuite):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[ClickHouseStore]:
        async with temporary_store(tmp_path / "clickhouse", FakeClock(NOW)) as store:
            yield store
