"""Reading the spool: ranges for the pipeline, their records for the decode worker, acknowledging, depth.

A reader sees only what the writer published as synced, in this process or another. Not thread-safe; one reader
acknowledges.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import structlog
from msgspec import Struct

from appliance.clock import SystemClock
from appliance.hookspecs import Clock
from appliance.spool.files import DISK, Files
from appliance.spool.framing import (
    FRAME_HEADER,
    SEGMENT_HEADER,
    FrameHeader,
    Position,
    SpoolRange,
    SpoolState,
    payload_is_whole,
    unpack_frame_header,
)
from appliance.spool.layout import (
    Chain,
    Damage,
    OnDamage,
    Sealed,
    StateFile,
    ensure_epoch,
    segment_numbers,
    segment_path,
    walk,
)

POLL_SECONDS: Final = (
    0.005,
    0.01,
    0.02,
    0.05,
)  # a look is one 44-byte read: 20 a second cost nothing

log = structlog.get_logger(__name__)


class SpoolDepth(Struct, frozen=True):
    """What waits to be processed."""

    records: int
    bytes: int
    oldest_seconds: float  # 0 when nothing waits


def log_damage(damage: Damage) -> None:
    """What `read_records` does about damage unless told otherwise."""
    log.error(
        "spool_damaged", segment=damage.segment, start=damage.start, end=damage.end, bytes=damage.end - damage.start,
        mend="check the disk; these records are lost, the rest goes on",
    )  # fmt: skip


def _ignore(damage: Damage) -> None:
    """For looks that do not consume: the read that does consume reports."""


def read_records(
    directory: Path, spool_range: SpoolRange, *, files: Files = DISK, on_damage: OnDamage = log_damage
) -> Iterator[tuple[int, bytes]]:
    """The records of a range, each with its offset; what is damaged is skipped and reported.

    Args:
        directory: the spool's.
        spool_range: from `SpoolReader.next_range`, or from an intent.
        files: the disk, or a test's.
        on_damage: told each stretch that is not what was written.

    Raises:
        FileNotFoundError: the segment is gone: the range was acknowledged before.
    """
    file = files.open(segment_path(directory, spool_range.segment))
    try:
        for offset, header in walk(file, spool_range.segment, spool_range.start, spool_range.end, on_damage):
            payload = file.read_at(header.length, offset + FRAME_HEADER)
            if payload_is_whole(header, payload):
                yield offset, payload
            else:
                on_damage(Damage(spool_range.segment, offset, offset + FRAME_HEADER + header.length))
    finally:
        file.close()


class SpoolReader:
    """Where the pipeline gets its work. Made by `open`; the spool need not have a writer yet."""

    def __init__(self, directory: Path, epoch: int, files: Files, clock: Clock) -> None:
        """Not for callers: use `open`."""
        self.epoch = epoch
        self._directory = directory
        self._files = files
        self._clock = clock
        self._chain = Chain(files, directory, epoch)
        self._state_file: StateFile | None = None
        self._state = SpoolState(epoch)
        self.keeps = True  # whether finished segments may lie here still: an earlier process may have kept some

    @classmethod
    def open(cls, directory: Path, *, files: Files = DISK, clock: Clock | None = None) -> SpoolReader:
        """Open a spool, making the empty directory and its epoch when this is the first process to come.

        Raises:
            OSError, SpoolError: it cannot be read; the text says which file.
        """
        files.make_directory(directory)
        return cls(directory, ensure_epoch(files, directory), files, clock or SystemClock())

    def next_range(self, after: Position | None, max_records: int, max_bytes: int) -> SpoolRange | None:
        """The next records behind `after`, all of one segment; None when there is nothing yet.

        Args:
            after: the end of what is done; None for the oldest that is kept.
            max_records: at most so many.
            max_bytes: at most so many bytes, but always at least one record.

        Returns:
            A range whose `after` property is where to go on. It has 0 records where all of it is damaged.
        """
        state = self._published()
        if not _behind(after, state):
            return None
        for segment, start in self._unread(after, state):
            found = self._measure(segment, start, max_records, max_bytes)
            if found is not None:
                return found
        return None

    def acknowledge(self, position: Position, keep_bytes: int = 0) -> None:
        """Everything before `position` is in both stores: unlink the segments that lie wholly before it.

        Args:
            position: the end of what is applied.
            keep_bytes: of those segments the newest that fit into so many bytes stay, for stores that may have to go
                back to a backup. The next call without it removes them.
        """
        gone = [number for number in segment_numbers(self._files, self._directory) if number < position.segment]
        state = self._published()
        if state.segment > position.segment:
            ends = {sealed.number: sealed.end for sealed in self._chain.segments(state)}
            if position.offset >= ends.get(position.segment, position.offset + 1):
                gone.append(position.segment)
        gone = self._beyond(gone, keep_bytes)
        for number in gone:
            self._files.remove(segment_path(self._directory, number))
        if gone:
            self._files.sync_directory(self._directory)

    def _beyond(self, done: list[int], keep_bytes: int) -> list[int]:
        """Of finished segments, ascending, the older ones that do not fit into `keep_bytes` with the newer."""
        self.keeps = False
        room = keep_bytes
        for place in range(len(done) - 1, -1, -1):
            room -= self._files.size(segment_path(self._directory, done[place]))
            if room < 0:
                return done[: place + 1]
            self.keeps = True
        return []

    def depth(self, after: Position | None) -> SpoolDepth:
        """What lies behind `after`. Reads one frame header, however much waits."""
        state = self._published()
        if not _behind(after, state):
            return SpoolDepth(0, 0, 0.0)
        unread = self._unread(after, state)
        first = self._first_frame(unread)
        if first is None:
            return SpoolDepth(0, 0, 0.0)
        waiting = sum(segment.end - start for segment, start in unread)
        age = max(0.0, (self._clock.now() - first.time) / 1_000_000)
        return SpoolDepth(max(0, state.next_sequence - first.sequence), waiting, age)

    async def wait(self, after: Position | None, timeout: float) -> bool:
        """Return True as soon as there is something behind `after`, False after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        for attempt in range(1_000_000_000):
            if _behind(after, self._published()):
                return True
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return False
            await asyncio.sleep(min(remaining, POLL_SECONDS[min(attempt // 4, len(POLL_SECONDS) - 1)]))
        return False

    def close(self) -> None:
        """Release what is open."""
        if self._state_file is not None:
            self._state_file.close()
            self._state_file = None

    def _published(self) -> SpoolState:
        """The writer's last word; the one before when this one cannot be read."""
        if self._state_file is None:
            try:
                self._state_file = StateFile.open(self._files, self._directory)
            except FileNotFoundError:
                return self._state
        state = self._state_file.read()
        if state is not None and state.epoch == self.epoch:
            self._state = state
        return self._state

    def _unread(self, after: Position | None, state: SpoolState) -> list[tuple[Sealed, int]]:
        """Segments with something behind `after`, each with the offset to begin at."""
        unread: list[tuple[Sealed, int]] = []
        for sealed in self._chain.segments(state):
            start = after.offset if after is not None and sealed.number == after.segment else SEGMENT_HEADER
            if (after is None or sealed.number >= after.segment) and start < sealed.end:
                unread.append((sealed, start))
        return unread

    def _measure(self, segment: Sealed, start: int, max_records: int, max_bytes: int) -> SpoolRange | None:
        """How far a range may go. None when the segment was unlinked between listing and opening."""
        try:
            file = self._files.open(segment_path(self._directory, segment.number))
        except FileNotFoundError:
            return None
        records, end = 0, start
        try:
            for offset, header in walk(file, segment.number, start, segment.end, _ignore):
                after = offset + FRAME_HEADER + header.length
                if records == max_records or (records and after - start > max_bytes):
                    return SpoolRange(segment.number, start, end, records)
                records, end = records + 1, after
        finally:
            file.close()
        return SpoolRange(segment.number, start, segment.end, records)

    def _first_frame(self, unread: list[tuple[Sealed, int]]) -> FrameHeader | None:
        for segment, start in unread:
            try:
                file = self._files.open(segment_path(self._directory, segment.number))
            except FileNotFoundError:
                continue
            try:
                header = unpack_frame_header(file.read_at(FRAME_HEADER, start))
                if header is None:  # damage at the very place: look behind it
                    header = next((h for _, h in walk(file, segment.number, start, segment.end, _ignore)), None)
            finally:
                file.close()
            if header is not None:
                return header
        return None


def _behind(after: Position | None, state: SpoolState) -> bool:
    """Whether the writer has published anything behind `after`."""
    return state.segment > 0 and (after is None or after < state.end)
