"""The outbox worker: takes what is due, evaluates rules, calls hooks, composes and delivers; at least once.

An entry is leased by a time stamp, which is also the fence: who finishes later than its lease changes nothing. A
message is composed once and kept, so that every try sends the same bytes under the same id. Plugin code never runs in
a transaction.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, Protocol, cast

import structlog
from msgspec.structs import replace
from sqlalchemy import select, update
from sqlalchemy.engine import CursorResult
from sqlalchemy.ext.asyncio import AsyncSession
from structlog.typing import FilteringBoundLogger

from appliance.alerts.channels import Channels, Outcome
from appliance.alerts.compose import Site
from appliance.alerts.entries import Body, Purpose, State, add_entry, decode_body, encode_body
from appliance.alerts.evaluate import enabled_rules, evaluate, record_firings
from appliance.alerts.messages import GoneError, Messages
from appliance.alerts.models import DeliveryModel, OutboxModel
from appliance.config import Alerts
from appliance.hookspecs import Clock, EventStore, IssueChange, Notification, Notifier, Rule
from appliance.metadata.database import Database

POLL_SECONDS: Final = 1.0  # when nothing pokes us: retries, digests, other processes' entries
SLOTS: Final = 4  # a slow provider holds one; four keep the rest moving without crowding a small machine
LEASE_SECONDS: Final = 60  # for everything but the notifiers, which have half a minute each
HOOK_SECONDS: Final = 30.0  # for all plugins' hooks on one change
FIRST_RETRY_SECONDS: Final = 10
LONGEST_RETRY_SECONDS: Final = 3_600  # 10 s, 30 s, 90 s, …: eight tries last two hours
GIVE_UP_SECONDS: Final = 48 * 3_600  # behind open breakers no try is counted; news older than this is none
MAX_RECIPIENTS: Final = 50  # of one mail; the least that any provider allows
STOP_SECONDS: Final = 10.0  # what runs may finish for so long; its lease brings it back otherwise

log = cast("FilteringBoundLogger", structlog.get_logger(__name__))


class AlertPlugins(Protocol):
    """What is asked of the plugin host."""

    @property
    def notifiers(self) -> Mapping[str, Notifier]:
        """By name."""
        ...

    @property
    def rules(self) -> Mapping[str, Rule]:
        """By name."""
        ...

    @property
    def issue_hooks(self) -> frozenset[str]:
        """The on_issue_* hooks that some plugin implements."""
        ...

    async def call_issue_hook(self, name: str, change: IssueChange) -> list[str]:
        """Call all implementations; a sentence for each that failed."""
        ...


class LostLeaseError(Exception):
    """Another worker took the entry over: what was done here is not written."""


class OutboxWorker:
    """Runs beside the pipeline. `start`, `poke` after commits, `stop`; `drain` does what is due and returns."""

    def __init__(
        self,
        database: Database,
        store: EventStore,
        clock: Clock,
        plugins: AlertPlugins,
        channels: Channels,
        config: Alerts,
        site: Site,
    ) -> None:
        """Wire up; nothing runs yet."""
        self._database = database
        self._clock = clock
        self._plugins = plugins
        self._channels = channels
        self._config = config
        self._messages = Messages(database, store, site, clock, config.throttle_minutes)
        self._poked = asyncio.Event()
        self._stopping = False
        self._loop_task: asyncio.Task[None] | None = None
        self._running: set[asyncio.Task[None]] = set()

    # ── running ──

    async def start(self) -> None:
        """Begin to work. On SQLite, where nobody else can, what a killed process held is due at once."""
        if self._database.is_sqlite:
            async with self._database.write() as session:
                held = update(OutboxModel).where(OutboxModel.state == State.SENDING)
                await session.execute(held.values(state=State.WAITING, next_at=self._clock.now()))
        self._loop_task = asyncio.create_task(self._work(), name="outbox")

    def poke(self) -> None:
        """There is something new: look now."""
        self._poked.set()

    async def stop(self) -> None:
        """Take nothing more, let what runs finish, within a limit."""
        self._stopping = True
        self._poked.set()
        if self._loop_task is not None:
            await self._loop_task
        running = set(self._running)
        if running:
            _, late = await asyncio.wait(running, timeout=STOP_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def drain(self) -> int:
        """Do everything that is due now, one after the other; how many entries that were."""
        done = 0
        while ids := await self._lease(1):
            for entry_id, lease in ids:
                await self._process(entry_id, lease)
                done += 1
        return done

    async def _work(self) -> None:
        while not self._stopping:
            self._poked.clear()
            try:
                leased = await self._lease(SLOTS - len(self._running))
            except Exception as error:
                log.error("the outbox could not be read", exc_info=error)
                leased = []
            for entry_id, lease in leased:
                task = asyncio.create_task(self._process(entry_id, lease), name=f"outbox-{entry_id}")
                self._running.add(task)
                task.add_done_callback(self._finished)
            if not leased or len(self._running) >= SLOTS:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._poked.wait(), POLL_SECONDS)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._poked.set()

    async def _lease(self, most: int) -> list[tuple[int, int]]:
        """Take entries that are due; (id, lease) of each. Reads first: an idle poll takes no write lock."""
        now = self._clock.now()
        due = (
            select(OutboxModel.id)
            .where(OutboxModel.state.in_((State.WAITING, State.SENDING)), OutboxModel.next_at <= now)
            .order_by(OutboxModel.next_at, OutboxModel.id)
            .limit(max(most, 0))
        )
        async with self._database.read() as session:
            if most <= 0 or (await session.scalar(due)) is None:
                return []
        lease = now + round((LEASE_SECONDS + 30 * self._channels.longest_chain) * 1_000_000)
        async with self._database.write() as session:
            ids = (await session.scalars(due.with_for_update(skip_locked=True))).all()
            taken = update(OutboxModel).where(OutboxModel.id.in_(ids))
            await session.execute(
                taken.values(state=State.SENDING, next_at=lease, attempts=OutboxModel.attempts + 1),
                execution_options={"synchronize_session": False},
            )
        return [(entry_id, lease) for entry_id in ids]

    # ── one entry ──

    async def _process(self, entry_id: int, lease: int) -> None:
        async with self._database.read() as session:
            entry = await session.get(OutboxModel, entry_id)
        if entry is None:
            return
        try:
            if entry.attempts > self._config.attempts:
                await self._end(entry, lease, State.FAILED, "The appliance stopped in the middle of every try.")
            elif entry.purpose == Purpose.CHANGE:
                await self._evaluate(entry, lease)
            elif entry.purpose == Purpose.HOOK:
                await self._call_hooks(entry, lease)
            else:
                await self._notify(entry, lease)
        except GoneError as error:
            await self._end(entry, lease, State.DISCARDED, str(error))
        except LostLeaseError:
            log.warning("outbox lease lost", entry_id=entry_id, purpose=entry.purpose)
        except Exception as error:
            log.error("outbox entry failed", entry_id=entry_id, purpose=entry.purpose, exc_info=error)
            with suppress(LostLeaseError):
                await self._again(entry, lease, f"An error of the appliance itself: {type(error).__name__}: {error}")

    async def _evaluate(self, entry: OutboxModel, lease: int) -> None:
        changes = decode_body(entry.body).changes
        async with self._database.read() as session:
            rules = await enabled_rules(session, entry.project_id or 0)
        fired, problems = evaluate(rules, self._plugins.rules, changes)
        now = self._clock.now()
        told = [change for change in changes if f"on_issue_{change.change}" in self._plugins.issue_hooks]
        async with self._database.write() as session:
            await record_firings(session, fired, self._config.throttle_minutes, now)
            if told:
                body = Body(changes=told)
                await add_entry(session, Purpose.HOOK, f"hook:{entry.id}", body, now, project_id=entry.project_id)
            await _fenced(
                session, entry.id, lease, state=State.DELIVERED, finished_at=now, last_error=" ".join(problems)[:2000]
            )
        self.poke()

    async def _call_hooks(self, entry: OutboxModel, lease: int) -> None:
        left: list[IssueChange] = []
        failures: list[str] = []
        for change in decode_body(entry.body).changes:
            try:
                async with asyncio.timeout(HOOK_SECONDS):
                    failed = await self._plugins.call_issue_hook(f"on_issue_{change.change}", change)
            except TimeoutError:
                failed = [f"on_issue_{change.change} did not finish within {HOOK_SECONDS:g} s"]
            if failed:
                left.append(change)
                failures += failed
        if not left:
            await self._end(entry, lease, State.DELIVERED, "")
        else:
            await self._again(entry, lease, " ".join(failures)[:2000], body=encode_body(Body(changes=left)))

    async def _notify(self, entry: OutboxModel, lease: int) -> None:
        notification = decode_body(entry.body).notification
        if notification is None:
            notification = await self._messages.compose(entry)
            notification = await self._keep(entry, lease, notification)
        outcome = await self._channels.deliver(entry.channel, notification)
        await self._record(entry, lease, notification, outcome)

    async def _keep(self, entry: OutboxModel, lease: int, notification: Notification) -> Notification:
        """Write the composed message down before the first try; recipients beyond a mail's limit get their own."""
        body = decode_body(entry.body)
        recipients = notification.recipients
        parts = [recipients[start : start + MAX_RECIPIENTS] for start in range(0, len(recipients), MAX_RECIPIENTS)]
        body.notification = replace(notification, recipients=parts[0] if parts else ())
        async with self._database.write() as session:
            await _fenced(session, entry.id, lease, body=encode_body(body))
            for number, part in enumerate(parts[1:], start=1):
                await add_entry(
                    session,
                    Purpose.NOTIFICATION,
                    f"part:{entry.id}:{number}",
                    Body(notification=replace(notification, id=f"{notification.id}-{number}", recipients=part)),
                    self._clock.now(),
                    channel=entry.channel,
                    rule_id=entry.rule_id,
                    project_id=entry.project_id,
                )
        return body.notification

    # ── writing down ──

    async def _record(self, entry: OutboxModel, lease: int, notification: Notification, outcome: Outcome) -> None:
        """Log each attempt, whatever became of the lease, then the entry's own state."""
        async with self._database.write() as session:
            for attempt in outcome.attempts:
                session.add(
                    DeliveryModel(
                        outbox_id=entry.id,
                        project_id=entry.project_id,
                        channel=entry.channel,
                        notifier=attempt.notifier,
                        attempt=entry.attempts,
                        started_at=attempt.started_at,
                        seconds=attempt.seconds,
                        ok=attempt.ok,
                        skipped=attempt.skipped,
                        reply=attempt.reply,
                        provider_id=attempt.provider_id,
                        subject=notification.subject[:300],
                        recipients="\n".join(notification.recipients),
                    )
                )
        if outcome.delivered:
            await self._end(entry, lease, State.DELIVERED, "")
        elif outcome.final:
            await self._end(entry, lease, State.FAILED, outcome.error)
        else:
            await self._again(entry, lease, outcome.error, least_seconds=outcome.retry_after, counted=outcome.tried)

    async def _again(
        self,
        entry: OutboxModel,
        lease: int,
        error: str,
        *,
        body: str | None = None,
        least_seconds: float = 0.0,
        counted: bool = True,
    ) -> None:
        now = self._clock.now()
        attempts = entry.attempts if counted else entry.attempts - 1
        if attempts >= self._config.attempts or now - entry.created_at > GIVE_UP_SECONDS * 1_000_000:
            await self._end(entry, lease, State.FAILED, error)
            return
        wait = max(retry_seconds(entry.id, entry.attempts) if counted else 1.0, least_seconds)
        async with self._database.write() as session:
            await _fenced(
                session,
                entry.id,
                lease,
                state=State.WAITING,
                next_at=now + round(wait * 1_000_000),
                attempts=attempts,
                last_error=error[:2000],
                **({} if body is None else {"body": body}),
            )

    async def _end(self, entry: OutboxModel, lease: int, state: State, error: str) -> None:
        values: dict[str, object] = {"state": state, "finished_at": self._clock.now(), "last_error": error[:2000]}
        if decode_body(entry.body).secret:
            values["body"] = encode_body(Body(secret=True))
        async with self._database.write() as session:
            await _fenced(session, entry.id, lease, **values)
        if state == State.FAILED:
            log.warning("not delivered", entry_id=entry.id, channel=entry.channel, error=error)


async def _fenced(session: AsyncSession, entry_id: int, lease: int, **values: object) -> None:
    """Change an entry that is still ours. Raises `LostLeaseError`, which undoes the transaction."""
    ours = (OutboxModel.id == entry_id, OutboxModel.state == State.SENDING, OutboxModel.next_at == lease)
    result = await session.execute(
        update(OutboxModel).where(*ours).values(**values), execution_options={"synchronize_session": False}
    )
    if cast("CursorResult[object]", result).rowcount != 1:
        raise LostLeaseError


def retry_seconds(entry_id: int, attempt: int) -> float:
    """How long to wait after an attempt: three times as long each time, ± 20 %.

    The jitter comes from the entry's id, so that entries which failed together do not come back together, and a test
    can know it.
    """
    base = min(FIRST_RETRY_SECONDS * 3 ** max(attempt - 1, 0), LONGEST_RETRY_SECONDS)
    draw = hashlib.sha256(f"{entry_id}:{attempt}".encode()).digest()[0] / 255
    return base * (0.8 + 0.4 * draw)
