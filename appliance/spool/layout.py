"""The spool's directory: who may name it (epoch), how far it is written (state), which segments count (chain), and
walking over the frames of a segment. Shared by the writer, its recovery and the reader.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from msgspec import Struct

from appliance.spool.files import Files, OpenFile
from appliance.spool.framing import (
    FRAME_HEADER,
    FRAME_MAGIC_BYTES,
    MIB,
    SEGMENT_HEADER,
    STATE_SIZE,
    FrameHeader,
    SegmentHeader,
    SpoolState,
    pack_state,
    segment_name,
    segment_number,
    unpack_frame_header,
    unpack_segment_header,
    unpack_state,
)

EPOCH_FILE: Final = "epoch"
STATE_FILE: Final = "state"
LOCK_FILE: Final = "lock"
STATE_READS: Final = 5  # a read that met a write half done finds it whole the next time


class SpoolError(Exception):
    """The spool cannot do what was asked; the text says what to do."""


class SpoolFullError(SpoolError):
    """No room: by `spool_max_bytes` or by free disk. Nothing was written."""


class SpoolFailedError(SpoolError):
    """The disk refused. The record is not durable and will not be read."""


class SpoolBusyError(SpoolError):
    """Another process writes to this spool."""


class Damage(Struct, frozen=True):
    """Bytes below the synced offset that are not what was written: a failing disk, or a foreign hand."""

    segment: int
    start: int
    end: int


class Sealed(Struct, frozen=True):
    """A segment that counts, and where its acknowledged records end."""

    number: int
    end: int


OnDamage = Callable[[Damage], None]


def ensure_epoch(files: Files, directory: Path) -> int:
    """Read the spool's random 64-bit name, or give it one. Two processes that start at once agree."""
    path = directory / EPOCH_FILE
    with contextlib.suppress(FileNotFoundError):
        return _read_epoch(files, path)
    temporary = directory / f".{EPOCH_FILE}.{os.getpid()}.{secrets.token_hex(4)}"
    file = files.create(temporary)
    try:
        # Never 0: that stands for "no spool" in places that need a default.
        file.append([b"%016x\n" % (secrets.randbits(64) or 1)])
        file.sync()
    finally:
        file.close()
    with contextlib.suppress(FileExistsError):
        files.link(temporary, path)
    files.remove(temporary)
    files.sync_directory(directory)
    files.sync_directory(directory.parent)
    return _read_epoch(files, path)


def _read_epoch(files: Files, path: Path) -> int:
    file = files.open(path)
    try:
        text = file.read_at(64, 0)
    finally:
        file.close()
    try:
        return int(text.decode("ascii"), 16)
    except ValueError as error:
        raise SpoolError(
            f"{path} is damaged; restore it from a backup, or move the whole spool directory away to begin anew"
        ) from error


class StateFile:
    """The published state, rewritten in place: one small sector, so a crash leaves the old or the new."""

    def __init__(self, file: OpenFile) -> None:
        self._file = file

    @classmethod
    def open(cls, files: Files, directory: Path) -> StateFile:
        """Raises FileNotFoundError before the first writer."""
        return cls(files.open(directory / STATE_FILE))

    @classmethod
    def ensure(cls, files: Files, directory: Path) -> StateFile:
        """Open it, or make it empty; for the writer, which holds the lock."""
        path = directory / STATE_FILE
        try:
            return cls(files.open(path))
        except FileNotFoundError:
            file = files.create(path)
            file.append([bytes(STATE_SIZE)])
            file.sync()
            file.close()
            files.sync_directory(directory)
            return cls(files.open(path))

    def read(self) -> SpoolState | None:
        """None when it was never written or is damaged."""
        for _ in range(STATE_READS):
            state = unpack_state(self._file.read_at(STATE_SIZE, 0))
            if state is not None:
                return state
        return None

    def write(self, state: SpoolState) -> None:
        """Publish. Not synced: recovery reads the frames behind a stale state anyway."""
        self._file.write_at(pack_state(state), 0)

    def sync(self) -> None:
        """Make it durable, where a number must not be given twice."""
        self._file.sync()

    def close(self) -> None:
        """Release the file."""
        self._file.close()


def segment_numbers(files: Files, directory: Path) -> list[int]:
    """The numbers of all segment files, ascending."""
    return sorted(number for name in files.names(directory) if (number := segment_number(name)) is not None)


def segment_path(directory: Path, number: int) -> Path:
    """Where a segment lies."""
    return directory / segment_name(number)


def read_segment_header(files: Files, directory: Path, number: int, epoch: int) -> SegmentHeader | None:
    """The header of a segment; None when it is gone, damaged, or of another spool."""
    try:
        file = files.open(segment_path(directory, number))
    except FileNotFoundError:
        return None
    try:
        header = unpack_segment_header(file.read_at(SEGMENT_HEADER, 0))
    finally:
        file.close()
    return header if header and header.epoch == epoch and header.number == number else None


class Chain:
    """Which segments count. Each header seals the segment before; what a failed attempt left behind is not in it."""

    def __init__(self, files: Files, directory: Path, epoch: int) -> None:
        self._files = files
        self._directory = directory
        self._epoch = epoch
        self._headers: dict[int, SegmentHeader] = {}

    def segments(self, state: SpoolState) -> list[Sealed]:
        """All segments from the oldest that is still there to the one being written."""
        present = segment_numbers(self._files, self._directory)
        self._headers = {number: header for number, header in self._headers.items() if number in set(present)}
        known = set(present)
        chain: list[Sealed] = []
        number, end = state.segment, state.offset
        while number in known:
            chain.append(Sealed(number, end))
            header = self._header(number)
            if header is not None:
                number, end = header.previous, header.previous_end
                continue
            # Its own records are sealed by its successor; only the way down is lost. Take the next file below, whole.
            lower = [other for other in present if other < number]
            number = lower[-1] if lower else 0
            end = self._files.size(segment_path(self._directory, number)) if number else 0
        chain.reverse()
        return chain

    def _header(self, number: int) -> SegmentHeader | None:
        header = self._headers.get(number) or read_segment_header(self._files, self._directory, number, self._epoch)
        if header is not None:
            self._headers[number] = header
        return header


def walk(file: OpenFile, segment: int, start: int, end: int, on_damage: OnDamage) -> Iterator[tuple[int, FrameHeader]]:
    """Frame headers between two offsets, stepping over what is damaged. Payloads are not read.

    Args:
        file: the open segment.
        segment: its number, for `on_damage`.
        start: offset of a frame, or of damage.
        end: nothing at or behind it is read.
        on_damage: told each stretch that had to be skipped.
    """
    offset = start
    while offset + FRAME_HEADER <= end:
        header = unpack_frame_header(file.read_at(FRAME_HEADER, offset))
        if header is not None and offset + FRAME_HEADER + header.length <= end:
            yield offset, header
            offset += FRAME_HEADER + header.length
            continue
        found = _next_frame(file, offset + 1, end)
        on_damage(Damage(segment, offset, found))
        offset = found
    if offset < end:
        on_damage(Damage(segment, offset, end))


def _next_frame(file: OpenFile, start: int, end: int) -> int:
    """The offset of the next whole frame header; `end` when there is none."""
    offset = start
    while offset + FRAME_HEADER <= end:
        block = file.read_at(min(MIB, end - offset), offset)
        place = block.find(FRAME_MAGIC_BYTES)
        while place >= 0:
            header = unpack_frame_header(file.read_at(FRAME_HEADER, offset + place))
            if header is not None and offset + place + FRAME_HEADER + header.length <= end:
                return offset + place
            place = block.find(FRAME_MAGIC_BYTES, place + 1)
        if len(block) < FRAME_HEADER:
            break
        offset += len(block) - len(FRAME_MAGIC_BYTES) + 1  # a magic may lie across two blocks
    return end
