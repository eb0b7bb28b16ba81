"""A network between the appliance and a ClickHouse server: answers get lost, and inserts outlive their connections."""

from __future__ import annotations

import asyncio
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from appliance.hookspecs import EventFilter, Secret, StoreUnavailableError
from appliance.model import Batch
from appliance.testing.clock import FakeClock
from appliance.testing.rows import NOW, event_row
from condev_plugins.clickhouse.config import GIB, ClickHouseConfig, derive_caps
from condev_plugins.clickhouse.engine_server import ServerEngine
from condev_plugins.clickhouse.store import ClickHouseStore

PASSWORD = "secret"
EVERYTHING = EventFilter(project_ids=(1,))
EVENTS = 20


class Network:
    """A TCP port in front of the server, which can lose the answer to the next insert."""

    def __init__(self, target: int) -> None:
        self.port = 0
        self.loses_the_next_answer = False
        self.lost = 0
        self.sent = bytearray()  # to the server
        self._target = target

    async def connect(self, client_reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        reader, server = await asyncio.open_connection("127.0.0.1", self._target)
        inserting = False

        async def upstream() -> None:
            nonlocal inserting
            while data := await client_reader.read(65_536):
                inserting = inserting or b"INSERT" in data
                self.sent += data
                server.write(data)

        async def downstream() -> None:
            nonlocal inserting
            while data := await reader.read(65_536):
                if inserting and self.loses_the_next_answer:
                    self.loses_the_next_answer = False
                    self.lost += 1
                    raw: socket.socket = client.get_extra_info("socket")
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
                    break
                inserting = False
                client.write(data)

        tasks = [asyncio.ensure_future(upstream()), asyncio.ensure_future(downstream())]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        client.close()
        server.close()


@pytest.fixture
def front(tmp_path: Path) -> Iterator[int]:
    script = Path(__file__).with_name("http_front.py")
    command = [sys.executable, str(script), str(tmp_path / "server"), PASSWORD]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


@pytest.fixture
async def network(front: int) -> AsyncIterator[Network]:
    network = Network(front)
    server = await asyncio.start_server(network.connect, "127.0.0.1", 0)
    network.port = server.sockets[0].getsockname()[1]
    yield network
    server.close()


@asynccontextmanager
async def open_store(port: int) -> AsyncGenerator[ClickHouseStore]:
    config = ClickHouseConfig(engine="server", url=f"http://127.0.0.1:{port}", password=Secret(PASSWORD))
    store = ClickHouseStore(ServerEngine(config, derive_caps(config, 2 * GIB, 2)), FakeClock(NOW), 0)
    await store.open()
    yield store
    await store.close()


def batch() -> Batch:
    return Batch(batch_id=7, events=[event_row(number) for number in range(EVENTS)])


async def test_an_insert_whose_answer_is_lost_is_not_repeated_behind_our_back(network: Network) -> None:
    async with open_store(network.port) as store:
        network.loses_the_next_answer = True
        with pytest.raises(StoreUnavailableError):
            await store.write(batch())
        assert network.lost == 1
        there = await store.present(7, (0, NOW))
        assert there["events"] == frozenset(range(EVENTS))
        await store.write(batch(), {"events": frozenset()})
        assert await store.count(EVERYTHING) == (EVENTS, 0)


async def test_what_is_there_is_told_only_when_no_insert_of_the_batch_runs_any_more(front: int) -> None:
    async with open_store(front) as store:
        mark = store.engine.insert_settings(7)["log_comment"]
        received = f"fromUnixTimestamp64Micro({NOW}, 'UTC')"
        rows = f"SELECT 1, 7, number, {received} FROM numbers(15) WHERE sleepEachRow(0.2) = 0"
        slow = f"INSERT INTO events (project_id, batch_id, ordinal, received_at) {rows} SETTINGS max_block_size = 1"
        inserting = asyncio.create_task(store.engine.maintain("inserting slowly", f"{slow}, log_comment = '{mark}'"))
        running = "SELECT query_id FROM system.processes WHERE query_kind = 'Insert'"
        while not await store.engine.query("waiting", running):
            assert not inserting.done()
        with pytest.raises(StoreUnavailableError, match="still runs"):
            await store.present(7, (0, NOW))
        assert (await store.present(8, (0, NOW)))["events"] == frozenset()
        await inserting
        assert (await store.present(7, (0, NOW)))["events"] == frozenset(range(15))


async def test_a_backup_gets_an_answer_only_when_the_whole_of_it_is_there(network: Network) -> None:
    """What fails after its first block has status 200 otherwise. The client library asks for it so: may that last."""
    async with open_store(network.port) as store:
        await store.write(batch())
        export = await store.export()
        network.sent.clear()
        assert [chunk.rows async for chunk in export.chunks() if chunk.table == "events"] == [EVENTS]
        assert b"wait_end_of_query=1" in network.sent
        await export.close()
