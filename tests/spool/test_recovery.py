"""Crashes, torn tails, damaged bytes and power cuts: nothing acknowledged is lost, nothing torn is read."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.spool import Position, SpoolFailedError, SpoolFullError, SpoolReader, SpoolWriter, read_records
from appliance.spool.files import DISK
from appliance.spool.framing import FRAME_HEADER, SEGMENT_HEADER
from appliance.testing.files import PowerCutFiles


def only_segment(directory: Path) -> Path:
    (segment,) = directory.glob("*.seg")
    return segment


async def test_a_torn_tail_is_cut_off_on_open(open_writer, directory, read_all):
    writer = open_writer()
    await writer.append(b"whole")
    await writer.close()
    size = only_segment(directory).stat().st_size
    with only_segment(directory).open("ab") as file:
        file.write(b"\xf1NCR half a frame")
    writer = open_writer()
    assert only_segment(directory).stat().st_size == size
    await writer.append(b"next")
    await writer.close()
    assert read_all() == [b"whole", b"next"]


async def test_readers_do_not_see_what_is_written_and_not_yet_synced(open_writer, directory, read_all):
    writer = open_writer()
    await writer.append(b"synced")
    whole = only_segment(directory).read_bytes()
    frame = whole[SEGMENT_HEADER:]
    with only_segment(directory).open("ab") as file:
        file.write(frame)
    assert read_all() == [b"synced"]
    await writer.close()


async def test_damage_below_the_synced_offset_costs_only_what_it_hit(open_writer, directory):
    writer = open_writer()
    for number in range(10):
        await writer.append(b"%d" % number * 1_000)
    await writer.close()
    frame = FRAME_HEADER + 1_000
    content = bytearray(only_segment(directory).read_bytes())
    content[SEGMENT_HEADER + 3 * frame + 5] ^= 0xFF  # the length of record 3
    content[SEGMENT_HEADER + 6 * frame + FRAME_HEADER + 7] ^= 0xFF  # the payload of record 6
    only_segment(directory).write_bytes(bytes(content))
    await open_writer().close()  # recovery must not take damage for a torn tail
    found = SpoolReader.open(directory).next_range(None, 100, 1 << 20)
    assert found is not None
    damage = []
    records = [payload for _, payload in read_records(directory, found, on_damage=damage.append)]
    assert records == [b"%d" % number * 1_000 for number in (0, 1, 2, 4, 5, 7, 8, 9)]
    assert [(d.start, d.end) for d in damage] == [
        (SEGMENT_HEADER + n * frame, SEGMENT_HEADER + (n + 1) * frame) for n in (3, 6)
    ]


async def test_a_lost_state_file_is_made_again_from_the_segments(open_writer, directory, read_all):
    writer = open_writer(max_bytes=8 * 4_000)
    for number in range(10):
        await writer.append(b"%d" % number * 1_000)
    await writer.close()
    (directory / "state").unlink()
    await open_writer().close()
    assert read_all() == [b"%d" % number * 1_000 for number in range(10)]


async def test_no_segment_number_is_used_twice_even_when_all_segments_are_gone(open_writer, directory):
    writer = open_writer(max_bytes=8 * 4_000)
    for _ in range(10):
        await writer.append(b"." * 1_000)
    await writer.close()
    highest = max(path.name for path in directory.glob("*.seg"))
    for path in directory.glob("*.seg"):
        path.unlink()
    writer = open_writer()
    await writer.append(b"x")
    await writer.close()
    assert only_segment(directory).name > highest


@pytest.mark.parametrize("operation", ["append", "sync", "write_at"])
async def test_after_a_disk_error_the_segment_is_left_and_the_next_append_goes_on(
    open_writer, read_all, directory, operation
):
    files = PowerCutFiles()
    writer = open_writer(files=files)
    await writer.append(b"before")
    files.fail_next(operation, errno.EIO)
    with pytest.raises(SpoolFailedError, match="disk"):
        await writer.append(b"refused")
    assert not writer.healthy
    await writer.append(b"after")
    assert writer.healthy
    assert read_all(files) == [b"before", b"after"]
    segments = sorted(name for name in files.names(directory) if name.endswith(".seg"))
    assert len(segments) == 2
    await writer.close()


@pytest.mark.parametrize("operation", ["create", "append", "sync", "sync_directory"])
async def test_a_segment_that_cannot_be_begun_leaves_no_trace(open_writer, read_all, operation):
    files = PowerCutFiles()
    writer = open_writer(files=files)
    files.fail_next(operation, errno.ENOSPC)
    with pytest.raises(SpoolFailedError):
        await writer.append(b"refused")
    await writer.append(b"first")
    await writer.close()
    writer = open_writer(files=files)
    await writer.append(b"second")
    await writer.close()
    assert read_all(files) == [b"first", b"second"]


async def test_a_disk_that_stays_broken_is_not_asked_for_every_append(open_writer):
    files = PowerCutFiles()
    writer = open_writer(files=files)
    files.fail_next("create", errno.EIO, times=1_000)
    for _ in range(200):
        with pytest.raises(SpoolFailedError):
            await writer.append(b"x")
    assert files.log.count("create") < 20
    await writer.close()


async def test_health_comes_back_without_an_append(open_writer):
    files = PowerCutFiles()
    writer = open_writer(files=files)
    files.fail_next("sync", errno.EIO)
    with pytest.raises(SpoolFailedError):
        await writer.append(b"x")
    assert writer.problem
    for _ in range(100):
        writer.level()
        if writer.healthy:
            break
        await asyncio.sleep(0.05)
    assert writer.healthy
    await writer.close()


async def test_a_disk_that_fills_up_tears_nothing(open_writer, read_all):
    files = PowerCutFiles(capacity=20_000)
    writer = open_writer(files=files, min_free_bytes=-1_000_000)  # the check of free space is blind here
    accepted = []
    for number in range(40):
        payload = b"%02d" % number * 500
        try:
            await writer.append(payload)
        except SpoolFailedError:
            files.capacity += 2_000
        else:
            accepted.append(payload)
    await writer.close()
    assert read_all(files) == accepted
    assert len(accepted) > 20


class History:
    """What was promised and seen over several lives of one spool."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.written: set[bytes] = set()
        self.acknowledged: set[bytes] = set()
        self.places: dict[tuple[int, int], bytes] = {}  # everything that was ever read, by its place
        self.cursor: Position | None = None

    async def append(self, writer: SpoolWriter, payload: bytes) -> None:
        self.written.add(payload)
        with contextlib.suppress(SpoolFailedError, SpoolFullError):
            await writer.append(payload)
            self.acknowledged.add(payload)

    def read(self, reader: SpoolReader, files: PowerCutFiles) -> None:
        """Read on from the cursor; no place ever holds two different records."""
        while (found := reader.next_range(self.cursor, 4, 1 << 20)) is not None:
            for offset, payload in read_records(self.directory, found, files=files):
                assert self.places.setdefault((found.segment, offset), payload) == payload
            self.cursor = found.after

    async def live(self, files: PowerCutFiles, life: int, chance: random.Random) -> None:
        """Append concurrently, read, acknowledge now and then, until the power goes."""
        writer = SpoolWriter.open(self.directory, max_bytes=8 * 3_000, min_free_bytes=0, files=files)
        try:
            reader = SpoolReader.open(self.directory, files=files)
            for number in range(30):
                payloads = [b"%d-%d-%d-" % (life, number, i) + chance.randbytes(chance.randint(0, 1_500))
                            for i in range(chance.randint(1, 6))]  # fmt: skip
                await asyncio.gather(*(self.append(writer, payload) for payload in payloads))
                if chance.random() < 0.05:
                    files.fail_next(chance.choice(["append", "sync", "write_at", "create", "sync_directory"]))
                self.read(reader, files)
                if chance.random() < 0.3 and self.cursor is not None:
                    reader.acknowledge(self.cursor)
        finally:
            await writer.close()


@pytest.mark.parametrize("seed", range(60))
async def test_power_cuts_and_kills_lose_nothing_acknowledged_and_tear_nothing(directory: Path, seed: int):
    chance = random.Random(seed)
    files = PowerCutFiles(seed)
    history = History(directory)
    for life in range(8):
        files.cut_power_in(chance.randint(5, 300))
        with contextlib.suppress(OSError):  # the power, or an injected fault that met the reader
            await history.live(files, life, chance)
        files = files.process_killed() if chance.random() < 0.4 else files.power_cut()
    await SpoolWriter.open(directory, max_bytes=1 << 20, min_free_bytes=0, files=files).close()
    history.read(SpoolReader.open(directory, files=files), files)
    read = list(history.places.values())
    assert history.acknowledged <= set(read) <= history.written
    assert len(read) == len(set(read))
    # An intent may name any range that was read: what is still there must be found there again.
    again = History(directory)
    again.read(SpoolReader.open(directory, files=files), files)
    oldest = min(segment for segment, _ in again.places)
    assert again.places == {place: payload for place, payload in history.places.items() if place[0] >= oldest}


@pytest.mark.parametrize("seed", range(8))
async def test_what_recovery_finds_after_a_kill_also_survives_a_power_cut(open_writer, directory, read_all, seed):
    files = PowerCutFiles(seed)
    writer = open_writer(files=files)
    await writer.append(b"acknowledged")
    files.cut_power_in(1)  # the process dies between the write and the sync
    with pytest.raises(SpoolFailedError):
        await writer.append(b"only in the page cache")
    files = files.process_killed()
    await open_writer(files=files).close()
    assert read_all(files) == [b"acknowledged", b"only in the page cache"]
    files = files.power_cut()
    await open_writer(files=files).close()
    assert read_all(files) == [b"acknowledged", b"only in the page cache"]


WRITER = """
import asyncio, structlog, sys
from pathlib import Path
from appliance.spool import SpoolWriter

structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))  # stdout is for what was acknowledged

async def main():
    writer = SpoolWriter.open(Path(sys.argv[1]), max_bytes=1 << 30, min_free_bytes=0)
    async def one(name):
        number = 0
        while True:
            payload = b"%s-%d-%d-" % (sys.argv[2].encode(), name, number)
            await writer.append(payload + bytes(number % 3000))
            sys.stdout.buffer.write(payload + b"\\n")
            sys.stdout.buffer.flush()
            number += 1
    await asyncio.gather(*(one(name) for name in range(8)))

asyncio.run(main())
"""


@pytest.mark.faults
def test_a_writer_that_is_killed_again_and_again_loses_nothing_acknowledged(directory: Path, read_all):
    acknowledged: set[bytes] = set()
    chance = random.Random(1)
    for life in range(12):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(directory), str(life)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        lines = [process.stdout.readline()]  # it runs; now kill it somewhere
        timer_ends = chance.uniform(0.02, 0.25)
        os.set_blocking(process.stdout.fileno(), True)
        killer = subprocess.Popen(["sleep", str(timer_ends)])
        killer.wait()
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.readlines()
        process.wait()
        acknowledged.update(line.rstrip(b"\n") for line in lines if line.endswith(b"\n"))
    writer = SpoolWriter.open(directory, max_bytes=1 << 30, min_free_bytes=0)
    asyncio.run(writer.close())
    found = [payload.rstrip(b"\0") for payload in read_all(max_records=1_000)]
    assert len(acknowledged) > 100
    assert acknowledged <= set(found)
    assert len(found) == len(set(found))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(payloads=st.lists(st.binary(max_size=300), min_size=1, max_size=20), data=st.data())
def test_whatever_happens_to_the_tail_the_records_before_it_survive(tmp_path_factory, payloads, data):
    directory = tmp_path_factory.mktemp("spool")
    ends = asyncio.run(write_all(directory, payloads))
    segment = only_segment(directory)
    content = segment.read_bytes()
    cut = data.draw(st.integers(SEGMENT_HEADER, len(content)), label="cut at")
    found_on_disk = content[:cut] + data.draw(st.binary(max_size=200), label="junk")
    segment.write_bytes(found_on_disk)
    differ = (n for n, (was, now) in enumerate(zip(content, found_on_disk, strict=False)) if was != now)
    unharmed = next(differ, min(len(content), len(found_on_disk)))  # junk may happen to be what stood there
    (directory / "state").unlink()  # as after a power cut: recovery has the segment alone
    survivors = [payload for payload, end in zip(payloads, ends, strict=True) if end <= unharmed]

    async def recover_and_go_on() -> None:
        writer = SpoolWriter.open(directory, max_bytes=1 << 20, min_free_bytes=0)
        await writer.append(b"appended after recovery")
        await writer.close()

    asyncio.run(recover_and_go_on())
    found = []
    reader, after = SpoolReader.open(directory), None
    while (spool_range := reader.next_range(after, 5, 1 << 20)) is not None:
        found += [payload for _, payload in read_records(directory, spool_range)]
        after = spool_range.after
    reader.close()
    assert found == [*survivors, b"appended after recovery"]


async def write_all(directory: Path, payloads: list[bytes]) -> list[int]:
    """Append one by one; the offset behind each."""
    writer = SpoolWriter.open(directory, max_bytes=1 << 20, min_free_bytes=0, files=DISK)
    ends, offset = [], SEGMENT_HEADER
    for payload in payloads:
        await writer.append(payload)
        offset += FRAME_HEADER + len(payload)
        ends.append(offset)
    await writer.close()
    return ends
