"""The condev protocol against the contract of all protocols."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from appliance.hookspecs import Protocol
from appliance.testing.goldens import check_golden, golden_files, record_of
from appliance.testing.protocols import ProtocolConformance, Sample

RECORDED = golden_files(Path(__file__).parent / "golden")


class TestCondevProtocol(ProtocolConformance):
    @pytest.fixture
    def samples(self, protocol: Protocol) -> Sequence[Sample]:
        return [
            Sample(record=record_of(path, protocol), key="vanillaABC123", params={"key": "vanillaABC123"})
            for path in RECORDED
        ]


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_a_recorded_request_decodes_to_its_golden_items(path: Path, protocol: Protocol) -> None:
    check_golden(path, protocol)
