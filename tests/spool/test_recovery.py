"""Crashes, torn tails, damaged bytes and power cuts: nothing acknowledged is lost, nothing torn is read."""

from __future__ import annotations

import asyncio
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

from appliance.spool import SpoolFailedError, SpoolReader, SpoolWriter, read_records
from appliance.spool.files import DISK
from appliance.spool.framing import FRAME_HEADER, SEGMENT_HEADER
from appliance.testing.files import PowerCutError, PowerCutFiles


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


@pytest.mark.parametrize("seed", range(40))
async def test_a_power_cut_loses_nothing_acknowledged_and_tears_nothing(directory: Path, seed: int, read_all):
    """Several lives on one disk; each ends in the middle of whatever it was doing."""
    chance = random.Random(seed)
    files = PowerCutFiles(seed)
    acknowledged: set[bytes] = set()
    written: set[bytes] = set()
    for life in range(6):
        files.cut_power_in(chance.randint(5, 120))
        try:
            writer = SpoolWriter.open(directory, max_bytes=8 * 3_000, min_free_bytes=0, files=files)
            await live(writer, files, life, chance, acknowledged, written)
        except PowerCutError:
            pass
        files = files.power_cut()
    await SpoolWriter.open(directory, max_bytes=1 << 20, min_free_bytes=0, files=files).close()
    found = read_all(files)
    assert acknowledged <= set(found)
    assert set(found) <= written
    assert len(found) == len(set(found))


async def live(writer, files, life, chance, acknowledged, written):
    """Append concurrently, read and remember, until the power goes."""

    async def append(number: int) -> None:
        payload = b"%d-%d-" % (life, number) + chance.randbytes(chance.randint(0, 1_500))
        written.add(payload)
        try:
            await writer.append(payload)
        except SpoolFailedError:
            return
        except Exception as error:
            assert "full" in str(error), error
            return
        acknowledged.add(payload)

    for round_ in range(30):
        await asyncio.gather(*(append(round_ * 10 + number) for number in range(chance.randint(1, 6))))
        if chance.random() < 0.05:
            files.fail_next(chance.choice(["append", "sync", "write_at", "create", "sync_directory"]))
        if files.off:
            break
    await writer.close()


WRITER = """
import asyncio, sys
from pathlib import Path
from appliance.spool import SpoolWriter

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
    segment.write_bytes(content[:cut] + data.draw(st.binary(max_size=200), label="junk"))
    (directory / "state").unlink()  # as after a power cut: recovery has the segment alone
    survivors = [payload for payload, end in zip(payloads, ends, strict=True) if end <= cut]

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
