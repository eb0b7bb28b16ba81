"""Frames over the two pipes between the pipeline and its decode worker: many in one system call, through one buffer.

A frame is its length (4 bytes, little-endian) and a message of `wire`. The worker's frames are small, so that what they
hold stays in its cache; going through the pipe one by one they would cost more than decoding them.
"""

from __future__ import annotations

import os
import select
import struct
import time
from typing import Final

import msgspec

from appliance.pipeline.wire import Message, decode

MAX_FRAME: Final = 512 * 1024 * 1024  # a chunk is one record at least: 20 MiB of body as rows, with room
FLUSH_BYTES: Final = 256 * 1024  # a quarter of the pipe: the reader wakes up for some twenty events
MAX_PIECES: Final = 512  # of one writev; the system's limit is 1,024
BUFFER_BYTES: Final = 1 << 20  # what a pipe holds at most
_LENGTH: Final = struct.Struct("<I")


class PipeClosedError(Exception):
    """The other side is gone, or sent what no frame is."""


class PipeTimeoutError(Exception):
    """The other side said nothing in time."""


class FrameWriter:
    """Collects frames and writes them together."""

    def __init__(self, fd: int) -> None:
        """Args: fd: a pipe, closed by `close`."""
        self._fd = fd
        self._pieces: list[memoryview] = []
        self._bytes = 0

    def add(self, body: bytes) -> None:
        """Write a frame soon: when enough came together, or at the next `flush`; may block.

        Raises:
            PipeClosedError: nobody reads any more.
        """
        self._pieces += (memoryview(_LENGTH.pack(len(body))), memoryview(body))
        self._bytes += len(body)
        if self._bytes >= FLUSH_BYTES or len(self._pieces) >= MAX_PIECES:
            self.flush()

    def send(self, body: bytes) -> None:
        """Write a frame and what waits before it; blocks. Raises as `add`."""
        self.add(body)
        self.flush()

    def close(self) -> None:
        """Close the pipe."""
        os.close(self._fd)

    def flush(self) -> None:
        """Write what waits; blocks. Raises as `add`."""
        pieces, self._pieces, self._bytes = self._pieces, [], 0
        done = 0
        try:
            while done < len(pieces):
                written = os.writev(self._fd, pieces[done:])
                while done < len(pieces) and written >= len(pieces[done]):
                    written -= len(pieces[done])
                    done += 1
                if written:
                    pieces[done] = pieces[done][written:]
        except BrokenPipeError as error:
            raise PipeClosedError from error


class FrameReader:
    """Reads as much as is there and gives it out frame by frame. The buffer is kept: a new one costs page faults."""

    def __init__(self, fd: int, buffer_bytes: int = BUFFER_BYTES) -> None:
        """Args: fd: a pipe, closed by `close`."""
        self._fd = fd
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)
        self._buffer = memoryview(bytearray(buffer_bytes))
        self._start = self._end = 0  # what is read and not given out yet

    def receive(self, deadline: float | None = None) -> Message:
        """Read one frame; blocks.

        Args:
            deadline: on the monotonic clock, in seconds; None waits for ever.

        Raises:
            PipeClosedError: the other side is gone, or sent what no frame is.
            PipeTimeoutError: the deadline passed.
        """
        self._fill(_LENGTH.size, deadline)
        (length,) = _LENGTH.unpack_from(self._buffer, self._start)
        self._start += _LENGTH.size
        if length > MAX_FRAME:
            raise PipeClosedError(f"a frame of {length} bytes")
        body = self._large(length, deadline) if length > len(self._buffer) else self._take(length, deadline)
        try:
            return decode(body)
        except msgspec.DecodeError as error:
            raise PipeClosedError(f"a frame that cannot be read: {error}") from error

    def close(self) -> None:
        """Close the pipe."""
        os.close(self._fd)

    def _take(self, size: int, deadline: float | None) -> memoryview:
        self._fill(size, deadline)
        self._start += size
        return self._buffer[self._start - size : self._start]

    def _fill(self, size: int, deadline: float | None) -> None:
        """Have at least `size` bytes in the buffer, which can hold them."""
        if len(self._buffer) - self._start < size:
            left = self._end - self._start
            self._buffer[:left] = bytes(self._buffer[self._start : self._end])
            self._start, self._end = 0, left
        while self._end - self._start < size:
            self._end += self._read(self._buffer[self._end :], deadline)

    def _large(self, size: int, deadline: float | None) -> memoryview:
        """A frame larger than the buffer, in one of its own."""
        body = memoryview(bytearray(size))
        done = self._end - self._start
        body[:done] = self._buffer[self._start : self._end]
        self._start = self._end = 0
        while done < size:
            done += self._read(body[done : done + BUFFER_BYTES], deadline)
        return body

    def _read(self, into: memoryview, deadline: float | None) -> int:
        if deadline is not None:
            left = deadline - time.monotonic()
            if left <= 0 or not self._poll.poll(left * 1000):
                raise PipeTimeoutError
        count = os.readv(self._fd, [into])
        if count == 0:
            raise PipeClosedError
        return count
