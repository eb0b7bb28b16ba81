"""Blocks as the embedded engine takes them: every type of the schema, written and read back; what no column holds."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from appliance.hookspecs import EventStoreError, StoreRefusedError
from appliance.testing.clock import FakeClock
from condev_plugins.clickhouse.engine import Client, Engine, select
from condev_plugins.clickhouse.handover import KEPT_BYTES, MAX_PIECES, Handover
from condev_plugins.clickhouse.native import native_block
from condev_plugins.clickhouse.rows import COLUMNS as COLUMNS_OF_TABLES
from condev_plugins.clickhouse.testing import temporary_store

NOW = 1_795_400_000_000_000
STRINGS = ["", "a", "é" * 63, "ü" * 64, "x" * 127, "y" * 128, "z" * 20_000, "\x00\n\t'\\", "日本語", "🦊" * 40]
LABELS = [f"label {n % 300}" for n in range(1_000)]
COLUMNS: dict[str, tuple[str, Sequence[object]]] = {
    "small": ("UInt16", [0, 1, 65_535]),
    "medium": ("UInt32", [0, 1, 2**32 - 1]),
    "large": ("UInt64", [0, 1, 2**64 - 1]),
    "signed": ("Int64", [-(2**63), 0, 2**63 - 1]),
    "real": ("Float64", [0.0, -1.5, 1e300]),
    "wide": ("UInt128", [0, 1, 2**128 - 1]),
    "truth": ("Bool", [True, False, True]),
    "text": ("String", STRINGS),
    "empty": ("String", [""] * 3),
    "label": ("LowCardinality(String)", ["", "error", "error", "naïve", ""]),
    "labels": ("LowCardinality(String)", LABELS),
    "many_labels": ("LowCardinality(String)", [str(n) for n in range(70_000)]),
    "list": ("Array(String)", [[], ["a", "b" * 200], [], ["ü"]]),
    "numbers": ("Array(UInt32)", [[], [1, 2, 2**32 - 1], [], [7]]),
    "no_lists": ("Array(String)", [[], []]),
    "map": ("Map(LowCardinality(String), String)", [{}, {"a": "1", "b": ""}, {"a": "x" * 300}, {}]),
    "no_maps": ("Map(LowCardinality(String), String)", [{}, {}]),
}


class OneBlock:
    """A block of one column beside the rows' numbers."""

    names = ("n", "v")

    def __init__(self, table: str, values: Sequence[object]) -> None:
        self.table = table
        self.data: list[Sequence[object]] = [range(len(values)), values]
        self.count = len(values)


async def written(engine: Engine, kind: str, values: Sequence[object], table: str = "t") -> list[object]:
    """Put values into a table of their type, and read them back."""

    def work(client: Client) -> list[object]:
        client.command(f"CREATE TABLE {table} (n UInt64, v {kind}) ENGINE = MergeTree ORDER BY n")
        engine.insert(client, OneBlock(table, values), {})
        return [value for (value,) in select(client, f"SELECT v FROM {table} ORDER BY n")]

    return await engine.run("write", "trying a column", work)


async def test_every_type_comes_back_as_it_was_written(tmp_path: Path) -> None:
    async with temporary_store(tmp_path / "clickhouse", FakeClock(NOW)) as store:
        for name, (kind, values) in COLUMNS.items():
            assert await written(store.engine, kind, values, name) == list(values), name


async def test_bytes_go_into_a_string_as_they_are(tmp_path: Path) -> None:
    payloads = [b"", b'{"a": 1}', b"\xff\xfe", b"p" * 600_000]
    async with temporary_store(tmp_path / "clickhouse", FakeClock(NOW)) as store:
        await written(store.engine, "String", payloads)
        found = await store.engine.query("looking", "SELECT hex(v) FROM t ORDER BY n")
    assert [bytes.fromhex(text) for (text,) in found] == payloads


async def test_times_are_microseconds(tmp_path: Path) -> None:
    async with temporary_store(tmp_path / "clickhouse", FakeClock(NOW)) as store:
        await written(store.engine, "DateTime64(6, 'UTC')", [0, NOW, NOW + 1])
        found = await store.engine.query("looking", "SELECT toUnixTimestamp64Micro(v) FROM t ORDER BY n")
    assert [int(at) for (at,) in found] == [0, NOW, NOW + 1]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("UInt64", -1),
        ("UInt64", 2**64),
        ("UInt16", 65_536),
        ("UInt64", 1.5),
        ("UInt128", -1),
        ("String", "\ud800"),
        ("String", None),
        ("LowCardinality(String)", "\ud800"),
        ("Map(LowCardinality(String), String)", {"a": "\ud800"}),
        ("Float64", "1"),
    ],
)
async def test_what_a_column_cannot_hold_is_refused(tmp_path: Path, kind: str, value: object) -> None:
    async with temporary_store(tmp_path / "clickhouse", FakeClock(NOW)) as store:
        with pytest.raises(StoreRefusedError):
            await written(store.engine, kind, [value])
        assert await store.engine.query("looking", "SELECT count() FROM t") == [(0,)]


def test_a_type_that_nobody_taught_it_is_named() -> None:
    with pytest.raises(EventStoreError, match="Decimal"):
        native_block(("v",), ("Decimal(9, 2)",), ([1],), 1)


async def test_every_type_of_the_schema_is_known(tmp_path: Path) -> None:
    """A column of a new type must fail here, not at a user's first event."""
    tables = ", ".join(f"'{table}'" for table in COLUMNS_OF_TABLES)
    async with temporary_store(tmp_path / "clickhouse", FakeClock(NOW)) as store:
        sql = f"SELECT DISTINCT type FROM system.columns WHERE database = currentDatabase() AND table IN ({tables})"
        kinds = [str(kind) for (kind,) in await store.engine.query("looking", sql)]
    assert len(kinds) > 5
    for kind in kinds:
        assert native_block(("v",), (kind,), ([],), 0)


def test_a_file_takes_more_pieces_than_one_call_does_and_shrinks_with_its_block() -> None:
    handover = Handover()
    handover.write([b"ab"] * (MAX_PIECES * 2 + 1))
    assert Path(handover.path).read_bytes() == b"ab" * (MAX_PIECES * 2 + 1)
    handover.write([b"c"])
    assert Path(handover.path).read_bytes() == b"c"
    handover.write([bytes(KEPT_BYTES + 1)])
    handover.release()
    assert Path(handover.path).stat().st_size == 0
    handover.close()


async def test_without_files_in_memory_one_on_disk_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    async with temporary_store(tmp_path / "clickhouse", FakeClock(NOW)) as store:
        assert await written(store.engine, "String", STRINGS) == STRINGS
    handover = Handover()
    assert Path(handover.path).exists()
    handover.close()
    assert not Path(handover.path).exists()
