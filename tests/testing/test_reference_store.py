"""The reference store passes the suite that every event store must pass."""

from __future__ import annotations

import pytest

from appliance.testing.event_store import EventStoreSuite
from appliance.testing.reference_store import MemoryStore


class TestReferenceStore(EventStoreSuite):
    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore()
