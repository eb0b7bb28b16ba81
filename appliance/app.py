"""Wires one process of the appliance together, and starts and stops its parts in order. Nothing else imports it.

`create_app` gives an ASGI application: ingest paths go to ingest, everything else to Litestar
(docs/decisions/0002-ingest-beside-litestar.md).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final, Protocol, cast

import structlog
from litestar import Litestar, Router
from litestar.di import Provide
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from litestar.types import Receive, Scope, Send

from appliance import __version__, host
from appliance.accounts.access import PUBLIC
from appliance.accounts.guards import AccessPlugin, check_routes
from appliance.accounts.routes import routes as account_routes
from appliance.accounts.service import AccountService
from appliance.alerts.routes import routes as alert_routes
from appliance.alerts.service import AlertService
from appliance.clock import SystemClock
from appliance.config import Config
from appliance.control import ControlServer
from appliance.control_verbs import ControlVerbs
from appliance.data_dir import metadata_url
from appliance.deploy.backup import Parts
from appliance.deploy.backup.service import Backups
from appliance.hookspecs import HttpClient, IssueChange
from appliance.http_client import GuardedHttpClient
from appliance.ingest.addresses import TrustedProxies
from appliance.ingest.admission import AdmissionFile
from appliance.ingest.asgi import IngestApp
from appliance.instance import asked_proof
from appliance.issues.feed import IssueFeed
from appliance.issues.routes import routes as issue_routes
from appliance.issues.service import IssueService
from appliance.metadata.database import Database
from appliance.metadata.migrate import migrate
from appliance.performance.routes import routes as performance_routes
from appliance.performance.service import PerformanceService
from appliance.pipeline.pipeline import Pipeline
from appliance.pipeline.worker_plugins import LOADER, worker_options
from appliance.pipeline.worker_process import DecodeWorker
from appliance.plugins import HostServices, PluginHost
from appliance.projects.publishing import publish_admission
from appliance.projects.routes import routes as project_routes
from appliance.projects.service import ProjectService
from appliance.releases.routes import routes as release_routes
from appliance.releases.service import ReleaseService
from appliance.replays.routes import routes as replay_routes
from appliance.replays.service import ReplayService
from appliance.roles import Role
from appliance.running_file import Running, write_running
from appliance.schedule import Job, Schedule
from appliance.self_test import SelfTest
from appliance.shell import ShellLoader
from appliance.spool import SpoolWriter
from appliance.system.monitor import SelfMonitor
from appliance.system.routes import routes as system_routes
from appliance.system.service import SystemService
from appliance.system.watchdog import Calls, Watchdog, watched
from appliance.web.deadline import BodyDeadline
from appliance.web.example import example_router
from appliance.web.live import LiveStreams
from appliance.web.setup import WebPlugin

ADMISSION_FILE: Final = "admission.json"
MAX_REQUEST_BYTES: Final = 1024 * 1024  # of a form or an API call; SDK traffic has its own limits

AnySend = Callable[[Mapping[str, object]], Awaitable[None]]  # Litestar's own type knows no lifespan messages

TOKEN: Final = SecurityScheme(
    type="http", scheme="bearer", description="An API token: Account → Tokens, or `condev token create`."
)

ROUTES: Final[list[Any]] = [
    *account_routes,
    *project_routes,
    *issue_routes,
    *performance_routes,
    *replay_routes,
    *release_routes,
    *alert_routes,
    *system_routes,
]

log = structlog.stdlib.get_logger(__name__)


class Demonstration(Protocol):
    """What `condev demo` adds."""

    dsn: str  # where the example page reports to; "" until `start` has made the project

    async def start(self, accounts: AccountService, projects: ProjectService) -> None:
        """Called when everything runs."""
        ...

    async def stop(self) -> None:
        """Called first at shutdown."""
        ...


def guarded_http_client(config: Config) -> GuardedHttpClient:
    """The one way out, as `[outbound]` says; closed by whoever made it."""
    return GuardedHttpClient(proxy=config.outbound.proxy, allow_private=config.outbound.allow_private)


def host_services(config: Config, data_dir: Path, site_url: str, http: HttpClient | None = None) -> HostServices:
    """What plugins are given, from the configuration and the machine."""
    return HostServices(
        http=http or guarded_http_client(config),
        clock=SystemClock(),
        data_dir=data_dir,
        site_url=site_url,
        memory_bytes=host.memory_bytes(),
        cpus=host.cpus(),
    )


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
        self.core = Core(self) if role is not Role.INGEST else None
        self.web = self.core.web if self.core is not None else None
        self._pages = BodyDeadline(self.web) if self.web is not None else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Dispatch by path."""
        if cast("str", scope["type"]) == "lifespan":
            await self._lifespan(receive, cast("AnySend", send))
        elif scope["type"] == "http" and (proof := asked_proof(self.data_dir, scope["path"], scope["query_string"])):
            await _answer(cast("AnySend", send), 200, b'{"ok":true,"proof":"%b"}' % proof.encode())
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


class Core:
    """Pipeline and web: everything with a database. `open` starts what the role needs."""

    def __init__(self, appliance: Appliance) -> None:
        config, clock = appliance.config, appliance.clock
        self._appliance = appliance
        self._config = config
        self._role = appliance.role
        self._data_dir = appliance.data_dir
        self._plugins = appliance.plugins
        self._clock = clock
        self.database = Database(metadata_url(config, appliance.data_dir))
        calls = Calls()
        self.store = watched(appliance.plugins.event_store(), calls)
        self.blobs = appliance.plugins.blob_store()
        self.feed = IssueFeed()
        self.accounts = AccountService(self.database, clock, config.accounts, appliance.site_url)
        self.projects = ProjectService(self.database, clock, appliance.site_url, self._data_dir / ADMISSION_FILE)
        self.issues = IssueService(self.database, self.store, clock, self.feed)
        self.alerts = AlertService(
            self.database, self.store, clock, appliance.plugins, config, site_url=appliance.site_url
        )
        self.pipeline = self._pipeline() if self._role.applies else None
        self.backups = Backups(
            Parts(
                config=config,
                data_dir=self._data_dir,
                database=self.database,
                store=self.store,
                blobs=self.blobs,
                clock=clock,
                pause=self.pipeline.boundary.paused if self.pipeline is not None else contextlib.nullcontext,
            )
        )
        self.system = SystemService(
            database=self.database,
            store=self.store,
            blobs=self.blobs,
            clock=clock,
            config=config,
            data_dir=self._data_dir,
            plugins=appliance.plugins,
            pipeline=self.pipeline,
            alerts=self.alerts,
            backups=self.backups.state if self.pipeline is not None else None,
        )
        self.monitor = SelfMonitor(
            database=self.database,
            clock=clock,
            config=config,
            data_dir=self._data_dir,
            site_url=appliance.site_url,
            alerts=self.alerts,
            state=self.system.figures,
            stuck=lambda: self.watchdog.stuck,
            backups=self.backups.state,
        )
        self.watchdog = Watchdog(
            self.store,
            calls,
            self._data_dir,
            may_end=config.monitoring.watchdog,
            on_change=self.monitor.look_now if self.pipeline is not None else lambda: None,
        )
        self.accounts.set_mailer(self.alerts)
        self.web = self._dashboard() if self._role.shows else None

    def _pipeline(self) -> Pipeline:
        services = self._appliance
        options = worker_options(
            self._config,
            data_dir=self._data_dir,
            site_url=services.site_url,
            memory_bytes=host.memory_bytes(),
            cpus=host.cpus(),
            without=[
                name
                for name, plugin in self._plugins.plugins.items()
                if not {"register_protocols", "register_processors"} & set(plugin.hooks)
            ],
        )
        return Pipeline(
            config=self._config,
            data_dir=self._data_dir,
            database=self.database,
            store=self.store,
            blobs=self.blobs,
            clock=self._clock,
            worker=DecodeWorker(LOADER, options),
            on_changes=self._tell,
        )

    def _tell(self, changes: Sequence[IssueChange]) -> None:
        """After a commit of the pipeline: the live pages, and the outbox."""
        self.feed.publish({change.project_id for change in changes}, changes)
        self.alerts.worker.poke()

    async def open(self, stack: AsyncExitStack) -> None:
        """Migrate, open the stores, start what the role runs. `stack` closes it again."""
        stack.push_async_callback(self.database.close)
        stack.callback(self.accounts.close)
        revision = await migrate(self.database, self._data_dir)
        await publish_admission(self.database, self._data_dir / ADMISSION_FILE, self._clock)
        stack.push_async_callback(self.store.close)
        await self.store.open()
        write_running(
            self._data_dir,
            Running(
                version=__version__,
                started_at=self._clock.now(),
                revision=revision,
                event_store=self.store.schema().version,
            ),
        )
        stack.push_async_callback(self.watchdog.stop)
        self.watchdog.start()
        if self.pipeline is not None:
            await self._start_pipeline(self.pipeline, stack)
        if self.web is not None:
            await stack.enter_async_context(self.web.lifespan())
            await self._offer_set_up()

    async def _start_pipeline(self, pipeline: Pipeline, stack: AsyncExitStack) -> None:
        task = asyncio.create_task(pipeline.run(), name="pipeline")
        stack.push_async_callback(_finish, pipeline.stop, task)
        stack.push_async_callback(self.alerts.worker.stop)
        await self.alerts.worker.start()
        stack.push_async_callback(self.monitor.stop)
        self.monitor.look_now()  # the watchdog may have been the reason of this start
        # Two: a store that hangs may hold all places of the first, and it is the second that says so.
        for schedule in (self._schedule(), Schedule(self.database, self._clock, [self.monitor.job()])):
            jobs = asyncio.create_task(schedule.run(), name="schedule")
            stack.push_async_callback(_finish, schedule.stop, jobs)
        verbs = ControlVerbs(pipeline.boundary, self.backups, self.system)
        own = SelfTest(self.accounts, self.projects).verbs
        control = ControlServer(self._data_dir, {**verbs.plain, **own}, verbs.streaming)
        stack.push_async_callback(verbs.stop)
        stack.push_async_callback(control.stop)
        await control.start()

    def _schedule(self) -> Schedule:
        return Schedule(
            self.database,
            self._clock,
            [
                *self.system.jobs(),
                *self.backups.jobs(),
                Job("issues.reopen_due", 60, lambda: self.issues.reopen_due(self._clock.now())),
                Job("alerts.prune", 24 * 3600, self.alerts.prune),
                Job("accounts.prune", 3600, self.accounts.prune),
                Job("projects.publish", 300, self.projects.publish),
            ],
        )

    async def _offer_set_up(self) -> None:
        """Without an owner, the link to the set-up page: the log is the one place that only the operator reads."""
        link = await self.accounts.setup.new_link() if not self._appliance.has_demo else ""
        if link:
            log.info("no owner yet: open this link once to create one, or run `condev init`", link=link)

    def _dashboard(self) -> Litestar:
        """The dashboard and the API."""
        proxies = TrustedProxies(self._config.site.trusted_proxies)
        given: Mapping[str, object] = {
            "config": self._config,
            "database": self.database,
            "store": self.store,
            "blobs": self.blobs,
            "clock": self._clock,
            "accounts": self.accounts,
            "projects": self.projects,
            "issues": self.issues,
            "alerts": self.alerts,
            "performance": PerformanceService(self.store),
            "replays": ReplayService(self.store),
            "releases": ReleaseService(self.store),
            "system": self.system,
            "plugins": self._plugins,
            "feed": self.feed,
        }
        demo = self._appliance.demo
        example = [example_router(lambda: demo.dsn, dict(PUBLIC))] if demo is not None else []
        shell = ShellLoader(self._config.site.name, self.database, self.projects, self.system)
        app = Litestar(
            route_handlers=[*ROUTES, *example],
            plugins=[
                AccessPlugin(self.accounts, self._appliance.site_url, proxies),
                WebPlugin(self._clock, shell.load, https=self._appliance.site_url.startswith("https://")),
            ],
            dependencies={name: Provide(_giving(value), sync_to_thread=False) for name, value in given.items()},
            openapi_config=OpenAPIConfig(
                title="Condev Monitor",
                version=__version__,
                render_plugins=[JsonRenderPlugin(path="/")],
                openapi_router=Router("/api/v1/schema", route_handlers=[], opt=PUBLIC),
                components=Components(security_schemes={"token": TOKEN}),
                security=[{"token": []}],
            ),
            request_max_body_size=MAX_REQUEST_BYTES,
            logging_config=None,
            signature_types=[Config, Database, PluginHost],
        )
        check_routes(app)  # now, where the error names the route, not in a server's start-up log
        return app


def _giving(value: object) -> Callable[[], Any]:
    def give() -> Any:
        return value

    return give


async def _finish(stop: Callable[[], Awaitable[None]], task: asyncio.Task[None]) -> None:
    await stop()
    with contextlib.suppress(asyncio.CancelledError):
        await task


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
