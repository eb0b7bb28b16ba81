"""What has a database: the stores, the services of the nouns, pipeline, jobs, pages. Only app.py uses it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import structlog
from litestar import Litestar

from appliance import __version__, host
from appliance.accounts.access import PUBLIC
from appliance.accounts.guards import AccessPlugin
from appliance.accounts.service import AccountService
from appliance.alerts.service import AlertService
from appliance.control import ControlServer
from appliance.control_verbs import ControlVerbs
from appliance.dashboard import make_dashboard
from appliance.data_dir import metadata_url
from appliance.deploy.backup import Parts
from appliance.deploy.backup.service import Backups
from appliance.hookspecs import IssueChange
from appliance.ingest.addresses import TrustedProxies
from appliance.ingest.admission import ADMISSION_FILE
from appliance.issues.feed import IssueFeed
from appliance.issues.service import IssueService
from appliance.metadata.database import Database
from appliance.metadata.migrate import migrate
from appliance.outcomes.service import OutcomeService
from appliance.performance.service import PerformanceService
from appliance.pipeline.pipeline import Pipeline
from appliance.pipeline.worker_plugins import LOADER, worker_options
from appliance.pipeline.worker_process import DecodeWorker
from appliance.projects.publishing import publish_admission
from appliance.projects.service import ProjectService
from appliance.releases.service import ReleaseService
from appliance.replays.service import ReplayService
from appliance.running_file import Running, write_running
from appliance.schedule import Job, Schedule
from appliance.self_test import SelfTest
from appliance.sessions.service import SessionService
from appliance.shell import ShellLoader
from appliance.system.monitor import SelfMonitor
from appliance.system.service import SystemService
from appliance.system.watchdog import Calls, Watchdog, watched
from appliance.traces.service import TraceService
from appliance.web.example import example_router
from appliance.web.setup import WebPlugin

if TYPE_CHECKING:
    from appliance.app import Appliance

log = structlog.stdlib.get_logger(__name__)


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
        self.projects = ProjectService(
            self.database, clock, appliance.site_url, self._data_dir / ADMISSION_FILE, config.sdk.path
        )
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
            "replays": ReplayService(self.store, self.blobs, self._clock),
            "releases": ReleaseService(self.store),
            "sessions": SessionService(self.store, self.issues),
            "traces": TraceService(self.store, self.issues, self._clock),
            "outcomes": OutcomeService(self.store),
            "system": self.system,
            "plugins": self._plugins,
            "feed": self.feed,
        }
        demo = self._appliance.demo
        example = [example_router(lambda: demo.example, dict(PUBLIC))] if demo is not None else []
        shell = ShellLoader(self._config.site.name, self.database, self.projects, self.system)
        return make_dashboard(
            given,
            example,
            [
                AccessPlugin(self.accounts, self._appliance.site_url, proxies),
                WebPlugin(self._clock, shell.load, https=self._appliance.site_url.startswith("https://")),
            ],
        )


async def _finish(stop: Callable[[], Awaitable[None]], task: asyncio.Task[None]) -> None:
    await stop()
    with contextlib.suppress(asyncio.CancelledError):
        await task
