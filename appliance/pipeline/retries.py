"""Dead letters that somebody wants tried again: found, and decoded from their kept bytes into a batch of their own."""

from __future__ import annotations

import asyncio

from appliance.metadata.database import Database
from appliance.pipeline import dead_letters, intents
from appliance.pipeline.batches import Retry, Work, put_together
from appliance.pipeline.dead_letters import DeadLetterFiles, retry_batch_id
from appliance.pipeline.intents import Intent
from appliance.pipeline.isolate import dead_record
from appliance.pipeline.wire import Job
from appliance.pipeline.worker_process import DecodeWorker, WorkerDiedError


class Retries:
    """What waits to be tried again, one at a time."""

    def __init__(self, database: Database, files: DeadLetterFiles, worker: DecodeWorker, timeout: float) -> None:
        """Make it.

        Args:
            database: knows for which dead letters a retry was asked.
            files: their bytes.
            worker: decodes them.
            timeout: seconds that decoding one may take.
        """
        self._database = database
        self._files = files
        self._worker = worker
        self._timeout = timeout

    async def next(self) -> Work | None:
        """The oldest, decoded; None when there is none. Until it is applied it is the next again."""
        for retry in await dead_letters.waiting_retries(self._database, 1):
            return await self._decode(retry)
        return None

    async def bytes_of(self, retry: Retry) -> bytes:
        """Its record, as it came. Raises `FileNotFoundError`."""
        return await asyncio.to_thread(self._files.path(retry.record_id).read_bytes)

    async def _decode(self, retry: Retry) -> Work:
        intent = Intent(epoch=intents.RETRIES, segment=retry.id, start=0, end=0)
        batch_id = retry_batch_id(retry.record_id)
        path = self._files.path(retry.record_id)
        job = Job(batch_id=batch_id.to_bytes(16, "big"), directory=str(path), record_id=retry.record_id)
        try:
            await asyncio.to_thread(path.stat)
            decoded = await self._worker.decode(job, self._timeout)
        except (WorkerDiedError, FileNotFoundError) as error:
            reason, detail = "lost", f"its bytes are gone from {path.parent}; discard it"
            if isinstance(error, WorkerDiedError):
                reason, detail = error.reason, error.detail
            work = put_together(intent, (), batch_id=batch_id, recovered=True, retry=retry)
            work.dead.append(dead_record(job, 0, 0, b"", reason, detail))
            return work
        return put_together(intent, decoded.chunks, batch_id=batch_id, recovered=True, retry=retry)
