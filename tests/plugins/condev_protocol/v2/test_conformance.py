"""Version 2 of the condev protocol against the contract of all protocols, and its golden pairs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from appliance.hookspecs import Protocol
from appliance.testing.goldens import check_golden, golden_files, record_of
from appliance.testing.protocols import ProtocolConformance, Sample

GOLDENS = golden_files(Path(__file__).parent / "golden")
KEY = "a1b2c3d4e5f60718293a4b5c6d7e8f90"


class TestCondevProtocolV2(ProtocolConformance):
    @pytest.fixture
    def samples(self, protocol: Protocol) -> Sequence[Sample]:
        return [Sample(record=record_of(path, protocol), key=KEY, params={"key": KEY}) for path in GOLDENS]


@pytest.mark.parametrize("path", GOLDENS, ids=lambda path: path.stem)
def test_an_envelope_decodes_to_its_golden_items(path: Path, protocol: Protocol) -> None:
    check_golden(path, protocol)
