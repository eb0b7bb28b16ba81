"""The spool's one writer: append, and the group commit that makes it durable.

`SpoolWriter.append` returns after fdatasync. A thread does all writing, so that the event loop never waits for a disk;
what queued during one fdatasync is the next commit, and no timer delays anything. A segment on which a write or a sync
failed is closed and never touched again, because the kernel may have dropped what it could not write: the waiting
appends fail, and the next commit begins a new segment.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from pathlib import Path
from typing import Final, TypeAlias

import structlog
from msgspec.structs import replace

from appliance.clock import SystemClock
from appliance.hookspecs import Clock
from appliance.spool.files import DISK, Files, OpenFile
from appliance.spool.framing import (
    FRAME_HEADER,
    MAX_RECORD_BYTES,
    MAX_SEGMENT_NUMBER,
    MIB,
    SEGMENT_HEADER,
    SegmentHeader,
    SpoolState,
    pack_frame_header,
    pack_segment_header,
)
from appliance.spool.layout import (
    LOCK_FILE,
    SpoolBusyError,
    SpoolFailedError,
    SpoolFullError,
    StateFile,
    ensure_epoch,
    segment_numbers,
    segment_path,
)
from appliance.spool.recovery import recover

SEGMENT_BYTES: Final = 64 * MIB  # big enough that making one is rare, small enough that room comes back in steps
SEGMENT_SHARE: Final = 8  # … and at most an eighth of the spool, for small spools
COMMIT_BYTES: Final = 8 * MIB  # one write: above this a commit only grows its own latency
MEASURE_SECONDS: Final = 0.25  # how old the count of used and free bytes may be
RETRY_SECONDS: Final = (
    0.0,
    0.1,
    0.5,
    2.0,
    5.0,
)  # after so many failures in a row: a dead disk is not asked 10,000 times a second

_Waiting: TypeAlias = "tuple[bytes, asyncio.Future[None]]"
_MEASURE: Final = object()
_STOP: Final = object()

log = structlog.get_logger(__name__)


class SpoolWriter:
    """Appends records. Made by `open`; used from one event loop; one per directory."""

    def __init__(
        self, directory: Path, files: Files, clock: Clock, lock: OpenFile, state_file: StateFile, state: SpoolState,
        max_bytes: int, min_free_bytes: int,
    ) -> None:  # fmt: skip
        """Not for callers: `open` does what must come first."""
        self.epoch = state.epoch
        self._directory = directory
        self._files = files
        self._clock = clock
        self._lock = lock
        self._state_file = state_file
        self._state = state
        self._max_bytes = max_bytes
        self._min_free_bytes = min_free_bytes
        self._segment_bytes = min(SEGMENT_BYTES, max(max_bytes // SEGMENT_SHARE, 1))
        self._file: OpenFile | None = None
        self._number = 0  # of the open segment
        self._offset = 0  # its length
        self._queue: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._pending = 0  # bytes queued and not yet resolved; the loop's
        self._used = 0  # bytes on disk; the thread's
        self._capacity = 0
        self._measured = 0.0
        self._measuring = False
        self._failures = 0  # in a row
        self._retry_at = 0.0
        self._closed = False
        self.problem = ""  # one sentence while the disk refuses; "" when all is well
        self._thread = threading.Thread(target=self._run, name="spool-writer", daemon=True)

    @classmethod
    def open(
        cls,
        directory: Path,
        *,
        max_bytes: int,
        min_free_bytes: int,
        files: Files = DISK,
        clock: Clock | None = None,
    ) -> SpoolWriter:
        """Lock the spool, recover it and start the writer. Blocks while it reads the last segment: call before serving.

        Args:
            directory: made when it is not there.
            max_bytes: of all segments together.
            min_free_bytes: of the disk, left for others.
            files: the disk, or a test's.
            clock: stamps each record; its age is measured from that.

        Raises:
            SpoolBusyError: another process writes here.
            OSError: the disk refuses.
        """
        files.make_directory(directory)
        try:
            lock = files.lock(directory / LOCK_FILE)
        except BlockingIOError as error:
            raise SpoolBusyError(
                f"{directory} has a writer already: stop the other `condev serve` that uses this data directory"
            ) from error
        try:
            epoch = ensure_epoch(files, directory)
            state_file = StateFile.ensure(files, directory)
            state = recover(files, directory, epoch, state_file)
            writer = cls(directory, files, clock or SystemClock(), lock, state_file, state, max_bytes, min_free_bytes)
            writer.measure()
        except BaseException:
            lock.close()
            raise
        writer._thread.start()
        return writer

    async def append(self, payload: bytes) -> None:
        """Make one record durable.

        Raises:
            SpoolFullError: no room; nothing was written.
            SpoolFailedError: the disk refused, or the spool is closed; the record will not be read.
        """
        if self._closed:
            raise SpoolFailedError("the spool is closed: the appliance is stopping")
        size = FRAME_HEADER + len(payload)
        if len(payload) > MAX_RECORD_BYTES:
            raise SpoolFullError(f"a record of {len(payload)} bytes; at most {MAX_RECORD_BYTES} fit")
        self._freshen()
        if self._used + self._pending + size > self._capacity:
            raise SpoolFullError(
                "the spool is full: raise [ingest] spool_max_bytes, free disk, or see why the pipeline stands still"
            )
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pending += size
        self._queue.put((payload, future))
        await future

    def level(self) -> float:
        """How full it is, 0 to 1: of `max_bytes`, or of what the disk has above `min_free_bytes` if that is less."""
        self._freshen()
        if self._capacity <= 0:
            return 1.0
        return min(1.0, (self._used + self._pending) / self._capacity)

    @property
    def healthy(self) -> bool:
        """Whether the last commit went through."""
        return not self._closed and not self._failures

    def measure(self) -> None:
        """Count used and free bytes now. The writer's thread does so by itself, several times a second."""
        used = sum(
            self._files.size(segment_path(self._directory, n)) for n in segment_numbers(self._files, self._directory)
        )
        free = self._files.free_bytes(self._directory)
        self._capacity = max(0, min(self._max_bytes, used + free - self._min_free_bytes))
        self._used = used
        self._measured = time.monotonic()

    async def close(self) -> None:
        """Write what is queued, then release the directory."""
        if self._closed:
            return
        self._closed = True
        self._queue.put(_STOP)
        await asyncio.to_thread(self._thread.join)

    def _freshen(self) -> None:
        if not self._measuring and time.monotonic() - self._measured > MEASURE_SECONDS:
            self._measuring = True
            self._queue.put(_MEASURE)

    # ── below: the writer's thread ──

    def _run(self) -> None:
        running = True
        while running:
            waiting, running = self._take()
            if waiting:
                self._commit(waiting)
        self._close_segment()
        self._state_file.close()
        self._lock.close()

    def _take(self) -> tuple[list[_Waiting], bool]:
        """Wait for work; then all that is there, up to one commit's worth. False when it was told to stop."""
        waiting: list[_Waiting] = []
        size = 0
        entry = self._queue.get()
        while True:
            if entry is _STOP:
                return waiting, False
            if entry is _MEASURE:
                self._measure_quietly()
            else:
                waiting.append(entry)  # pyright: ignore[reportArgumentType]
                size += len(waiting[-1][0])
            if size >= COMMIT_BYTES:
                return waiting, True
            try:
                entry = self._queue.get_nowait()
            except queue.Empty:
                return waiting, True

    def _measure_quietly(self) -> None:
        try:
            self.measure()
        except OSError as error:
            self.problem = f"the spool's directory cannot be read: {error}"
            self._measured = time.monotonic()
        finally:
            self._measuring = False
        if self._failures and self._file is None and self._retry_at <= time.monotonic():
            # Whoever asks for our health must see it come back, though nobody sends to us while we are unwell.
            try:
                self._begin_segment()
            except OSError as error:
                self._fail(error)
            else:
                self._recovered()

    def _commit(self, waiting: list[_Waiting]) -> None:
        failure: SpoolFailedError | None = None
        if self._file is None and self._retry_at > time.monotonic():
            failure = SpoolFailedError(self.problem)
        else:
            try:
                self._write(waiting)
            except Exception as error:  # noqa: BLE001 - whatever it was, those who wait must be answered
                failure = self._fail(error)
            else:
                self._recovered()
        # RuntimeError: the loop is closed; nobody waits any more.
        with contextlib.suppress(RuntimeError):
            waiting[0][1].get_loop().call_soon_threadsafe(self._resolve, waiting, failure)

    def _write(self, waiting: list[_Waiting]) -> None:
        """One write, one fdatasync, one publication."""
        file = self._file
        if file is None or self._offset >= self._segment_bytes:
            file = self._begin_segment()
        sequence, now = self._state.next_sequence, self._clock.now()
        parts: list[bytes] = []
        for payload, _ in waiting:
            parts.append(pack_frame_header(payload, sequence, now))
            parts.append(payload)
            sequence += 1
        file.append(parts)
        file.sync()
        size = sum(map(len, parts))
        offset = self._offset + size
        state = replace(self._state, segment=self._number, offset=offset, next_sequence=sequence)
        self._state_file.write(state)
        self._state = state
        self._offset = offset
        self._used += size

    def _begin_segment(self) -> OpenFile:
        """Close the old segment, make the next. Its number is durable before it is used, so that none is used twice."""
        self._close_segment()
        number = self._state.highest + 1
        if number > MAX_SEGMENT_NUMBER:
            raise OSError("all segment numbers are used; move the spool's directory away when it is empty")
        self._state = replace(self._state, highest=number)
        self._state_file.write(self._state)
        self._state_file.sync()
        # The state still names the last segment that has acknowledged records: the new header seals that one.
        header = SegmentHeader(self.epoch, number, self._state.segment, self._state.offset, self._state.next_sequence)
        file = self._files.create(segment_path(self._directory, number))
        self._file, self._number, self._offset = file, number, SEGMENT_HEADER
        file.append([pack_segment_header(header)])
        file.sync()
        self._files.sync_directory(self._directory)
        return file

    def _fail(self, error: Exception) -> SpoolFailedError:
        """Leave the segment for good. What was not acknowledged is cut off, as far as the disk still allows it."""
        file = self._file
        if file is not None:
            with contextlib.suppress(OSError):
                if self._state.segment == self._number:
                    file.truncate(self._state.offset)
                else:
                    self._files.remove(segment_path(self._directory, self._number))
        self._close_segment()
        delay = RETRY_SECONDS[min(self._failures, len(RETRY_SECONDS) - 1)]
        self._failures += 1
        self._retry_at = time.monotonic() + delay
        why = (error.strerror if isinstance(error, OSError) else None) or repr(error)
        self.problem = f"the spool cannot write to {self._directory}: {why}; free or replace the disk"
        if self._failures == 1:
            log.error("spool_write_failed", directory=str(self._directory), error=str(error), segment=self._number)
        return SpoolFailedError(self.problem)

    def _recovered(self) -> None:
        if self._failures:
            log.info("spool_writes_again", segment=self._number, failures=self._failures)
            self._failures = 0
            self.problem = ""

    def _close_segment(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):
                file.close()

    def _resolve(self, waiting: list[_Waiting], failure: SpoolFailedError | None) -> None:
        """On the loop: one call for a whole commit."""
        for payload, future in waiting:
            self._pending -= FRAME_HEADER + len(payload)
            if future.done():  # its request was cancelled meanwhile
                continue
            if failure is None:
                future.set_result(None)
            else:
                future.set_exception(failure)
