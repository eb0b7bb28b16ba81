"""Applies a spool to the stores, exactly once in effect: intent, decode, store, metadata, acknowledge.

While one batch is applied the next is claimed and decoded; effects are strictly in order. What was under way when the
process ended is done again at the next start, before anything new.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import structlog
from msgspec import Struct, field

from appliance.config import Config
from appliance.hookspecs import BlobStore, Clock, EventStore, IssueChange
from appliance.metadata.database import Database
from appliance.pipeline import dead_letters, intents
from appliance.pipeline.apply import Applier, StoppedError
from appliance.pipeline.batches import Work, put_together
from appliance.pipeline.boundary import Boundary
from appliance.pipeline.dead_letters import DeadLetterFiles
from appliance.pipeline.decode import DAY
from appliance.pipeline.intents import Intent
from appliance.pipeline.isolate import RangeDecoder, dead_record, read_raw
from appliance.pipeline.rates import Rates
from appliance.pipeline.retries import Retries
from appliance.pipeline.wire import DeadRecord, Drop, Job, ProcessorFailure
from appliance.pipeline.worker_process import Decoded, DecodeWorker, WorkerStartError
from appliance.spool.framing import Position
from appliance.spool.layout import segment_path
from appliance.spool.reader import SpoolDepth, SpoolReader

MAX_OUTPUT: Final = 16 * 1024 * 1024  # bytes of rows in one batch; two are in memory at once
# Between two batches that are not full: so few inserts that the store's merges cost nothing that shows, and an event
# is still queryable well within the promised 2 s. The first event after a pause waits for nothing.
LINGER_SECONDS: Final = 0.35
IDLE_SECONDS: Final = 1.0  # between looks at what no event announces: a replaced spool, a retry asked for elsewhere
# While this file lies in the data directory, finished segments of the spool are kept: an upgrade that has to go back to
# its backup finds what was accepted meanwhile. They get a quarter of the spool: from half on, ingest sheds.
KEEP_SPOOL_FILE: Final = "keep-spool"
KEEP_SHARE: Final = 4
RETRY_SECONDS: Final = (0.5, 1.0, 2.0, 5.0, 15.0)  # after an error that no step expected, or a worker that won't start

log = structlog.get_logger(__name__)


class PipelineStatus(Struct, kw_only=True):
    """What the System page shows of a running pipeline."""

    running: bool
    error: str = ""  # of the pipeline itself or its worker; "" when all is well
    waiting_for: str = ""  # which store does not answer
    events_per_second: float = 0.0  # over the last minute
    records_per_second: float = 0.0
    batch_seconds: float = 0.0  # how long the last batch took to apply
    last_batch_at: int = 0
    worker_pid: int | None = None
    worker_starts: int = 0
    protocols: list[str] = field(default_factory=list)
    processors: list[str] = field(default_factory=list)
    withholding: bool = False  # payloads, because the store is full with today's data
    processor_failures: dict[str, ProcessorFailure] = field(default_factory=dict)


class Pipeline:
    """One spool's pipeline. `run` until `stop`."""

    def __init__(
        self,
        *,
        config: Config,
        data_dir: Path,
        database: Database,
        store: EventStore,
        blobs: BlobStore,
        clock: Clock,
        worker: DecodeWorker,
        on_changes: Callable[[Sequence[IssueChange]], None] = lambda _: None,
        checkpoint: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Make it; nothing runs yet.

        Args:
            config: the appliance's.
            data_dir: holds `spool/` and `dead_letters/`.
            database: the metadata, migrated.
            store: open.
            blobs: for replay bodies.
            clock: for times in the metadata and on the System page; never for rows.
            worker: not started yet; `stop` closes it.
            on_changes: told of issues that opened or came back, after commit.
            checkpoint: called with the name of each step that is done; tests raise or kill there.
        """
        self.boundary = Boundary()
        self._limits = config.pipeline
        self._spool = data_dir / "spool"
        self._keep_file = data_dir / KEEP_SPOOL_FILE
        self._keep_bytes = config.ingest.spool_max_bytes // KEEP_SHARE
        self._database = database
        self._store = store
        self._clock = clock
        self._worker = worker
        self._on_changes = on_changes
        self._checkpoint = checkpoint
        self._files = DeadLetterFiles(data_dir / "dead_letters")
        self._retries = Retries(database, self._files, worker, self._limits.decode_timeout_seconds)
        self._stopping = asyncio.Event()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._reader: SpoolReader | None = None
        self._after: Position | None = None  # the end of what is applied
        self._rates = Rates(clock)
        self._failures: dict[str, ProcessorFailure] = {}
        self._error = ""
        self._last_claim = -1e9
        self._last_batch_at = 0
        self._batch_seconds = 0.0
        self._applier = Applier(
            database=database, store=store, blobs=blobs, files=self._files, limits=self._limits, clock=clock,
            stopping=self._stopping, read_raw=self._read_raw, checkpoint=checkpoint,
        )  # fmt: skip

    async def run(self) -> None:
        """Apply whatever comes until `stop`; outlives every error."""
        self._task = asyncio.current_task()
        failures, began = 0, self._clock.monotonic()
        while not self._stopping.is_set():
            try:
                async with contextlib.AsyncExitStack() as stack:
                    await self._run(stack)
            except StoppedError:
                break
            except Exception as error:
                before, self._error = self._error, f"{type(error).__name__}: {error}"[:500]
                if before != self._error:
                    log.error("pipeline interrupted; it goes on from its last intent", exc_info=error)
                if self._clock.monotonic() - began > 60.0:
                    failures = 0
                await self._pause(RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)])
                failures, began = failures + 1, self._clock.monotonic()

    async def stop(self, timeout: float | None = None) -> None:
        """Finish what is in flight and end.

        Args:
            timeout: seconds, after which it is left for the next start; None takes `pipeline.shutdown_seconds`.
        """
        self._stopping.set()
        self._wake.set()
        task = self._task
        if task is not None and not task.done():
            _, unfinished = await asyncio.wait(
                {task}, timeout=self._limits.shutdown_seconds if timeout is None else timeout
            )
            if unfinished:
                log.warning("pipeline stopped in the middle of a batch; it is done again at the next start")
                self._worker.kill()
                task.cancel()
                await asyncio.wait({task})
        await self._worker.close()
        if self._reader is not None:
            self._reader.close()

    def withhold_payloads(self, full: bool) -> None:
        """Keep no payloads for a while: retention has nothing left to drop but today."""
        self._applier.bounds.closed = full

    def wake(self) -> None:
        """A retry of a dead letter was asked for."""
        self._wake.set()

    @property
    def files(self) -> DeadLetterFiles:
        """The bytes of dead letters."""
        return self._files

    def depth(self) -> SpoolDepth:
        """What waits in the spool, as far as it is not applied."""
        return self._reader.depth(self._after) if self._reader is not None else SpoolDepth(0, 0, 0.0)

    def status(self) -> PipelineStatus:
        """How it goes."""
        return PipelineStatus(
            running=self._task is not None and not self._task.done(),
            error=self._error,
            waiting_for=self._applier.waiting_for,
            events_per_second=self._rates.per_second("events"),
            records_per_second=self._rates.per_second("records"),
            batch_seconds=self._batch_seconds,
            last_batch_at=self._last_batch_at,
            worker_pid=self._worker.pid,
            worker_starts=self._worker.starts,
            protocols=self._worker.ready.protocols,
            processors=self._worker.ready.processors,
            withholding=self._applier.bounds.closed,
            processor_failures=dict(self._failures),
        )

    # ── one run, until an error ──

    async def _run(self, stack: contextlib.AsyncExitStack) -> None:
        reader = SpoolReader.open(self._spool, clock=self._clock)
        stack.callback(reader.close)
        self._reader = reader
        await self._worker.start()
        progress = await intents.load(self._database, reader.epoch)
        first = progress.unfinished[0] if progress.unfinished else None
        self._after = Position(first.segment, first.start) if first is not None else progress.after
        for intent in progress.unfinished:
            await self._apply(reader, await self._decode_again(reader, intent))
        self._error = ""
        coming = asyncio.create_task(self._next(reader, self._after))
        try:
            while (work := await coming) is not None:
                if work.retry is not None:  # alone: until it is applied it still waits to be tried
                    await self._apply(reader, work)
                    coming = asyncio.create_task(self._next(reader, self._after))
                else:
                    coming = asyncio.create_task(self._next(reader, work.intent.after))
                    await self._apply(reader, work)
                del work  # 16 MiB that must not wait for the next batch
        finally:
            if not coming.done():
                coming.cancel()
                self._worker.kill()
            await asyncio.gather(coming, return_exceptions=True)

    async def _next(self, reader: SpoolReader, after: Position | None) -> Work | None:
        """The next batch, decoded; None when it is time to stop."""
        while not self._stopping.is_set():
            self._wake.clear()
            retry = await self._retries.next()
            if retry is not None:
                return retry
            found = reader.next_range(after, self._limits.batch_records, self._limits.batch_bytes)
            if found is None:
                await self._idle(reader, after)
                continue
            linger = self._last_claim + LINGER_SECONDS - self._clock.monotonic()
            if linger > 0 and reader.next_range(found.after, 1, 1) is None:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), linger)
                found = reader.next_range(after, self._limits.batch_records, self._limits.batch_bytes) or found
            self._last_claim = self._clock.monotonic()
            if self._stopping.is_set():
                break
            intent = await intents.claim(self._database, reader.epoch, found, self._clock.now())
            self._checkpoint("claimed")
            return await self._decode(reader, intent, recovered=False)
        return None

    async def _idle(self, reader: SpoolReader, after: Position | None) -> None:
        """Wait for a record, a retry, or the time to look around."""
        waits = {asyncio.ensure_future(reader.wait(after, IDLE_SECONDS)), asyncio.ensure_future(self._wake.wait())}
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if reader.keeps and self._after is not None:
            reader.acknowledge(self._after, self._kept_bytes())
        fresh = SpoolReader.open(self._spool, clock=self._clock)
        fresh.close()
        if fresh.epoch != reader.epoch:
            raise SpoolReplacedError("the spool directory was replaced; going on with the new one")

    # ── decoding ──

    async def _decode_again(self, reader: SpoolReader, intent: Intent) -> Work:
        """A range whose effects may have begun in another life of this process."""
        await intents.note_attempt(self._database, intent)
        if segment_path(self._spool, intent.segment).exists():
            return await self._decode(reader, intent, recovered=True)
        log.error(
            "a spool segment is gone before it was applied; its records are lost",
            segment=intent.segment, start=intent.start, end=intent.end,
        )  # fmt: skip
        work = put_together(intent, (), batch_id=intent.batch_id, recovered=True)
        work.drops.append(Drop(self._clock.now() // DAY, 0, "pipeline", "spool_segment_lost", "other", 1))
        return work

    async def _decode(self, reader: SpoolReader, intent: Intent, *, recovered: bool) -> Work:
        decoded = await self._decode_range(reader, intent, MAX_OUTPUT)
        if decoded.end < intent.end and recovered and await self._has_effects(intent, decoded):
            decoded = await self._decode_range(reader, intent, 0)  # as it was stored in part: whole
        if decoded.end < intent.end:
            await intents.cut(self._database, intent, decoded.end)
        self._checkpoint("decoded")
        return put_together(intent, decoded.chunks, batch_id=intent.batch_id, recovered=recovered)

    async def _has_effects(self, intent: Intent, decoded: Decoded) -> bool:
        work = put_together(intent, decoded.chunks, batch_id=intent.batch_id, recovered=True)
        latest = max(work.received[1], self._clock.now())
        present = await self._store.present(intent.batch_id, (work.received[0], latest))
        return any(present.values())

    async def _decode_range(self, reader: SpoolReader, intent: Intent, max_output: int) -> Decoded:
        job = self._job(reader, intent)
        job.max_output = max_output

        async def note_attempt() -> int:
            return await intents.note_attempt(self._database, intent)

        async def bury(dead: DeadRecord, offset: int) -> None:
            await asyncio.to_thread(self._files.write, [dead])
            async with self._database.write() as session:
                await dead_letters.add(session, [dead], self._clock.now())
                await dead_letters.count_buried(session)
                await intents.skip(session, intent, offset)

        timeout = self._limits.decode_timeout_seconds
        is_stored = partial(self._applier.is_stored, intent.batch_id)
        return await RangeDecoder(self._worker, timeout, note_attempt, is_stored, bury).decode(job, intent.attempts)

    def _job(self, reader: SpoolReader, intent: Intent) -> Job:
        return Job(
            batch_id=intent.batch_id.to_bytes(16, "big"),
            directory=str(self._spool),
            epoch=reader.epoch,
            segment=intent.segment,
            start=intent.start,
            end=intent.end,
            skip=list(intent.skip),
        )

    async def _read_raw(
        self, work: Work, indexes: Sequence[int], reason: str, details: Mapping[int, str]
    ) -> list[DeadRecord]:
        """Dead letters of a batch's records, from the spool or from the dead letter that is being retried."""
        if work.retry is not None:
            job = Job(batch_id=b"", directory="", record_id=work.retry.record_id)
            raws = [(0, await self._retries.bytes_of(work.retry))]
        else:
            intent = work.intent
            job = Job(
                batch_id=b"", directory=str(self._spool), epoch=intent.epoch, segment=intent.segment,
                start=intent.start, end=intent.end,
            )  # fmt: skip
            raws = await asyncio.to_thread(read_raw, job)
        return [dead_record(job, index, *raws[index], reason, details[index]) for index in indexes]

    # ── applying ──

    async def _apply(self, reader: SpoolReader, work: Work) -> None:
        async with self.boundary.batch:
            began = self._clock.monotonic()
            changes = await self._applier.apply(work)
            self._batch_seconds = self._clock.monotonic() - began
            self._last_batch_at = self._clock.now()
            self._rates.add("records", work.records)
            self._rates.add("events", len(work.batch.events))
            for failure in work.failures:
                known = self._failures.setdefault(failure.name, ProcessorFailure(failure.name, 0, ""))
                known.times, known.detail = known.times + failure.times, failure.detail
            if work.retry is None:
                self._after = work.intent.after
                reader.acknowledge(work.intent.after, self._kept_bytes())
                self._checkpoint("acknowledged")
        if changes:
            self._on_changes(changes)

    def _kept_bytes(self) -> int:
        """How much of what is finished stays in the spool: nothing, unless an upgrade asks for it."""
        return self._keep_bytes if self._keep_file.exists() else 0

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)


class SpoolReplacedError(Exception):
    """Another spool lies in the directory now."""


__all__ = ["Pipeline", "PipelineStatus", "SpoolReplacedError", "WorkerStartError"]
