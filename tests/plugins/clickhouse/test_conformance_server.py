"""The server engine passes the same suite: through an HTTP front over chDB, and on a real server when its URL is given.

`CONDEV_TEST_CLICKHOUSE_URL=http://USER:PASSWORD@HOST:8123` names a real one; its user must be able to create databases.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from appliance.hookspecs import EventStoreError, Secret, StoreUnavailableError
from appliance.testing.clock import FakeClock
from appliance.testing.event_store import NOW, EventStoreSuite
from condev_plugins.clickhouse.config import GIB, ClickHouseConfig, derive_caps
from condev_plugins.clickhouse.engine_server import ServerEngine
from condev_plugins.clickhouse.store import ClickHouseStore
from condev_plugins.clickhouse.testing import empty

PASSWORD = "p@ss:word/é"
REAL_SERVER = os.environ.get("CONDEV_TEST_CLICKHOUSE_URL", "")


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an HTTP front in a process of its own."""
    script, data = Path(__file__).with_name("http_front.py"), tmp_path_factory.mktemp("server")
    command = [sys.executable, str(script), str(data), PASSWORD]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


def server_store(url: str, username: str, password: str, database: str) -> ClickHouseStore:
    config = ClickHouseConfig(
        engine="server", url=url, username=username, password=Secret(password), database=database, disk_reserve=0
    )
    return ClickHouseStore(ServerEngine(config, derive_caps(config, 2 * GIB, 2)), FakeClock(NOW), 0)


class TestServerClickHouse(EventStoreSuite):
    @pytest.fixture
    async def store(self, front: str) -> AsyncIterator[ClickHouseStore]:
        store = server_store(front, "default", PASSWORD, "suite")
        await store.open()
        yield store
        await empty(store)
        await store.close()


class TestRealServer(EventStoreSuite):
    __test__ = bool(REAL_SERVER)  # more for who has one; the suite above runs over HTTP everywhere

    @pytest.fixture
    async def store(self) -> AsyncIterator[ClickHouseStore]:
        parts = urlsplit(REAL_SERVER)
        url = f"{parts.scheme}://{parts.hostname}:{parts.port or 8123}"
        database = f"condev_test_{secrets.token_hex(8)}"
        store = server_store(url, parts.username or "default", parts.password or "", database)
        await store.open()
        yield store
        await store.engine.maintain("dropping the test's database", f"DROP DATABASE {database}")
        await store.close()


async def test_a_wrong_password_is_said_in_one_sentence_without_the_password(front: str) -> None:
    store = server_store(front, "default", "wrong-secret", "any")
    with pytest.raises(StoreUnavailableError, match=r"\[plugins.clickhouse\] url, username and password") as caught:
        await store.open()
    assert "wrong-secret" not in str(caught.value)


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    store = server_store("http://127.0.0.1:9", "default", "", "any")
    with pytest.raises(StoreUnavailableError, match=r"No ClickHouse server answers at 127\.0\.0\.1:9"):
        await store.open()


@pytest.mark.parametrize("url", ["", "localhost:8123", "ftp://host", "http://"])
def test_a_url_that_names_no_server_is_said_at_once(url: str) -> None:
    with pytest.raises(EventStoreError, match=r"\[plugins.clickhouse\] url"):
        server_store(url, "default", "", "any")


async def test_a_server_that_dies_is_unavailable_and_what_it_had_is_asked_again(
    tmp_path: Path,
) -> None:
    script = Path(__file__).with_name("http_front.py")
    command = [sys.executable, str(script), str(tmp_path), PASSWORD]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        store = server_store(f"http://127.0.0.1:{int(process.stdout.readline())}", "default", PASSWORD, "any")
        await store.open()
        process.kill()
        process.wait()
        with pytest.raises(StoreUnavailableError):
            await store.stats()
        await store.close()
