"""What is particular to the engine inside the process: its caps, its memory, its one path."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from appliance.hookspecs import EventFilter, EventStoreError, StoreUnavailableError
from appliance.model import Batch
from appliance.system.watchdog import RESTART_FACTOR
from appliance.testing.clock import FakeClock
from appliance.testing.rows import NOW, event_row
from condev_plugins.clickhouse import engine_embedded
from condev_plugins.clickhouse.config import GIB, MIB, ClickHouseConfig, derive_caps
from condev_plugins.clickhouse.engine import Client, Parameters, Row, select
from condev_plugins.clickhouse.engine_embedded import EmbeddedEngine
from condev_plugins.clickhouse.engine_server import ServerEngine
from condev_plugins.clickhouse.store import ClickHouseStore
from condev_plugins.clickhouse.testing import embedded_store, temporary_store
from condev_plugins.clickhouse.write import Writer

EVERYTHING = EventFilter(project_ids=(1,))


async def test_the_caps_are_in_force_and_shown(tmp_path: Path) -> None:
    async with temporary_store(tmp_path / "clickhouse", FakeClock(NOW)) as store:
        stats = await store.stats()
    caps = derive_caps(ClickHouseConfig(), 2 * GIB, 2)
    assert stats.memory_limit_bytes == caps.server_memory
    assert stats.settings["max_memory_usage"] == str(caps.query_memory)
    assert stats.settings["max_execution_time"] == "10"
    assert not [note for note in stats.notes if "setting" in note]


async def test_a_cap_that_did_not_take_stops_the_start(tmp_path: Path) -> None:
    """The first connection in a process decides the caps; a second store with others must not believe in its own."""
    first = embedded_store(tmp_path / "clickhouse", FakeClock(NOW))
    await first.open()
    caps = derive_caps(ClickHouseConfig(server_memory=300 * MIB), 2 * GIB, 2)
    second = ClickHouseStore(EmbeddedEngine(tmp_path / "clickhouse", "other", caps, 10), FakeClock(NOW), 0)
    with pytest.raises(EventStoreError, match="did not take its memory cap max_server_memory_usage"):
        await second.open()
    await first.close()


async def test_two_directories_in_one_process_are_refused_with_words(tmp_path: Path) -> None:
    async with temporary_store(tmp_path / "one", FakeClock(NOW)):
        other = embedded_store(tmp_path / "two", FakeClock(NOW))
        with pytest.raises(StoreUnavailableError, match="another event store open"):
            await other.open()


async def test_a_second_process_is_refused_with_words(tmp_path: Path) -> None:
    code = (
        "import asyncio, sys; from pathlib import Path\n"
        "from appliance.testing.clock import FakeClock\n"
        "from condev_plugins.clickhouse.testing import embedded_store\n"
        "asyncio.run(embedded_store(Path(sys.argv[1]), FakeClock()).open())\n"
    )
    async with temporary_store(tmp_path / "clickhouse", FakeClock(NOW)) as store:
        command = [sys.executable, "-c", code, str(tmp_path / "clickhouse")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode != 0
        assert "Another process holds the event store" in done.stderr
        assert await store.count(EVERYTHING) == (0, 0)


def test_data_frame_packages_stay_out_of_the_process(tmp_path: Path) -> None:
    code = (
        "import asyncio, sys; from pathlib import Path\n"
        "from appliance.hookspecs import EventFilter\n"
        "from appliance.model import Batch\n"
        "from appliance.testing.clock import FakeClock\n"
        "from appliance.testing.rows import event_row\n"
        "from condev_plugins.clickhouse.testing import embedded_store\n"
        "async def main():\n"
        "    store = embedded_store(Path(sys.argv[1]), FakeClock())\n"
        "    await store.open()\n"
        "    await store.write(Batch(batch_id=1, events=[event_row(0)]))\n"
        "    print(await store.count(EventFilter(project_ids=(1,))))\n"
        "    await store.close()\n"
        "asyncio.run(main())\n"
        "print(sorted(set(sys.modules) & {'numpy', 'pandas', 'pyarrow', 'polars'}))\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "clickhouse")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["(1, 0)", "[]"]


def test_importing_the_plugin_loads_no_engine() -> None:
    code = "import sys, condev_plugins.clickhouse; print(sorted({'chdb', 'clickhouse_connect'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


async def test_what_was_written_is_there_after_a_restart(tmp_path: Path) -> None:
    store = embedded_store(tmp_path / "clickhouse", FakeClock(NOW))
    await store.open()
    await store.write(Batch(batch_id=1, events=[event_row(n) for n in range(10)]))
    await store.close()
    again = embedded_store(tmp_path / "clickhouse", FakeClock(NOW))
    await again.open()
    assert await again.count(EVERYTHING) == (10, 0)
    await again.close()


async def test_an_insert_refused_for_memory_is_done_in_smaller_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    real = Writer._insert_once

    def short_of_memory(self: Writer, client: Client, block: object, settings: dict[str, object]) -> None:
        sizes.append(block.count)  # pyright: ignore[reportAttributeAccessIssue]
        if block.count > 4:  # pyright: ignore[reportAttributeAccessIssue]
            # A real refusal by the engine: it may use less than it needs for a scan.
            client.query("SELECT groupArray(number) FROM numbers(10000000) SETTINGS max_memory_usage = 1000000")
        real(self, client, block, settings)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(Writer, "_insert_once", short_of_memory)
    async with temporary_store(tmp_path / "clickhouse", FakeClock(NOW)) as store:
        batch = Batch(batch_id=1, events=[event_row(n) for n in range(13)])
        await store.write(batch)
        assert (await store.present(1, (0, NOW)))["events"] == frozenset(range(13))
        assert (await store.count(EVERYTHING))[0] == 13
    assert sizes[:2] == [13, 6]


async def test_memory_that_does_not_come_back_is_unavailable_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Writer, client: Client, block: object, settings: dict[str, object]) -> None:
        client.query("SELECT groupArray(number) FROM numbers(10000000) SETTINGS max_memory_usage = 1000000")

    monkeypatch.setattr(Writer, "_insert_once", refuse)
    monkeypatch.setattr("condev_plugins.clickhouse.write.MEMORY_PATIENCE", 0.2)
    async with temporary_store(tmp_path / "clickhouse", FakeClock(NOW)) as store:
        with pytest.raises(StoreUnavailableError, match="not enough memory"):
            await store.write(Batch(batch_id=1, events=[event_row(0)]))


@pytest.mark.parametrize(
    ("query_memory", "attempts"),
    [pytest.param(800 * MIB, 4, id="of the engine"), pytest.param(20 * MIB, 1, id="of its own")],
)
async def test_a_query_is_tried_again_when_the_engine_and_not_it_alone_is_short_of_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, query_memory: int, attempts: int
) -> None:
    tried: list[str] = []

    def count(client: Client, sql: str, parameters: Parameters | None = None) -> list[Row]:
        tried.append(sql)
        big = "SELECT length(groupArray(toString(number))) FROM numbers(50000000)"
        return select(client, big if len(tried) < 4 else sql, parameters)

    monkeypatch.setattr("condev_plugins.clickhouse.engine.select", count)
    monkeypatch.setattr("condev_plugins.clickhouse.engine.READ_PATIENCE", 60.0)
    monkeypatch.setattr("condev_plugins.clickhouse.engine.FIRST_PAUSE", 0.01)
    caps = derive_caps(ClickHouseConfig(server_memory=250 * MIB, query_memory=query_memory), 2 * GIB, 2)
    engine = EmbeddedEngine(tmp_path / "clickhouse", "condev", caps, query_seconds=30)
    await engine.start()
    try:
        if attempts == 1:
            with pytest.raises(StoreUnavailableError, match="not enough memory"):
                await engine.query("asking", "SELECT 1")
        else:
            assert await engine.query("asking", "SELECT 1") == [(1,)]
    finally:
        await engine.stop()
    assert len(tried) == attempts


async def test_a_query_that_takes_too_long_says_what_to_do(tmp_path: Path) -> None:
    caps = derive_caps(ClickHouseConfig(), 2 * GIB, 2)
    engine = EmbeddedEngine(tmp_path / "clickhouse", "condev", caps, query_seconds=1)
    await engine.start()
    with pytest.raises(StoreUnavailableError, match="narrow the time range"):
        await engine.query("sleeping", "SELECT sleepEachRow(0.5) FROM numbers(10) SETTINGS max_block_size = 1")
    await engine.stop()


async def test_reading_clients_cannot_write(tmp_path: Path) -> None:
    async with temporary_store(tmp_path / "clickhouse", FakeClock(NOW)) as store:
        await store.write(Batch(batch_id=1, events=[event_row(0)]))
        with pytest.raises(StoreUnavailableError, match="readonly"):
            await store.engine.query("sneaking in", "INSERT INTO schema_migrations SELECT 99, 'x', now64(6)")


async def test_a_closed_store_is_unavailable(tmp_path: Path) -> None:
    store = embedded_store(tmp_path / "clickhouse", FakeClock(NOW))
    with pytest.raises(StoreUnavailableError, match="not open"):
        await store.count(EVERYTHING)
    await store.open()
    await store.close()
    await store.close()
    with pytest.raises(StoreUnavailableError, match="not open"):
        await store.write(Batch(batch_id=1, events=[event_row(0)]))


@pytest.mark.parametrize(
    ("memory", "server"), [(512 * MIB, 250), (1 * GIB, 250), (2 * GIB, 307), (8 * GIB, 320), (64 * GIB, 320)]
)
def test_caps_follow_the_size_of_a_small_appliance_and_no_further(memory: int, server: int) -> None:
    caps = derive_caps(ClickHouseConfig(), memory, 2)
    assert caps.server_memory // MIB == server
    assert caps.query_memory <= caps.server_memory
    assert caps.threads == 2
    assert caps.merge_threads == 1


def test_caps_that_the_config_names_are_taken(tmp_path: Path) -> None:
    config = ClickHouseConfig(server_memory=333 * MIB, query_memory=111 * MIB, threads=3, readers=5)
    caps = derive_caps(config, 64 * GIB, 16)
    assert (caps.server_memory, caps.query_memory, caps.threads, caps.readers) == (333 * MIB, 111 * MIB, 3, 5)


def test_temporary_files_in_memory_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: "/dev/shm")
    assert any("TMPDIR" in note for note in engine_embedded.environment_notes())


@pytest.mark.parametrize(("asked", "embedded", "server"), [(10.0, 20.0, 60.0), (90.0, 90.0, 90.0)])
def test_the_watchdog_waits_longer_than_the_longest_insert(
    tmp_path: Path, asked: float, embedded: float, server: float
) -> None:
    config = ClickHouseConfig(engine="server", url="http://127.0.0.1:1", query_timeout_seconds=asked)
    caps = derive_caps(config, 2 * GIB, 2)
    inside = ClickHouseStore(EmbeddedEngine(tmp_path, "condev", caps, asked), FakeClock(NOW), 0)
    outside = ClickHouseStore(ServerEngine(config, caps), FakeClock(NOW), 0)
    assert (inside.answer_seconds, outside.answer_seconds) == (embedded, server)
    assert inside.answer_seconds * RESTART_FACTOR >= inside.engine.settings("write")["max_execution_time"]  # type: ignore[operator]
    assert outside.answer_seconds * RESTART_FACTOR > 900  # s that an insert may take over HTTP
