"""The pages about sessions over two made-up days."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from litestar.testing import AsyncTestClient

from appliance.testing.clock import FakeClock
from appliance.testing.reference_store import MemoryStore
from appliance.testing.rows import NOW
from appliance.testing.visits import busy_days, visits_dashboard


@pytest.fixture
async def store() -> MemoryStore:
    made = MemoryStore(FakeClock(NOW))
    await made.write(busy_days())
    return made


@pytest.fixture
async def client(store: MemoryStore) -> AsyncIterator[AsyncTestClient[Any]]:
    async with AsyncTestClient(visits_dashboard(store)) as made:
        yield made
