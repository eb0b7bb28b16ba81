"""The spool's bytes: segment headers, record frames and the published state. Pure functions, no files.

A segment is one header and then frames. A frame's header has its own CRC, so that a reader can walk over records
without reading them and find its footing again behind a damaged one.
"""

from __future__ import annotations

import re
from struct import Struct as Layout
from typing import Final

from isal.isal_zlib import crc32  # pyright: ignore[reportUnknownVariableType] - zlib's, ten times as fast
from msgspec import Struct

MIB: Final = 1024 * 1024
SEGMENT_MAGIC: Final = b"CNDVSEG1"
STATE_MAGIC: Final = b"CNDVSTA1"
FRAME_MAGIC: Final = 0x52_43_4E_F1  # begins with F1 on disk: rare in text, so that a search for it is quick
FRAME_MAGIC_BYTES: Final = FRAME_MAGIC.to_bytes(4, "little")
MAX_RECORD_BYTES: Final = 64 * MIB  # far above any accepted body; a length beyond it is damage
MAX_SEGMENT_NUMBER: Final = 2**32 - 1  # segment and offset fill 32 bits each of a batch id

_SEGMENT: Final = Layout("<8sQIIQQI")  # magic, epoch, number, previous, previous_end, first_sequence, crc
_FRAME: Final = Layout("<IIQQI")  # magic, length, sequence, time, payload crc; its own crc follows
_CRC: Final = Layout("<I")
_STATE: Final = Layout("<8sQIIQQ")  # magic, epoch, highest, segment, offset, next_sequence; crc follows

SEGMENT_HEADER: Final = _SEGMENT.size
FRAME_HEADER: Final = _FRAME.size + _CRC.size
STATE_SIZE: Final = _STATE.size + _CRC.size
_SEGMENT_NAME: Final = re.compile(r"([0-9]{10})\.seg")


class Position(Struct, frozen=True, order=True):
    """A place between two records: everything before it is done."""

    segment: int
    offset: int


class SpoolRange(Struct, frozen=True):
    """Consecutive records of one segment. `records` may be 0 where all that was there is damaged."""

    segment: int
    start: int
    end: int
    records: int

    @property
    def after(self) -> Position:
        """The position to go on from when this range is done."""
        return Position(self.segment, self.end)


class SegmentHeader(Struct, frozen=True):
    """The start of a segment. It also seals the one before: `previous_end` is where that one's good records end."""

    epoch: int
    number: int
    previous: int  # 0: none
    previous_end: int
    first_sequence: int


class FrameHeader(Struct, frozen=True):
    """What stands before a record."""

    length: int  # of the payload
    sequence: int  # records since the epoch began
    time: int  # µs, when it was written
    payload_crc: int


class SpoolState(Struct, frozen=True):
    """What the writer publishes after each commit: readers stop at `segment`, `offset`."""

    epoch: int
    highest: int = 0  # the highest segment number ever given; none is used twice
    segment: int = 0  # 0: nothing was ever written
    offset: int = 0
    next_sequence: int = 0

    @property
    def end(self) -> Position:
        """Where readers stop."""
        return Position(self.segment, self.offset)


def segment_name(number: int) -> str:
    """File name of a segment; names sort like numbers."""
    return f"{number:010}.seg"


def segment_number(name: str) -> int | None:
    """The number in a segment's file name; None for other files."""
    match = _SEGMENT_NAME.fullmatch(name)
    return int(match[1]) if match else None


def pack_segment_header(header: SegmentHeader) -> bytes:
    """Bytes of a segment's start."""
    fields = (header.epoch, header.number, header.previous, header.previous_end, header.first_sequence)
    unsigned = _SEGMENT.pack(SEGMENT_MAGIC, *fields, 0)[: -_CRC.size]
    return unsigned + _CRC.pack(crc32(unsigned))


def unpack_segment_header(data: bytes) -> SegmentHeader | None:
    """Read a segment's start; None when it is torn or damaged."""
    if len(data) != SEGMENT_HEADER:
        return None
    magic, epoch, number, previous, previous_end, first_sequence, crc = _SEGMENT.unpack(data)
    if magic != SEGMENT_MAGIC or crc != crc32(data[: -_CRC.size]):
        return None
    return SegmentHeader(epoch, number, previous, previous_end, first_sequence)


def pack_frame_header(payload: bytes, sequence: int, time: int) -> bytes:
    """Bytes that go before `payload`."""
    unsigned = _FRAME.pack(FRAME_MAGIC, len(payload), sequence, time, crc32(payload))
    return unsigned + _CRC.pack(crc32(unsigned))


def unpack_frame_header(data: bytes) -> FrameHeader | None:
    """Read a frame's header; None when it is torn or damaged."""
    if len(data) != FRAME_HEADER:
        return None
    magic, length, sequence, time, payload_crc = _FRAME.unpack_from(data)
    if (
        magic != FRAME_MAGIC
        or length > MAX_RECORD_BYTES
        or _CRC.unpack_from(data, _FRAME.size)[0] != crc32(data[: _FRAME.size])
    ):
        return None
    return FrameHeader(length, sequence, time, payload_crc)


def payload_is_whole(frame: FrameHeader, payload: bytes) -> bool:
    """Whether these are the bytes that were written."""
    return len(payload) == frame.length and crc32(payload) == frame.payload_crc


def pack_state(state: SpoolState) -> bytes:
    """Bytes of the state file."""
    data = _STATE.pack(STATE_MAGIC, state.epoch, state.highest, state.segment, state.offset, state.next_sequence)
    return data + _CRC.pack(crc32(data))


def unpack_state(data: bytes) -> SpoolState | None:
    """Read the state file; None when it is torn or damaged."""
    if len(data) != STATE_SIZE:
        return None
    magic, epoch, highest, segment, offset, next_sequence = _STATE.unpack_from(data)
    if magic != STATE_MAGIC or _CRC.unpack_from(data, _STATE.size)[0] != crc32(data[: _STATE.size]):
        return None
    return SpoolState(epoch, highest, segment, offset, next_sequence)
