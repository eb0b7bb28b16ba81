"""The Sentry protocol against the contract of all protocols."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from appliance.hookspecs import Protocol
from appliance.testing.goldens import check_golden, golden_files, record_of
from appliance.testing.protocols import ProtocolConformance, Sample

GOLDEN = Path(__file__).parent / "golden"
KEY = "a1b2c3d4e5f60718293a4b5c6d7e8f90"
RECORDED = golden_files(GOLDEN)


def event_id_of(path: Path) -> str:
    golden = json.loads(path.read_text())
    if golden["route"] == "envelope":
        found = json.loads(golden["body"][0] if "body" in golden else "{}").get("event_id", "")
        return found.replace("-", "")
    if golden["route"] == "store":
        return json.loads("\n".join(golden["body"]))["event_id"]
    return ""


class TestSentryProtocol(ProtocolConformance):
    @pytest.fixture
    def samples(self, protocol: Protocol) -> Sequence[Sample]:
        return [
            Sample(record=record_of(path, protocol), key=KEY, params={"project_id": "1001"}, event_id=event_id_of(path))
            for path in RECORDED
        ]


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_a_recorded_request_decodes_to_its_golden_items(path: Path, protocol: Protocol) -> None:
    check_golden(path, protocol)
