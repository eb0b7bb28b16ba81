"""Wires one process of the appliance together (with `core` and `dashboard`), and starts and stops it in order.

`create_app` gives an ASGI application: ingest paths go to ingest, everything else to Litestar
(docs/decisions/0002-ingest-beside-litestar.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import structlog

from appliance.config import Config
from appliance.host_services import guarded_http_client, host_services
from appliance.ingest.admission import ADMISSION_FILE, AdmissionFile
from appliance.ingest.asgi import IngestApp
from appliance.instance import asked_proof
from appliance.plugins import PluginHost
from appliance.roles import Role
from appliance.spool import SpoolWriter
from appliance.web.sdk_files import SdkFiles, find_build

if TYPE_CHECKING:
    from litestar import Litestar
    from litestar.types import Receive, Scope, Send

    from appliance.accounts.service import AccountService
    from appliance.core import Core
    from appliance.projects.service import ProjectService
    from appliance.web.deadline import BodyDeadline
    from appliance.web.example import ExampleConfig
    from appliance.web.live import LiveStreams

AnySend = Callable[[Mapping[str, object]], Awaitable[None]]  # Litestar's own type knows no lifespan messages

log = structlog.stdlib.get_logger(__name__)


class Demonstration(Protocol):
    """What `condev demo` adds."""

    example: ExampleConfig  # what the example page is told; its DSN is "" until `start` has made the project

    async def start(self, accounts: AccountService, projects: ProjectService) -> None:
        """Called when everything runs."""
        ...

    async def stop(self) -> None:
        """Called first at shutdown."""
        ...


def create_app(
    config: Config, data_dir: Path, *, role: Role = Role.ALL, site_url: str = "", demo: Demonstration | None = None
) -> Appliance:
    """Wire a process.

    Args:
        config: the configuration.
        data_dir: exists, mode 0700 (`data_dir.prepare_data_dir`).
        role: which parts run here.
        site_url: where people reach it, when config.site.url says nothing.
        demo: what `condev demo` adds.

    Raises:
        ConfigError: the configuration or a plugin cannot be used; all problems are named.
    """
    return Appliance(config, data_dir, role, config.site.url or site_url or "http://127.0.0.1:8000", demo)


class Appliance:
    """One process: an ASGI application whose lifespan opens and closes everything."""

    def __init__(
        self, config: Config, data_dir: Path, role: Role, site_url: str, demo: Demonstration | None = None
    ) -> None:
        self.config = config
        self.data_dir = data_dir
        self.role = role
        self.site_url = site_url
        self.demo = demo
        self.has_demo = demo is not None
        self._stack = AsyncExitStack()
        self._http = guarded_http_client(config)
        self._services = host_services(config, data_dir, site_url, self._http)
        self.clock = self._services.clock
        only = ("protocols",) if role is Role.INGEST else None
        self.plugins = PluginHost.load(config, self._services, only=only)
        self.ingest: IngestApp | None = None
        self.sdk: SdkFiles | None = None
        self.core = _core(self) if role is not Role.INGEST else None
        self.web = self.core.web if self.core is not None else None
        self._pages = _pages(self.web) if self.web is not None else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Dispatch by path."""
        if cast("str", scope["type"]) == "lifespan":
            await self._lifespan(receive, cast("AnySend", send))
        elif scope["type"] == "http" and (proof := asked_proof(self.data_dir, scope["path"], scope["query_string"])):
            await _answer(cast("AnySend", send), 200, b'{"ok":true,"proof":"%b"}' % proof.encode())
        elif self.sdk is not None and scope["type"] == "http" and self.sdk.claims(scope["path"]):
            await self.sdk(cast("Any", scope), cast("Any", send))
        elif self.ingest is not None and scope["type"] == "http" and self.ingest.claims(scope["path"]):
            await self.ingest(cast("Any", scope), cast("Any", receive), cast("Any", send))
        elif self._pages is not None:
            await self._pages(scope, receive, send)
        else:
            await _plain(scope, cast("AnySend", send))

    async def open(self) -> None:
        """Start everything this role needs; what was started is stopped again when a later part fails."""
        try:
            self._stack.push_async_callback(self._http.close)
            if self.core is not None:
                await self.core.open(self._stack)
            if self.role.takes_in:
                await self._open_ingest()
            if self.demo is not None and self.core is not None:
                self._stack.push_async_callback(self.demo.stop)
                await self.demo.start(self.core.accounts, self.core.projects)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Stop in the opposite order: nothing new is taken, what is in flight is finished, stores are closed last."""
        await self._stack.aclose()

    def end_streams(self) -> None:
        """End the live streams of open pages; the browser connects again to whoever answers next."""
        if self.web is not None:
            cast("LiveStreams", self.web.state["live"]).stop()

    async def _open_ingest(self) -> None:
        limits = self.config.ingest
        spool = await asyncio.to_thread(
            SpoolWriter.open,
            self.data_dir / "spool",
            max_bytes=limits.spool_max_bytes,
            min_free_bytes=limits.spool_min_free_bytes,
        )
        self._stack.push_async_callback(spool.close)
        ingest = IngestApp(
            protocols=self.plugins.protocols,
            admission=AdmissionFile(self.data_dir / ADMISSION_FILE, self.clock),
            spool=spool,
            config=limits,
            trusted_proxies=self.config.site.trusted_proxies,
            clock=self.clock,
            conditions=self.core.system.conditions if self.core is not None else None,
        )
        self._stack.push_async_callback(ingest.stop)
        await ingest.start()
        self.ingest = ingest
        sdk = SdkFiles(await asyncio.to_thread(find_build), self.data_dir / "sdk", self.config.sdk.script)
        await asyncio.to_thread(sdk.open)
        self.sdk = sdk

    async def _lifespan(self, receive: Callable[[], Awaitable[object]], send: AnySend) -> None:
        await receive()
        try:
            await self.open()
        except Exception as error:  # uvicorn wants it as a message, people want it as a line
            log.error("cannot start", reason=f"{type(error).__name__}: {error}", exc_info=error)
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.close()
        await send({"type": "lifespan.shutdown.complete"})


# Ingest needs neither of these two: without the web framework and the databases its process is half as large.
def _core(appliance: Appliance) -> Core:
    from appliance.core import Core

    return Core(appliance)


def _pages(web: Litestar) -> BodyDeadline:
    from appliance.web.deadline import BodyDeadline

    return BodyDeadline(web)


async def _plain(scope: Scope, send: AnySend) -> None:
    """What a role without pages answers outside ingest: that it lives, or that there is nothing."""
    path = cast("Mapping[str, Any]", scope).get("path", "")
    alive = path in ("/healthz", "/readyz")
    body = b'{"ok":true}' if alive else b'{"error":"this process serves no pages (see condev serve --role)"}'
    await _answer(send, 200 if alive else 404, body)


async def _answer(send: AnySend, status: int, body: bytes) -> None:
    """JSON that is not kept on the way."""
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
