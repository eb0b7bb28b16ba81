"""How the appliance is: spool, pipeline, store, memory, plugins, jobs, deliveries; and its periodic jobs."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

from msgspec import Struct

from appliance.accounts.access import COMMAND_LINE, Actor, Permission
from appliance.alerts.service import AlertService
from appliance.config import Config
from appliance.hookspecs import BlobStore, Clock, EventStore, HealthCheck, StoreStats
from appliance.metadata.database import Database
from appliance.pipeline import intents
from appliance.pipeline.dead_letters import DeadLetterFiles, prune
from appliance.pipeline.pipeline import Pipeline, PipelineStatus
from appliance.plugins import LoadedPlugin
from appliance.schedule import Job, job_states
from appliance.spool.framing import Position
from appliance.spool.reader import SpoolDepth, SpoolReader
from appliance.system import figures, monitor
from appliance.system.answers import SystemAnswer, system_answer
from appliance.system.dead_letters import DeadLetters
from appliance.system.housekeeping import tidy
from appliance.system.memory import ProcessMemory, process_memory
from appliance.system.problems import find_problems, headline_of
from appliance.system.retention import Retention
from appliance.system.schemas import (
    BackupState,
    CheckState,
    Headline,
    PluginState,
    SpoolState,
    StoreState,
    SystemState,
    TableState,
)
from appliance.uninterrupted import KeptAnswer

CHECK_SECONDS: Final = 5.0  # for one health check of a plugin
STATS_SECONDS: Final = 5.0  # for the store's figures: a page that waits for a store that hangs shows nothing at all
READY_SECONDS: Final = 5.0  # whoever asks every few seconds must get an answer, if only that there is none
FRESH_SECONDS: Final = 2.0  # the page refreshes itself every 5 s, in several tabs
HEADLINE_SECONDS: Final = 10.0  # the navigation asks with every page
CHECKS_SECONDS: Final = 60.0  # health checks may ask other machines
HOUR: Final = 3_600


class SystemPlugins(Protocol):
    """What of the plugin host is shown here."""

    @property
    def plugins(self) -> Mapping[str, LoadedPlugin]: ...
    @property
    def health_checks(self) -> Sequence[tuple[str, HealthCheck]]: ...


class _Kept(Struct):
    """An answer and when it was made, on the monotonic clock."""

    at: float
    state: SystemState


class SystemService:
    """The appliance as owners and admins see it; one for each process."""

    def __init__(
        self,
        *,
        database: Database,
        store: EventStore,
        blobs: BlobStore,
        clock: Clock,
        config: Config,
        data_dir: Path,
        plugins: SystemPlugins,
        pipeline: Pipeline | None,
        alerts: AlertService | None = None,
        backups: Callable[[], Awaitable[BackupState]] | None = None,
    ) -> None:
        """Wire up.

        Args:
            database: metadata.
            store: events.
            blobs: replay bodies.
            clock: time.
            config: the appliance's.
            data_dir: holds `spool/` and `dead_letters/`.
            plugins: the plugin host.
            pipeline: None where it runs in another process.
            alerts: knows the channels and their breakers.
            backups: how they stand; None where none are made.
        """
        self._backups = backups
        self._database = database
        self._store = store
        self._clock = clock
        self._config = config
        self._spool = data_dir / "spool"
        self._plugins = plugins
        self._pipeline = pipeline
        self._alerts = alerts
        files = pipeline.files if pipeline is not None else DeadLetterFiles(data_dir / "dead_letters")
        self._files = files
        self.dead_letters = DeadLetters(database, files, clock, pipeline.wake if pipeline is not None else lambda: None)
        self.retention = Retention(
            store,
            blobs,
            clock,
            config.retention,
            oldest_waiting=lambda: self._pipeline.depth().oldest_seconds if self._pipeline is not None else 0.0,
            on_full=pipeline.withhold_payloads if pipeline is not None else lambda _: None,
        )
        self._kept: _Kept | None = None
        self._ready = KeptAnswer(self.conditions, fresh=FRESH_SECONDS, wait=READY_SECONDS, monotonic=clock.monotonic)
        self._headline: tuple[float, Headline] | None = None
        self._checks: tuple[float, dict[str, list[CheckState]]] | None = None
        self._gathering = asyncio.Lock()

    async def state(self, actor: Actor) -> SystemState:
        """Everything, at most `FRESH_SECONDS` old. Raises `ForbiddenError`."""
        actor.require(Permission.SYSTEM_READ)
        return await self._state()

    async def answer(self, actor: Actor) -> SystemAnswer:
        """For the API. Raises `ForbiddenError`."""
        state = await self.state(actor)
        return system_answer(
            state,
            await figures.dropped_by_reason(self._database, by_clients=False),
            await figures.dropped_by_reason(self._database, by_clients=True),
        )

    async def headline(self) -> Headline:
        """One word about it all, for the navigation of those who may see this page."""
        now = self._clock.monotonic()
        if self._headline is None or now - self._headline[0] > HEADLINE_SECONDS:
            self._headline = (now, headline_of((await self._state()).problems))
        return self._headline[1]

    async def figures(self) -> SystemState:
        """For the self-monitoring, which is nobody: everything, at most `FRESH_SECONDS` old. Never hangs."""
        return await self._state()

    async def conditions(self) -> list[str]:
        """The names of what is raised; for `/readyz`, which anybody may ask: nothing of their words."""
        return [condition.key for condition in await monitor.raised(self._database)]

    async def ready(self) -> list[str]:
        """The same, a moment old. Raises what the database raises, or `TimeoutError` when it does not answer."""
        return await self._ready.get()

    async def metrics_state(self) -> tuple[SystemState, dict[str, int]]:
        """For `/metrics`, whose route decides who may ask."""
        return await self._state(), await figures.dropped_by_reason(self._database, by_clients=False)

    def jobs(self) -> list[Job]:
        """What must be done every so often; `Schedule` runs it."""
        limits = self._config.pipeline

        async def prune_dead_letters() -> int:
            return await prune(
                self._database,
                self._files,
                days=limits.dead_letter_days,
                max_bytes=limits.dead_letter_max_bytes,
                now=self._clock.now(),
            )

        return [
            Job("store.retention", 600, self.retention.run),
            Job("store.summaries", 300, lambda: self._store.summarise(self._clock.now())),
            Job("dead_letters.prune", HOUR, prune_dead_letters),
            Job("metadata.tidy", 24 * HOUR, lambda: tidy(self._database, self._clock.now())),
        ]

    # ── gathering ──

    async def _state(self) -> SystemState:
        async with self._gathering:
            now = self._clock.monotonic()
            if self._kept is None or now - self._kept.at > FRESH_SECONDS:
                self._kept = _Kept(now, await self._gather())
            return self._kept.state

    async def _gather(self) -> SystemState:
        now = self._clock.now()
        spool = await self._spool_state()
        status = self._pipeline.status() if self._pipeline is not None else None
        store = await self._store_state()
        letters, letter_bytes = await self.dead_letters.kept()
        jobs = await job_states(self._database, now)
        plugins = await self._plugin_states()
        channels = self._alerts.channels(COMMAND_LINE) if self._alerts is not None else []
        conditions = await monitor.raised(self._database)
        return SystemState(
            now=now,
            spool=spool,
            pipeline=status,
            totals=await figures.totals(self._database),
            drops=await figures.drop_lines(self._database, now),
            dead_letters=letters,
            dead_letter_bytes=letter_bytes,
            store=store,
            processes=self._processes(status),
            plugins=plugins,
            jobs=jobs,
            notifiers=await figures.notifier_states(self._database, now),
            channels=channels,
            problems=find_problems(
                spool=spool,
                pipeline=status,
                store=store,
                dead_letters=letters,
                jobs=jobs,
                plugins=plugins,
                channels=channels,
                undelivered=await figures.undelivered(self._database),
                conditions=conditions,
            ),
            conditions=[condition.key for condition in conditions],
            retention_days=self._config.retention.days,
            retention_bytes=self._config.retention.bytes,
            backup=await self._backups() if self._backups is not None else None,
        )

    async def _spool_state(self) -> SpoolState:
        depth = self._pipeline.depth() if self._pipeline is not None else await self._depth_from_disk()
        return SpoolState(
            records=depth.records,
            bytes=depth.bytes,
            oldest_seconds=round(depth.oldest_seconds, 1),
            max_bytes=self._config.ingest.spool_max_bytes,
        )

    async def _depth_from_disk(self) -> SpoolDepth:
        """Where the pipeline runs in another process: what lies behind its cursor."""
        if not self._spool.is_dir():
            return SpoolDepth(0, 0, 0.0)
        reader = SpoolReader.open(self._spool, clock=self._clock)
        try:
            progress = await intents.load(self._database, reader.epoch)
            first = progress.unfinished[0] if progress.unfinished else None
            return reader.depth(Position(first.segment, first.start) if first is not None else progress.after)
        finally:
            reader.close()

    async def _store_state(self) -> StoreState:
        try:
            async with asyncio.timeout(STATS_SECONDS):
                return _store_state(await self._store.stats())
        except TimeoutError:
            return StoreState(problem=f"no answer within {STATS_SECONDS:g} s")
        except Exception as error:  # noqa: BLE001 - the page that shows what is wrong must not fail with it
            return StoreState(problem=f"{type(error).__name__}: {error}"[:500])

    def _processes(self, status: PipelineStatus | None) -> list[ProcessMemory]:
        name = "pipeline and dashboard" if status is not None else "dashboard"
        pids = [(name, os.getpid())]
        if status is not None and status.worker_pid is not None:
            pids.append(("decode worker", status.worker_pid))
        return [memory for name, pid in pids if (memory := process_memory(name, pid)) is not None]

    async def _plugin_states(self) -> list[PluginState]:
        now = self._clock.monotonic()
        if self._checks is None or now - self._checks[0] > CHECKS_SECONDS:
            self._checks = (now, await self._run_checks())
        checks = self._checks[1]
        return [
            PluginState(
                name=name,
                version=plugin.info.version,
                origin=plugin.origin,
                summary=plugin.info.summary,
                hooks=list(plugin.hooks),
                errors=list(plugin.errors),
                checks=checks.get(name, []),
            )
            for name, plugin in sorted(self._plugins.plugins.items())
        ]

    async def _run_checks(self) -> dict[str, list[CheckState]]:
        states = await asyncio.gather(*(_checked(check) for _, check in self._plugins.health_checks))
        found: dict[str, list[CheckState]] = {}
        for (plugin, _), state in zip(self._plugins.health_checks, states, strict=True):
            found.setdefault(plugin, []).append(state)
        return found


async def _checked(check: HealthCheck) -> CheckState:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            result = await check.check()
    except TimeoutError:
        return CheckState(name=check.name, ok=False, detail=f"no answer within {CHECK_SECONDS:g} s")
    except Exception as error:  # noqa: BLE001 - plugin code; what it raised is the finding
        return CheckState(name=check.name, ok=False, detail=f"the check itself failed: {type(error).__name__}: {error}")
    return CheckState(name=check.name, ok=result.ok, detail=result.detail, mend=result.mend)


def _store_state(stats: StoreStats) -> StoreState:
    return StoreState(
        backend=stats.backend,
        version=stats.version,
        schema_version=stats.schema_version,
        bytes_on_disk=stats.bytes_on_disk,
        memory_bytes=stats.memory_bytes,
        memory_limit_bytes=stats.memory_limit_bytes,
        tables=[
            TableState(
                table=table.table,
                rows=table.rows,
                bytes_on_disk=table.bytes_on_disk,
                oldest=table.oldest,
                parts=table.parts,
            )
            for table in stats.tables
        ],
        settings=dict(stats.settings),
        notes=list(stats.notes),
    )
