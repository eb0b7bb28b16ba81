"""The conformance suite for event stores: subclass `EventStoreSuite`, give it a fixture `store`, and pytest runs it.

    from appliance.testing.event_store import NOW, EventStoreSuite

    class TestMyStore(EventStoreSuite):
        @pytest.fixture
        async def store(self, tmp_path):
            store = MyStore(tmp_path, FakeClock(NOW))  # its clock must stand at NOW: it decides what today is
            await store.open()
            yield store
            await store.close()

Each test begins with an empty, open store. What a test says in its name is part of the contract.
"""

from __future__ import annotations

from appliance.testing.event_store.backing_up import BackupSuite
from appliance.testing.event_store.common import HOSTILE
from appliance.testing.event_store.counting import CountingSuite
from appliance.testing.event_store.filtering import FilterSuite
from appliance.testing.event_store.keeping import KeepingSuite
from appliance.testing.event_store.listing import EventsSuite, ValuesSuite
from appliance.testing.event_store.measuring import MeasuringSuite
from appliance.testing.event_store.viewing import ViewingSuite
from appliance.testing.event_store.visits import VisitsSuite
from appliance.testing.event_store.writing import WritingSuite
from appliance.testing.rows import NOW

__all__ = ["HOSTILE", "NOW", "EventStoreSuite"]


class EventStoreSuite(
    WritingSuite,
    FilterSuite,
    EventsSuite,
    CountingSuite,
    ValuesSuite,
    MeasuringSuite,
    VisitsSuite,
    ViewingSuite,
    KeepingSuite,
    BackupSuite,
):
    """All of the contract. A subclass provides the fixture `store`."""
