"""A ClickHouse server over HTTP: the same SQL, another way there.

A network can lose an answer, or break while the server goes on with an insert. So no insert is repeated below the
pipeline, and each carries a mark by which `settle` finds one that still runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlsplit

from appliance.hookspecs import EventStoreError, StoreUnavailableError

from .config import Caps, ClickHouseConfig
from .engine import Block, Client, Engine, InsertContext, Role
from .engine_embedded import load_client_library

if TYPE_CHECKING:
    from urllib3 import PoolManager

SETTLE_SECONDS: Final = 0.5  # between two looks: what was sent before a connection broke may only now begin to run
_MARK: Final = "condev-batch-"


class ServerEngine(Engine):
    """A server that somebody else runs; its own memory caps are its operator's."""

    name = "server"

    def __init__(self, config: ClickHouseConfig, caps: Caps) -> None:
        super().__init__(config.database, caps, config.query_timeout_seconds)
        parts = urlsplit(config.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise EventStoreError(
                f'[plugins.clickhouse] url is {config.url!r}: with engine = "server" it must be like http://HOST:8123'
            )
        self._secure = parts.scheme == "https"
        self._host = parts.hostname
        self._port = parts.port or (8443 if self._secure else 8123)
        self._path = parts.path.strip("/")
        self._username = config.username
        self._password = config.password
        self._capped = bool(config.query_memory)
        self._contexts: dict[str, InsertContext] = {}  # used in the writing thread only
        self._pools: dict[bool, PoolManager] = {}  # by "may repeat"

    def settings(self, role: Role) -> dict[str, object]:
        """The same as embedded, but memory is left to the server's operator unless the config caps it."""
        settings = super().settings(role)
        if not self._capped:
            for name in ("max_memory_usage", "max_bytes_before_external_group_by", "max_bytes_before_external_sort"):
                del settings[name]
        return settings

    def connect(self, role: Role, *, database: str | None) -> Client:
        """Open an HTTP client; it keeps its connection alive."""
        driver = load_client_library()
        try:
            client = driver.get_client(
                host=self._host,
                port=self._port,
                interface="https" if self._secure else "http",
                proxy_path=self._path,
                username=self._username,
                password=self._password.reveal() if self._password else "",
                database=database or "default",
                settings=self.settings(role),
                connect_timeout=5,
                send_receive_timeout=int(self.query_seconds) + 30 if role == "read" else 900,
                # A failed insert may have been done: only `present` can tell, so the transport must not repeat it.
                query_retries=0,
                autogenerate_session_id=False,  # no state between queries: any node behind a balancer may answer
                form_encode_query_params=True,  # a thousand ids do not fit in every proxy's idea of a URL
                compress="lz4",
                pool_mgr=self._pool(may_repeat=role == "read"),
            )
        except Exception as error:
            detail = " ".join(str(error).split())[:300]
            raise StoreUnavailableError(
                f"No ClickHouse server answers at {self._host}:{self._port} ({detail}). "
                "Check [plugins.clickhouse] url, username and password, and that the server runs."
            ) from error
        return cast(Client, client)

    def check(self, client: Client) -> None:
        """Nothing to read back: the caps are the server's own."""
        client.query("SELECT 1")
        try:
            client.query("SELECT count() FROM system.processes")
        except Exception as error:
            raise EventStoreError(
                f"The ClickHouse user {self._username!r} may not look at its own running queries: "
                "GRANT SELECT ON system.processes to it. Without that, a batch could be stored twice after a network "
                f"failure. ({' '.join(str(error).split())[:200]})"
            ) from error

    async def stop(self) -> None:
        """As the others do, and close the connections."""
        await super().stop()
        for pool in self._pools.values():
            pool.clear()

    def insert(self, client: Client, block: Block, settings: dict[str, object]) -> None:
        """Through the client library, compressed."""
        context = self._contexts.get(block.table)
        if context is None:
            context = client.create_insert_context(block.table, block.names, column_oriented=True)
            self._contexts[block.table] = context
        context.req_block_size = block.count  # one block
        context.settings = settings
        context.data = block.data
        try:
            client.insert(context=context)
        except Exception as error:
            self._contexts.pop(block.table, None)  # a context that failed keeps its half-read state
            # Values that could not be encoded: over HTTP this shows up as whatever the broken request came to.
            raise context.insert_exception or error from error

    def insert_raw(self, client: Client, table: str, names: Sequence[str], body: bytes) -> None:
        """As it is."""
        client.raw_insert(table, names, body, {}, "Native")

    def insert_settings(self, batch_id: int) -> dict[str, object]:
        """The mark of a batch's inserts."""
        return {"log_comment": f"{_MARK}{batch_id:032x}"}

    async def settle(self, batch_id: int) -> None:
        """Make sure that no earlier insert of a batch is under way.

        Raises:
            StoreUnavailableError: one is; ask again.
        """
        sql = "SELECT count() FROM system.processes WHERE Settings['log_comment'] = {mark:String}"
        parameters = {"mark": f"{_MARK}{batch_id:032x}"}
        for look in range(2):
            if look:
                await asyncio.sleep(SETTLE_SECONDS)
            running = await self.query("asking whether an insert still runs", sql, parameters)
            if running[0][0]:
                raise StoreUnavailableError("ClickHouse still runs an earlier insert of this batch; it is asked again.")

    def _pool(self, *, may_repeat: bool) -> PoolManager:
        pool = self._pools.get(may_repeat)
        if pool is None:
            from clickhouse_connect.driver import httputil

            make = cast("Callable[[], PoolManager]", httputil.get_pool_manager)  # its options have no types
            pool = self._pools[may_repeat] = make()
            if not may_repeat:
                _never_repeat(pool)
        return pool


def _never_repeat(pool: PoolManager) -> None:
    """Hide from the client that a connection was reset: it repeats an insert then, though it may have been done."""
    from urllib3.exceptions import HTTPError

    request = pool.request

    def once(*args: Any, **options: Any) -> Any:
        try:
            answer = request(*args, **options)
        except HTTPError as error:
            raise HTTPError(f"{type(error).__name__}: {error}") from error
        if all(name.lower() == "x-clickhouse-progress" for name in answer.headers):  # it would repeat after this, too
            answer.close()
            raise HTTPError("the connection ended before the answer")
        return answer

    pool.request = once
