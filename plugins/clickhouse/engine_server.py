"""A ClickHouse server over HTTP: the same SQL, another way there."""

from __future__ import annotations

from typing import cast
from urllib.parse import urlsplit

from appliance.hookspecs import EventStoreError, StoreUnavailableError

from .config import Caps, ClickHouseConfig
from .engine import Client, Engine, Role
from .engine_embedded import load_client_library


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
