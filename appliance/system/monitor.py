"""The appliance watches itself: looks once a minute, remembers conditions in the metadata, tells owners and admins.

What is remembered and what is put into the outbox change in one transaction, so that neither a crash nor a restart
tells anything twice. Everything about one condition is one row of the small facts: no schema of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec
import structlog
from msgspec.structs import replace
from sqlalchemy import delete, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from appliance.alerts.compose import Notice
from appliance.alerts.notices import Fate, Sent
from appliance.alerts.service import AlertService
from appliance.config import Config
from appliance.hookspecs import Clock
from appliance.metadata.database import Database
from appliance.model import MICROSECONDS
from appliance.schedule import Job
from appliance.system import figures, readings
from appliance.system.certificate import Certificate, CertificateUnknownError, read_certificate
from appliance.system.conditions import Code, Condition, Step, Told, Verdict, advance
from appliance.system.forecast import Sample, keep
from appliance.system.judging import Limits, judge
from appliance.system.memory import memory_use
from appliance.system.models import FactModel
from appliance.system.readings import BackupSource, Readings, Stuck
from appliance.system.schemas import SystemState

EVERY_SECONDS: Final = 60
CERTIFICATE_SECONDS: Final = 6 * 3_600  # it changes every two months; those of a private authority every few hours
CERTIFICATE_SHARE: Final = 12  # of its life: renewal begins at a third and is late at a sixth
CERTIFICATE_RETRY_SECONDS: Final = 3_600
FIRST_CERTIFICATE_SECONDS: Final = 120  # after the start: by then the proxy has fetched one
WEEKLY_BACKUP_HOURS: Final = 2 * 7 * 24 + 2.0  # one may fail, as with daily ones
CONDITION: Final = "condition:"
SAMPLES: Final = "monitoring.samples"
CERTIFICATE: Final = "monitoring.certificate"
MAX_NAME: Final = 64  # what the column holds

log = structlog.stdlib.get_logger(__name__)


class SelfMonitor:
    """Looks, judges, remembers, tells. `job` is for the schedule; `run` is one look."""

    def __init__(
        self,
        *,
        database: Database,
        clock: Clock,
        config: Config,
        data_dir: Path,
        site_url: str,
        alerts: AlertService,
        state: Callable[[], Awaitable[SystemState]],
        stuck: Callable[[], Stuck | None] = lambda: None,
        backups: BackupSource | None = None,
    ) -> None:
        """Wire up; nothing runs yet.

        Args:
            database: metadata.
            clock: time.
            config: the appliance's.
            data_dir: whose disk is watched, and where the watchdog leaves its mark.
            site_url: whose certificate is looked at.
            alerts: tells.
            state: the figures of the System page; never hangs.
            stuck: from the watchdog: a call into the event store that does not come back.
            backups: how they stand; None where nobody makes any.
        """
        self._database = database
        self._clock = clock
        self._config = config
        self._data_dir = data_dir
        self._site_url = site_url
        self._alerts = alerts
        self._state = state
        self._stuck = stuck
        self._backups = backups
        self._looking = asyncio.Lock()
        self._extra: set[asyncio.Task[None]] = set()
        self._certificate_due = clock.monotonic() + FIRST_CERTIFICATE_SECONDS
        self._limits = Limits(
            disk_days=config.monitoring.disk_days,
            certificate_days=config.monitoring.certificate_days,
            backup_hours=_backup_hours(config),
            retention_bytes=config.retention.bytes,
        )

    def job(self) -> Job:
        """For a schedule of its own: a store that hangs may hold all places of the common one."""
        return Job("system.watch", EVERY_SECONDS, self.run)

    def look_now(self) -> None:
        """Something cannot wait for the minute. On the event loop."""
        task = asyncio.create_task(self._look(), name="self-monitoring")
        self._extra.add(task)
        task.add_done_callback(self._extra.discard)

    async def stop(self) -> None:
        """Give up a look that was asked for at once; the schedule ends its own."""
        for task in list(self._extra):
            task.cancel()
        await asyncio.gather(*self._extra, return_exceptions=True)

    async def _look(self) -> None:
        try:
            await self.run()
        except Exception as error:  # the next look is a minute away
            log.warning("could not look at the appliance's own state", exc_info=error)

    async def run(self) -> list[Condition]:
        """Look once; what is raised now."""
        async with self._looking:
            found = await self._read()
            verdicts = judge(found, self._limits)
            channels = self._alerts.notices.channels()
            told = False
            async with self._database.write() as session:
                await self._alone(session)
                known = {condition.key: condition for condition in await load(session)}
                for verdict in [*verdicts, *_gone(known, verdicts)]:
                    told |= await self._advance(session, known, verdict, channels, found.now)
                for condition in list(known.values()):
                    told |= await self._follow_up(session, known, condition, channels)
            if told:
                self._alerts.worker.poke()
            return [condition for condition in known.values() if condition.raised]

    async def _alone(self, session: AsyncSession) -> None:
        """Make other processes' looks wait for this one. SQLite's write transactions do that anyway."""
        if not self._database.is_sqlite:
            await session.execute(text("SELECT pg_advisory_xact_lock(hashtext('condev.monitoring'))"))

    # ── looking ──

    async def _read(self) -> Readings:
        now = self._clock.now()
        state = await self._state()
        disk = await asyncio.to_thread(
            readings.read_disk, self._data_dir, int(self._config.ingest.spool_min_free_bytes)
        )
        dropped = await figures.dropped_by_reason(self._database, by_clients=False)
        sample = Sample(
            now, disk.free, state.store.bytes_on_disk, readings.lost(dropped), state.totals.get("records", 0)
        )
        return Readings(
            now=now,
            state=state,
            disk=disk,
            samples=await self._samples(sample, is_whole=not state.store.problem),
            memory=await asyncio.to_thread(memory_use),
            certificate=await self._certificate(now),
            backup=await self._backups() if self._backups is not None else None,
            notifiers=await readings.notifier_records(self._database, state, now),
            stuck=self._stuck(),
            mark=await asyncio.to_thread(readings.read_mark, self._data_dir),
        )

    async def _samples(self, new: Sample, *, is_whole: bool) -> list[Sample]:
        """The last days', with this one; a store that does not answer has no size to remember."""
        async with self._database.read() as session:
            fact = await session.get(FactModel, SAMPLES)
        known = msgspec.json.decode(fact.value, type=list[Sample]) if fact is not None else []
        samples = keep(known, new) if is_whole else known
        if samples != known:
            async with self._database.write() as session:
                await session.merge(FactModel(name=SAMPLES, value=msgspec.json.encode(samples).decode()))
        return [*(sample for sample in samples if sample.at < new.at), new] if is_whole else samples

    async def _certificate(self, now: int) -> Certificate | None:
        """What the last handshake showed, while it can still be that one; a new one every few hours."""
        if not self._site_url.startswith("https://") or not self._limits.certificate_days:
            return None
        async with self._database.read() as session:
            fact = await session.get(FactModel, CERTIFICATE)
        known = msgspec.json.decode(fact.value, type=Certificate) if fact is not None else None
        life = known.not_after - known.not_before if known is not None else 0
        keep = min(CERTIFICATE_SECONDS * MICROSECONDS, life // CERTIFICATE_SHARE)
        age = abs(now - known.checked_at) if known is not None else 0
        if life and age > 2 * life // CERTIFICATE_SHARE:
            known = None  # it was to be renewed meanwhile: what nobody answers any more is not known
        if age < keep or self._clock.monotonic() < self._certificate_due:
            return known
        pause = min(CERTIFICATE_RETRY_SECONDS, life / MICROSECONDS / CERTIFICATE_SHARE or CERTIFICATE_RETRY_SECONDS)
        self._certificate_due = self._clock.monotonic() + pause
        try:
            found = await read_certificate(self._site_url, now)
        except CertificateUnknownError as error:
            log.info("the site's certificate cannot be looked at from here", reason=str(error))
            return known
        async with self._database.write() as session:
            await session.merge(FactModel(name=CERTIFICATE, value=msgspec.json.encode(found).decode()))
        return found

    # ── remembering and telling ──

    async def _advance(
        self,
        session: AsyncSession,
        known: dict[str, Condition],
        verdict: Verdict,
        channels: Sequence[str],
        now: int,
    ) -> bool:
        key = f"{verdict.code}:{verdict.subject}" if verdict.subject else str(verdict.code)
        before = known.get(key)
        after, step = advance(before, verdict, now)
        told = False
        if after is not None and step is not None:
            _say(after, step, before)
            sent = None
            if step != "cleared" or (before is not None and before.told_at):  # nobody needs the end of an untold story
                name = f"{key}:{after.since}:{step}:{now}"
                sent = await self._alerts.notices.tell(session, _notice(after, step), name, channels)
            after = _noted(after, step, sent, now)
            told = sent is not None
        if after is not None and not after.raised and not after.streak and not after.messages:
            after = None
        await _store(session, key, before, after)
        if after is None:
            known.pop(key, None)
        else:
            known[key] = after
        return told

    async def _follow_up(
        self, session: AsyncSession, known: dict[str, Condition], condition: Condition, channels: Sequence[str]
    ) -> bool:
        """See what became of the last message: through the next channel when it is stuck in one."""
        if not condition.messages:
            return False
        last = condition.messages[-1]
        fate = await self._alerts.notices.fate(session, last.entry)
        if fate is Fate.WAITING:
            return False
        after, told = condition, False
        if fate is Fate.DELIVERED:
            after = replace(condition, messages=())
        else:
            tried = {message.channel for message in condition.messages}
            key = f"{condition.key}:{condition.since}:{last.step}:{last.at}"
            untried = [channel for channel in channels if channel not in tried]
            sent = await self._alerts.notices.tell(session, _notice(condition, last.step), key, untried)
            if sent is not None:
                told = True
                message = Told(channel=sent.channel, entry=sent.entry, at=last.at, step=last.step)
                after = replace(condition, messages=(*condition.messages, message))
            elif fate is Fate.LOST:
                after = replace(condition, messages=())  # the pages and the log have it
        kept = after if after.raised or after.streak or after.messages else None
        await _store(session, condition.key, condition, kept)
        if kept is None:
            known.pop(condition.key, None)
        else:
            known[condition.key] = kept
        return told


async def load(session: AsyncSession) -> list[Condition]:
    """What is remembered: raised ones, those about to be, and those that are over while a message is under way."""
    query = (
        select(FactModel.value).where(FactModel.name.startswith(CONDITION, autoescape=True)).order_by(FactModel.name)
    )
    found: list[Condition] = []
    for value in await session.scalars(query):
        try:
            found.append(msgspec.json.decode(value, type=Condition))
        except msgspec.MsgspecError as error:  # a newer version's, after a step back: it is found again if it lasts
            log.warning("a remembered condition cannot be read", reason=str(error))
    return found


async def raised(database: Database) -> list[Condition]:
    """What is raised, the worst and then the oldest first; for pages, /readyz and /metrics."""
    async with database.read() as session:
        conditions = [condition for condition in await load(session) if condition.raised]
    return sorted(conditions, key=lambda condition: (condition.tone != "bad", condition.since))


def _backup_hours(config: Config) -> float:
    """The operator's bound; weekly backups are not late after two days, but after two weeks."""
    hours = config.monitoring.backup_hours
    return max(hours, WEEKLY_BACKUP_HOURS) if hours and config.backup.schedule == "weekly" else hours


def _gone(known: dict[str, Condition], verdicts: Sequence[Verdict]) -> list[Verdict]:
    """What is no longer there to be watched (a notifier that left the configuration) is no problem any more."""
    judged = {(verdict.code, verdict.subject) for verdict in verdicts}
    return [
        Verdict(code=condition.code, subject=condition.subject, level="clear")
        for condition in known.values()
        if condition.code is Code.NOTIFIER and (condition.code, condition.subject) not in judged
    ]


def _noted(condition: Condition, step: Step, sent: Sent | None, now: int) -> Condition:
    if sent is None:
        return replace(condition, messages=())
    message = Told(channel=sent.channel, entry=sent.entry, at=now, step=step)
    return replace(condition, told_at=now, told_worth=condition.worth, messages=(message,))


def _notice(condition: Condition, step: Step) -> Notice:
    is_over = step == "cleared"
    rule = condition.rule
    title = rule.over if is_over else rule.title
    return Notice(
        name=condition.key,
        step=step,
        title=f"{title}: {condition.subject}" if condition.subject else title,
        text=f"It was: {condition.text}" if is_over else condition.text,
        mend=condition.mend,
        since=condition.since,
        urgent=condition.tone == "bad",
    )


def _say(condition: Condition, step: Step, before: Condition | None) -> None:
    if step == "cleared":
        log.info("condition cleared", code=condition.code, subject=condition.subject)
    elif before is None or not before.raised:
        log.warning("condition raised", code=condition.code, subject=condition.subject, text=condition.text)


async def _store(session: AsyncSession, key: str, before: Condition | None, after: Condition | None) -> None:
    name = f"{CONDITION}{key}"[:MAX_NAME]
    if after is None:
        if before is not None:
            await session.execute(delete(FactModel).where(FactModel.name == name))
    elif after != before:
        await session.merge(FactModel(name=name, value=msgspec.json.encode(after).decode()))
