"""A store that refuses, forgets to answer or goes away: SDKs notice nothing, nothing is lost, nothing comes twice."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.testing.running import Owner, RunningAppliance, free_port
from appliance.testing.traffic import Traffic, check_books, read_books, system_of

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

REFUSAL_SECONDS = float(os.environ.get("CONDEV_FAULT_REFUSAL_SECONDS", "10"))
PER_SECOND = 150.0
FRONT = Path(__file__).parents[1] / "plugins" / "clickhouse" / "http_front.py"
PASSWORD = "of the store"
LOST = ["ClickHouse"]  # whoever asks while the store is away hears so

# The real store, which misbehaves as a file beside it says.
PLUGIN = """
from pathlib import Path

from appliance.hookspecs import PluginInfo, StoreUnavailableError, hookimpl
from condev_plugins.clickhouse.store import ClickHouseStore

plugin = PluginInfo(name="moody", version="1.0.0")
MOOD = Path(__file__).with_name("mood.txt")


class MoodyStore(ClickHouseStore):
    async def write(self, batch, missing=None):
        mood = MOOD.read_text()
        if mood in ("refuses", "is deaf"):
            raise StoreUnavailableError("refused by a test")
        if mood == "writes half":
            half = {row.ordinal for row in batch.events[::2]}
            wanted = half if missing is None else half & missing["events"]
            await super().write(batch, {"events": frozenset(wanted)})
            raise StoreUnavailableError("written in part by a test")
        await super().write(batch, missing)
        if mood == "loses answers":
            raise StoreUnavailableError("the answer was lost by a test")

    async def present(self, batch_id, received):
        if MOOD.read_text() == "is deaf":
            raise StoreUnavailableError("not heard by a test")
        return await super().present(batch_id, received)

    async def seen(self, ids, *, since, ignore_batch):
        if MOOD.read_text() == "is deaf":
            raise StoreUnavailableError("not heard by a test")
        return await super().seen(ids, since=since, ignore_batch=ignore_batch)


@hookimpl
def register_storage_backends(context):
    return {"moody": lambda: MoodyStore.from_context(context)}
"""


def test_a_store_that_refuses_for_a_while_makes_the_spool_grow_and_then_drain(serve, owner, envelope_path, envelopes):
    appliance = serve(config='[storage]\nbackend = "moody"\n')
    plugins = appliance.data_dir / "plugins.d"
    plugins.mkdir(exist_ok=True)
    (plugins / "moody.py").write_text(PLUGIN)
    mood = plugins / "mood.txt"

    def be(word: str) -> None:
        mood.with_suffix(".new").write_text(word)
        mood.with_suffix(".new").replace(mood)

    be("well")
    appliance.start()
    with Traffic(appliance, envelope_path, envelopes(), per_second=PER_SECOND) as traffic:
        traffic.wait_for(100)
        be("refuses")
        depths = watch_the_spool_grow(appliance, owner, traffic, REFUSAL_SECONDS)
        assert depths[-1] >= 100
        assert "refused by a test" in system_of(appliance, owner)["pipeline"]["waiting_for"]
        for word in ("loses answers", "writes half", "is deaf", "writes half", "loses answers"):
            be(word)
            traffic.wait_for(100)
        be("well")
        traffic.wait_for(100)
    check_nothing_lost(appliance, owner, traffic)


def watch_the_spool_grow(appliance: RunningAppliance, owner: Owner, traffic: Traffic, seconds: float) -> list[int]:
    """How many records wait, while SDKs go on being answered."""
    depths: list[int] = []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline or len(depths) < 2 or depths[-1] < 100:
        traffic.wait_for(20)
        depths.append(system_of(appliance, owner)["spool"]["records"])
    assert depths == sorted(depths)
    return depths


def check_nothing_lost(appliance: RunningAppliance, owner: Owner, traffic: Traffic) -> None:
    books = read_books(appliance, owner)
    check_books(books, traffic)
    assert books.dead_letters == 0
    assert traffic.oddities == []
    assert set(traffic.statuses) == {200}
    assert traffic.broken == 0
    appliance.stop()
    appliance.check_log()


class Valve:
    """A TCP port in front of another, which can be cut or closed."""

    def __init__(self) -> None:
        self.port = free_port()
        self.target = 0
        self.is_open = True
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """End all connections, wherever they are."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for end in pair:
                with contextlib.suppress(OSError):  # it is closed already
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset, no farewell
                    end.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads it, which closes it

    def close(self) -> None:
        """Nobody gets through any more."""
        self.is_open = False
        self.cut()

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            try:
                if not self.is_open:
                    raise ConnectionRefusedError
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                client.close()
                continue
            with self._lock:
                self._pairs.append((client, server))
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=pump, args=(source, sink), daemon=True).start()


def pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            sink.sendall(data)
    for end in (source, sink):
        end.close()


class Server:
    """An HTTP front over chDB, as a process that can be killed."""

    def __init__(self, directory: Path, valve: Valve) -> None:
        self._directory = directory
        self._valve = valve
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        command = [sys.executable, str(FRONT), str(self._directory), PASSWORD]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self._process.stdout is not None
        self._valve.target = int(self._process.stdout.readline())

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


@pytest.fixture
def valve() -> Valve:
    return Valve()


@pytest.fixture
def server(tmp_path: Path, valve: Valve) -> Iterator[Server]:
    server = Server(tmp_path / "server", valve)
    server.start()
    yield server
    server.kill()


def test_a_store_whose_connections_break_and_whose_server_dies_loses_nothing_and_stores_nothing_twice(
    serve, owner, envelope_path, envelopes, server, valve
):
    config = f"""[plugins.clickhouse]
engine = "server"
url = "http://127.0.0.1:{valve.port}"
password = {{ env = "STORE_PASSWORD" }}
disk_reserve = 0
"""
    appliance = serve(config=config, environ={"STORE_PASSWORD": PASSWORD}, expected_errors=LOST)
    appliance.start()
    chance = random.Random(3)
    with Traffic(appliance, envelope_path, envelopes(), per_second=60) as traffic:
        traffic.wait_for(50)
        for _ in range(12):
            time.sleep(chance.uniform(0.05, 0.8))
            valve.cut()
        valve.close()
        watch_the_spool_grow(appliance, owner, traffic, REFUSAL_SECONDS / 2)
        valve.is_open = True
        traffic.wait_for(50)
        server.kill()
        traffic.wait_for(50)
        server.start()
        traffic.wait_for(50)
    check_nothing_lost(appliance, owner, traffic)
