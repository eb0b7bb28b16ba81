"""Finds the records on which the decode worker dies, so that their neighbours are stored.

The first try takes the range as it is; the second goes record by record, so that the worker's marker names a suspect.
After that a suspect must fail alone to be blamed; where there is none, or it is innocent, the range is halved.
A record whose rows an earlier life of this process stored was decoded then: something else ended the worker, and it is
tried again. As a dead letter it would stand in the event store and in no counter.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import structlog
from msgspec.structs import replace

from appliance.pipeline.decode import record_id_of
from appliance.pipeline.wire import Chunk, DeadRecord, Job
from appliance.pipeline.worker_process import Decoded, DecodeWorker, WorkerDiedError
from appliance.spool.framing import SpoolRange
from appliance.spool.reader import read_records
from appliance.spool.record import SpooledRecord, SpooledRecordError, decode_record

ALONE_SHARE: Final = 4  # one record gets a quarter of a batch's time: what takes longer alone is the one that hangs
MIN_ALONE_SECONDS: Final = 1.0
MAX_SPARED: Final = 8  # deaths over records that are stored; beyond that a changed plugin cannot read them any more

log = structlog.get_logger(__name__)


class RangeDecoder:
    """Decodes one spool range, whatever is in it."""

    def __init__(
        self,
        worker: DecodeWorker,
        timeout: float,
        note_attempt: Callable[[], Awaitable[int]],
        is_stored: Callable[[DeadRecord], Awaitable[bool]],
        bury: Callable[[DeadRecord, int], Awaitable[None]],
    ) -> None:
        """Decode with these callbacks.

        Args:
            worker: runs the jobs.
            timeout: seconds for one job.
            note_attempt: makes another try durable before it begins; returns its number.
            is_stored: whether rows of a record are in the event store, as this batch's.
            bury: makes a dead letter, and the record's offset in the intent, durable.
        """
        self._worker = worker
        self._timeout = timeout
        self._note_attempt = note_attempt
        self._is_stored = is_stored
        self._bury = bury
        self._spared = 0

    async def decode(self, job: Job, attempt: int) -> Decoded:
        """Decode a job's records, burying those that kill the worker.

        Args:
            job: the whole range.
            attempt: the number of this try, which is durable already; above 2 the records are told apart at once.

        Raises:
            WorkerStartError: no worker can be had; no record is to blame.
        """
        while attempt <= 2:
            try:
                return await self._worker.decode(replace(job, careful=attempt > 1), self._timeout)
            except WorkerDiedError as error:
                log.warning(
                    "decode worker died", segment=job.segment, start=job.start, attempt=attempt, how=error.detail
                )
                attempt = await self._note_attempt()
        return await self._apart(job)

    async def _apart(self, job: Job) -> Decoded:
        raws = await asyncio.to_thread(read_raw, job)
        chunks: list[Chunk] = []
        left = job.max_output
        windows = [(0, len(raws))]
        while windows:
            first, last = windows.pop()
            if first >= last:
                continue
            try:
                found = await self._window(job, first, last, left)
            except WorkerDiedError as error:
                log.warning(
                    "decode worker died", segment=job.segment, start=job.start, records=[first, last],
                    suspect=error.suspect, how=error.detail,
                )  # fmt: skip
                windows += await self._narrowed(job, raws, first, last, error)
                continue
            chunks += found.chunks
            if found.end < job.end:
                return Decoded(chunks=chunks, end=found.end, records=found.records)
            if job.max_output:
                left = max(1, left - sum(chunk_bytes(chunk) for chunk in found.chunks))
        return Decoded(chunks=chunks, end=job.end, records=len(raws))

    async def _narrowed(
        self, job: Job, raws: list[tuple[int, bytes]], first: int, last: int, error: WorkerDiedError
    ) -> list[tuple[int, int]]:
        """The windows to try instead of one that killed the worker; the one to try first is the last."""
        suspect = error.suspect if error.suspect is not None and first <= error.suspect < last else None
        if last - first == 1:
            suspect = first
        elif suspect is not None:
            alone = await self._fails_alone(job, suspect)
            if alone is None:
                suspect = None
            else:
                error = alone
        if suspect is None:
            middle = (first + last) // 2
            return [(middle, last), (first, middle)]
        offset, payload = raws[suspect]
        dead = dead_record(job, suspect, offset, payload, error.reason, error.detail)
        stored = await self._is_stored(dead)
        if stored and self._spared < MAX_SPARED:
            self._spared += 1
            log.warning("record was decoded before and is tried again", segment=job.segment, offset=offset)
            return [(suspect + 1, last), (suspect, suspect + 1), (first, suspect)]
        log.warning(
            "record made a dead letter", segment=job.segment, offset=offset, reason=error.reason, how=error.detail,
            stored_but_not_counted=stored,
        )  # fmt: skip
        await self._bury(dead, offset)
        job.skip.append(offset)
        return [(suspect + 1, last), (first, suspect)]

    async def _fails_alone(self, job: Job, index: int) -> WorkerDiedError | None:
        try:
            await self._window(job, index, index + 1, 0)
        except WorkerDiedError as error:
            return error
        return None

    async def _window(self, job: Job, first: int, last: int, max_output: int) -> Decoded:
        timeout = self._timeout
        if last - first == 1:
            timeout = min(timeout, max(MIN_ALONE_SECONDS, timeout / ALONE_SHARE))
        window = replace(job, first=first, last=last, careful=True, max_output=max_output)
        return await self._worker.decode(window, timeout)


def read_raw(job: Job) -> list[tuple[int, bytes]]:
    """A range's records as they lie in the spool, by index; blocks."""
    return list(read_records(Path(job.directory), SpoolRange(job.segment, job.start, job.end, 0)))


def dead_record(job: Job, index: int, offset: int, payload: bytes, reason: str, detail: str) -> DeadRecord:
    """A dead letter from a record's bytes, as much of it as can be read without a plugin."""
    try:
        spooled = decode_record(payload)
    except SpooledRecordError:
        spooled = None
    if not isinstance(spooled, SpooledRecord):
        spooled = SpooledRecord(protocol="", route="", project_id=0, received_at=0)
    return DeadRecord(
        index=index,
        record_id=job.record_id or record_id_of(job.epoch, job.segment, offset),
        protocol=spooled.protocol,
        route=spooled.route,
        project_id=spooled.project_id,
        received_at=spooled.received_at,
        reason=reason,
        detail=detail,
        payload=payload,
    )


def chunk_bytes(chunk: Chunk) -> int:
    """What a chunk weighs, by its payloads and bodies."""
    return sum(len(row.payload) for row in chunk.batch.events) + sum(len(blob.body) for blob in chunk.blobs)
