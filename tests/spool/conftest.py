"""Spools on a real disk and on one that forgets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.spool import Position, SpoolReader, SpoolWriter, read_records
from appliance.spool.files import DISK, Files

OpenWriter = Callable[..., SpoolWriter]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def open_writer(directory: Path) -> OpenWriter:
    def open_it(*, files: Files = DISK, max_bytes: int = 64 * 1024 * 1024, min_free_bytes: int = 0) -> SpoolWriter:
        return SpoolWriter.open(directory, max_bytes=max_bytes, min_free_bytes=min_free_bytes, files=files)

    return open_it


@pytest.fixture
def read_all(directory: Path) -> Callable[..., list[bytes]]:
    """Every payload from `after` on, as the pipeline would meet them."""

    def read(files: Files = DISK, after: Position | None = None, max_records: int = 7) -> list[bytes]:
        reader = SpoolReader.open(directory, files=files)
        payloads: list[bytes] = []
        while (found := reader.next_range(after, max_records, 1 << 20)) is not None:
            assert after is None or found.after > after
            records = list(read_records(directory, found, files=files))
            assert len(records) == found.records
            payloads.extend(payload for _, payload in records)
            after = found.after
        reader.close()
        return payloads

    return read
