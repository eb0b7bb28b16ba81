"""Threads and clients: the one way to ClickHouse that everything else in this plugin uses. It knows no table.

clickhouse-connect is synchronous over chDB, so each call runs in a thread: one for inserts, one for maintenance (DDL,
summaries, retention: they may take seconds and must not hold an insert back), a few for reading, one for backups, which
read for minutes. Each thread owns a client; a client is never shared.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Literal, Protocol, TypeAlias, TypeVar

from appliance.hookspecs import StoreUnavailableError

from .config import Caps
from .errors import code_of, is_shared_memory_refusal, translate

T = TypeVar("T")
Role: TypeAlias = Literal["write", "maintain", "read", "export"]
Row: TypeAlias = tuple[Any, ...]  # a result row: its types are those of the SELECT beside which it is unpacked
Parameters: TypeAlias = Mapping[str, object]
READ_PATIENCE: Final = 6.0  # seconds for which a query refused for memory is tried again; a page waits so long at most
FIRST_PAUSE: Final = 0.1  # seconds; a merge gives its blocks back within a few of these
LONGEST_PAUSE: Final = 1.0
LONG_SECONDS: Final = 600.0  # for maintenance; a summary of a big day, a partition that is dropped


class InsertContext(Protocol):
    """The part of clickhouse-connect's insert context that is used: column types, asked for once a table."""

    req_block_size: int | None
    settings: dict[str, Any]
    data: Any
    insert_exception: Exception | None


class Block(Protocol):
    """What is inserted at once: rows of one table, column by column."""

    @property
    def table(self) -> str: ...
    @property
    def count(self) -> int: ...
    @property
    def names(self) -> Sequence[str]: ...
    @property
    def data(self) -> Sequence[Sequence[object]]: ...


class QueryResult(Protocol):
    """The part of clickhouse-connect's result that is used."""

    @property
    def result_rows(self) -> Sequence[Sequence[Any]]: ...


class Client(Protocol):
    """The part of clickhouse-connect's client that is used; its own signatures are only partly typed."""

    def query(self, query: str, parameters: dict[str, object] | None = None) -> QueryResult: ...
    def command(self, cmd: str, parameters: dict[str, object] | None = None) -> object: ...
    def create_insert_context(
        self, table: str, column_names: Sequence[str], *, column_oriented: bool
    ) -> InsertContext: ...
    def insert(self, *, context: InsertContext) -> object: ...
    def raw_query(self, query: str, parameters: dict[str, Any], *, fmt: str) -> bytes: ...
    def raw_insert(
        self, table: str, column_names: Sequence[str], insert_block: bytes, settings: dict[str, Any], fmt: str
    ) -> object: ...
    def close(self) -> None: ...


class Reader(Protocol):
    """What queries need of an engine."""

    async def query(self, doing: str, sql: str, parameters: Parameters | None = None) -> list[Row]:
        """Run a SELECT; `doing` says what for, in error messages."""
        ...


class _Lane:
    """A few threads, each with a client of its own."""

    def __init__(self, name: str, size: int, connect: Callable[[], Client]) -> None:
        self._threads = ThreadPoolExecutor(size, thread_name_prefix=f"clickhouse-{name}")
        self._connect = connect
        self._local = threading.local()
        self._clients: list[Client] = []
        self._lock = threading.Lock()

    async def run(self, doing: str, work: Callable[[Client], T]) -> T:
        def call() -> T:
            try:
                return work(self._client())
            except Exception as error:
                raise translate(error, doing) from error

        try:
            future = asyncio.get_running_loop().run_in_executor(self._threads, call)
        except RuntimeError as error:  # "cannot schedule new futures after shutdown"
            raise StoreUnavailableError("The event store is closed.") from error
        return await future

    def _client(self) -> Client:
        client: Client | None = getattr(self._local, "client", None)
        if client is None:
            client = self._connect()
            self._local.client = client
            with self._lock:
                self._clients.append(client)
        return client

    def close(self) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)
        for client in self._clients:
            with contextlib.suppress(Exception):  # a broken connection has nothing left to release
                client.close()
        self._clients.clear()


class Engine(ABC):
    """A running ClickHouse, embedded or not."""

    name: str
    notes: tuple[str, ...] = ()

    def __init__(self, database: str, caps: Caps, query_seconds: float) -> None:
        self.database = database
        self.caps = caps
        self.query_seconds = query_seconds
        self._lanes: dict[Role, _Lane] = {}

    @abstractmethod
    def connect(self, role: Role, *, database: str | None) -> Client:
        """Make a client. Called in the thread that will use it."""

    @abstractmethod
    def check(self, client: Client) -> None:
        """Raise when the engine is not what was asked for; add to `notes` what a person should know."""

    @abstractmethod
    def insert(self, client: Client, block: Block, settings: dict[str, object]) -> None:
        """Insert a block as one: what arrives in two may become visible in two. Called in the writing thread."""

    @abstractmethod
    def insert_raw(self, client: Client, table: str, names: Sequence[str], body: bytes) -> None:
        """Insert what is in the Native format already: a backup's rows. Called in the writing thread."""

    def settings(self, role: Role) -> dict[str, object]:
        """Query settings of a role's connection; the same words for both engines."""
        seconds = self.query_seconds if role == "read" else LONG_SECONDS
        common: dict[str, object] = {
            "max_execution_time": seconds,
            "timeout_overflow_mode": "throw",
            "max_memory_usage": self.caps.query_memory,
            "max_bytes_before_external_group_by": self.caps.spill,
            "max_bytes_before_external_sort": self.caps.spill,
            "max_threads": self.caps.threads if role == "read" else 1,
        }
        if role == "read":
            return common | {"query_plan_max_limit_for_lazy_materialization": 1_000, "readonly": 2}
        # One thread and one block: an insert of one day is one part, which appears whole or not at all. async_insert is
        # on by default in new servers and would answer for a buffer.
        common |= {"async_insert": 0, "max_insert_threads": 1, "insert_deduplicate": 0}
        if role == "maintain":
            # 0: of any size. The engine refuses to drop what has more than 50 GB, against slips of a person's hand;
            # retention, restoring and the end of a backup mean what they say.
            common |= {"max_table_size_to_drop": 0, "max_partition_size_to_drop": 0}
        return common

    def insert_settings(self, batch_id: int) -> dict[str, object]:
        """What each insert of a batch carries beside its connection's settings."""
        return {}

    async def settle(self, batch_id: int) -> None:  # noqa: B027 - in this process nobody loses sight of an insert
        """Make sure that no earlier insert of a batch is still under way. Raises `StoreUnavailableError` if one is."""

    async def start(self) -> None:
        """Make the database if need be, connect and check."""
        lane = _Lane("start", 1, lambda: self.connect("maintain", database=None))
        try:
            database = quote(self.database)
            await lane.run("making the database", lambda c: c.command(f"CREATE DATABASE IF NOT EXISTS {database}"))
            # A lane's threads and connections are made when they are first used.
            sizes: dict[Role, int] = {"write": 1, "maintain": 1, "read": self.caps.readers, "export": 1}
            for role, size in sizes.items():
                self._lanes[role] = _Lane(role, size, self._connector(role))
            await self._lanes["read"].run("checking the engine's settings", self.check)
        except BaseException:
            await self.stop()
            raise
        finally:
            await asyncio.to_thread(lane.close)

    def _connector(self, role: Role) -> Callable[[], Client]:
        return lambda: self.connect(role, database=self.database)

    async def stop(self) -> None:
        """Let what runs end, then release everything."""
        lanes = list(self._lanes.values())
        self._lanes.clear()
        for lane in lanes:
            await asyncio.to_thread(lane.close)

    async def run(self, role: Role, doing: str, work: Callable[[Client], T]) -> T:
        """Run `work` with a client of that role."""
        lane = self._lanes.get(role)
        if lane is None:
            raise StoreUnavailableError("The event store is not open.")
        return await lane.run(doing, work)

    async def query(self, doing: str, sql: str, parameters: Parameters | None = None) -> list[Row]:
        """Run a SELECT on a reading client; refused for the memory that others hold, again a little later."""
        wait, deadline = FIRST_PAUSE, time.monotonic() + READ_PATIENCE
        while True:
            try:
                return await self.run("read", doing, lambda client: select(client, sql, parameters))
            except StoreUnavailableError as error:
                if time.monotonic() > deadline or not (error.__cause__ and is_shared_memory_refusal(error.__cause__)):
                    raise
            await asyncio.sleep(wait)  # without a reading thread, which somebody else's small query may use
            wait = min(wait * 2, LONGEST_PAUSE)

    async def maintain(self, doing: str, sql: str, parameters: Parameters | None = None) -> None:
        """Run DDL or an INSERT … SELECT on the maintenance client."""
        values = dict(parameters or {})
        await self.run("maintain", doing, lambda client: client.command(sql, parameters=values))


def select(client: Client, sql: str, parameters: Parameters | None = None) -> list[Row]:
    """Run a SELECT and return its rows as tuples."""
    return [tuple(row) for row in client.query(sql, parameters=dict(parameters or {})).result_rows]


def quote(identifier: str) -> str:
    """An identifier for SQL; ours and the operator's, never a visitor's."""
    return "`" + identifier.replace("\\", "\\\\").replace("`", "\\`") + "`"


__all__ = [
    "Block", "Client", "Engine", "InsertContext", "Parameters", "Reader", "Role", "Row", "code_of", "quote", "select",
]  # fmt: skip
