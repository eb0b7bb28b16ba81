"""Frames through a real pipe: small ones together, large ones whole, torn ones and closed ends told apart."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator

import pytest

from appliance.model import Batch
from appliance.pipeline.pipes import (
    BUFFER_BYTES,
    FLUSH_BYTES,
    MAX_PIECES,
    FrameReader,
    FrameWriter,
    PipeClosedError,
    PipeTimeoutError,
)
from appliance.pipeline.wire import Chunk, DeadRecord, Ready, encode


def ready(number: int, size: int = 0) -> Ready:
    return Ready(error=f"{number}:" + "x" * size)


@pytest.fixture
def pipe() -> Iterator[tuple[FrameWriter, FrameReader]]:
    theirs, ours = os.pipe()
    writer, reader = FrameWriter(ours), FrameReader(theirs)
    yield writer, reader
    reader.close()
    writer.close()


def test_frames_arrive_in_order_whatever_their_sizes(pipe: tuple[FrameWriter, FrameReader]) -> None:
    writer, reader = pipe
    sizes = [0, 10, 50_000, FLUSH_BYTES + 1, BUFFER_BYTES - 100, BUFFER_BYTES + 1, 3 * BUFFER_BYTES + 7, 5] * 3
    frames = [ready(number, size) for number, size in enumerate(sizes)]

    def write() -> None:
        for frame in frames[:-1]:
            writer.add(encode(frame))
        writer.send(encode(frames[-1]))

    thread = threading.Thread(target=write)
    thread.start()
    received = [reader.receive(time.monotonic() + 30) for _ in frames]
    thread.join()
    assert received == frames


def test_small_frames_wait_until_enough_came_together(pipe: tuple[FrameWriter, FrameReader]) -> None:
    writer, reader = pipe
    writer.add(encode(ready(1)))
    with pytest.raises(PipeTimeoutError):
        reader.receive(time.monotonic() + 0.01)
    for number in range(2, MAX_PIECES):  # a frame is two pieces: its length and itself
        writer.add(encode(ready(number)))
    received = [reader.receive(time.monotonic() + 5) for _ in range(MAX_PIECES // 2)]
    assert received == [ready(number) for number in range(1, MAX_PIECES // 2 + 1)]
    writer.flush()
    assert reader.receive(time.monotonic() + 5) == ready(MAX_PIECES // 2 + 1)


def test_what_a_frame_held_outlives_the_frames_after_it(pipe: tuple[FrameWriter, FrameReader]) -> None:
    writer, reader = pipe
    first = Chunk(
        batch=Batch(batch_id=0), groupings={}, dead=[DeadRecord(0, "r", "p", "r", 1, 1, "undecodable", "", b"a" * 100)]
    )
    writer.send(encode(first))
    received = reader.receive(time.monotonic() + 5)
    writer.send(encode(ready(2, 1_000)))
    reader.receive(time.monotonic() + 5)
    assert received == first


def test_an_end_in_the_middle_of_a_frame_is_an_end() -> None:
    theirs, ours = os.pipe()
    torn = FrameReader(theirs)
    os.write(ours, b"\x40\x00\x00\x00 only this")
    os.close(ours)
    with pytest.raises(PipeClosedError):
        torn.receive()
    torn.close()


def test_bytes_that_are_no_frame_are_refused() -> None:
    for data in (b"\xff\xff\xff\xff", b"\x03\x00\x00\x00abc"):
        theirs, ours = os.pipe()
        reader = FrameReader(theirs)
        os.write(ours, data)
        with pytest.raises(PipeClosedError):
            reader.receive(time.monotonic() + 5)
        os.close(ours)
        reader.close()


def test_a_reader_that_is_gone_is_told() -> None:
    theirs, ours = os.pipe()
    writer = FrameWriter(ours)
    os.close(theirs)
    with pytest.raises(PipeClosedError):
        writer.send(encode(ready(1)))
    writer.close()
