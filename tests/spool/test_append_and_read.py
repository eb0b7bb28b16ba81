"""Appending, reading, acknowledging: the ordinary life of a spool."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.spool import (
    Position,
    SpoolBusyError,
    SpoolFailedError,
    SpoolFullError,
    SpoolReader,
    read_records,
)
from appliance.testing.clock import FakeClock
from appliance.testing.files import PowerCutFiles


async def test_records_are_read_in_the_order_of_their_appends(open_writer, read_all):
    writer = open_writer()
    for number in range(20):
        await writer.append(b"record %d" % number)
    await writer.close()
    assert read_all() == [b"record %d" % number for number in range(20)]


async def test_an_append_returns_only_after_a_sync_of_its_bytes(open_writer):
    files = PowerCutFiles()
    writer = open_writer(files=files)
    await writer.append(b"first")
    files.log.clear()
    await writer.append(b"second")
    await writer.close()
    assert files.log[:3] == ["append", "sync", "write_at"]


async def test_what_queues_during_a_sync_becomes_one_commit(open_writer):
    files = PowerCutFiles()
    writer = open_writer(files=files)
    await writer.append(b"opens the segment")
    files.log.clear()
    await asyncio.gather(*(writer.append(b"x" * 100) for _ in range(500)))
    await writer.close()
    assert files.log.count("sync") < 100


async def test_a_range_stays_within_one_segment_and_its_bounds(open_writer, directory):
    writer = open_writer(max_bytes=8 * 4_000)  # segments of 4,000 bytes
    for number in range(28):
        await writer.append(b"%03d" % number + b"." * 997)
    await writer.close()
    reader, after, ranges = SpoolReader.open(directory), None, []
    while (found := reader.next_range(after, 3, 10_000)) is not None:
        ranges.append(found)
        after = found.after
    assert all(1 <= found.records <= 3 for found in ranges)
    assert sum(found.records for found in ranges) == 28
    assert len({found.segment for found in ranges}) == 7


@pytest.fixture
async def filled(open_writer):
    """A writer whose segments hold four records of 1,000 bytes."""
    writer = open_writer(max_bytes=8 * 4_000)
    for number in range(10):
        await writer.append(b"%03d" % number + b"." * 997)
    yield writer
    await writer.close()


async def test_a_record_larger_than_the_bound_on_bytes_comes_alone(open_writer, directory):
    writer = open_writer()
    await writer.append(b"x" * 5_000)
    await writer.append(b"y" * 5_000)
    found = SpoolReader.open(directory).next_range(None, 100, 10)
    assert found is not None
    assert found.records == 1
    await writer.close()


async def test_acknowledging_unlinks_whole_segments_and_keeps_the_one_in_use(filled, directory):
    reader = SpoolReader.open(directory)
    before = sorted(path.name for path in directory.glob("*.seg"))
    first = reader.next_range(None, 100, 1 << 20)
    assert first is not None
    reader.acknowledge(Position(first.segment, first.end - 1))
    assert sorted(path.name for path in directory.glob("*.seg")) == before
    reader.acknowledge(first.after)
    assert sorted(path.name for path in directory.glob("*.seg")) == before[1:]
    after = first.after
    while (found := reader.next_range(after, 100, 1 << 20)) is not None:
        after = found.after
        reader.acknowledge(after)
    assert sorted(path.name for path in directory.glob("*.seg")) == before[-1:]
    assert reader.next_range(after, 100, 1 << 20) is None
    await filled.append(b"goes on")
    following = reader.next_range(after, 100, 1 << 20)
    assert following is not None
    assert [payload for _, payload in read_records(directory, following)] == [b"goes on"]


async def test_finished_segments_stay_within_what_is_to_be_kept_and_go_when_nothing_is(filled, directory):
    reader = SpoolReader.open(directory)
    names = sorted(path.name for path in directory.glob("*.seg"))
    size = (directory / names[0]).stat().st_size
    ranges, after = [], None
    while (found := reader.next_range(after, 100, 1 << 20)) is not None:
        after = found.after
        ranges.append(found)
        reader.acknowledge(after, 2 * size)
    assert sorted(path.name for path in directory.glob("*.seg")) == names  # two finished ones fit, one is in use
    assert [len(list(read_records(directory, one))) for one in ranges] == [4, 4, 2]
    assert reader.next_range(after, 100, 1 << 20) is None  # kept is not unread
    reader.acknowledge(after, size)
    assert sorted(path.name for path in directory.glob("*.seg")) == names[1:]
    assert reader.keeps
    reader.acknowledge(after)
    assert sorted(path.name for path in directory.glob("*.seg")) == names[2:]
    assert not reader.keeps


async def test_depth_counts_records_bytes_and_the_age_of_the_oldest(directory, open_writer):
    from appliance.spool import SpoolWriter

    clock = FakeClock()
    writer = SpoolWriter.open(directory, max_bytes=8 * 4_000, min_free_bytes=0, clock=clock)
    reader = SpoolReader.open(directory, clock=clock)
    assert reader.depth(None).records == 0
    for _ in range(10):
        await writer.append(b"." * 1_000)
        clock.advance(1)
    depth = reader.depth(None)
    assert (depth.records, depth.oldest_seconds) == (10, 10.0)
    assert 10_000 < depth.bytes < 11_000
    first = reader.next_range(None, 3, 1 << 20)
    assert first is not None
    assert (reader.depth(first.after).records, reader.depth(first.after).oldest_seconds) == (7, 7.0)
    await writer.close()


async def test_waiting_ends_with_the_first_record_and_otherwise_with_the_timeout(open_writer, directory):
    writer = open_writer()
    reader = SpoolReader.open(directory)
    assert not await reader.wait(None, 0.02)
    waiting = asyncio.create_task(reader.wait(None, 30))
    await asyncio.sleep(0)
    await writer.append(b"here")
    assert await waiting
    await writer.close()


async def test_a_second_writer_is_refused_with_what_to_do(open_writer):
    writer = open_writer()
    with pytest.raises(SpoolBusyError, match="stop the other"):
        open_writer()
    await writer.close()
    await open_writer().close()


async def test_reader_and_writer_agree_on_the_epoch_whoever_comes_first(open_writer, directory):
    reader = SpoolReader.open(directory)
    writer = open_writer()
    assert reader.epoch == writer.epoch == SpoolReader.open(directory).epoch > 0
    await writer.close()


async def test_another_process_reads_what_this_one_has_synced(open_writer, directory):
    writer = open_writer()
    await writer.append(b"across processes")
    script = (
        "import sys; from pathlib import Path; from appliance.spool import SpoolReader, read_records\n"
        "d = Path(sys.argv[1]); r = SpoolReader.open(d).next_range(None, 9, 9999)\n"
        "print([p for _, p in read_records(d, r)])"
    )
    done = subprocess.run([sys.executable, "-c", script, str(directory)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[b'across processes']"
    await writer.close()


async def test_a_full_spool_refuses_and_takes_again_when_segments_are_acknowledged(filled, directory):
    accepted = 10
    while filled.level() < 0.95:
        await filled.append(b"." * 1_000)
        accepted += 1
    with pytest.raises(SpoolFullError, match="spool_max_bytes"):
        await filled.append(b"." * 2_000)
    reader, after = SpoolReader.open(directory), None
    while (found := reader.next_range(after, 100, 1 << 20)) is not None:
        after = found.after
        accepted -= found.records
    assert accepted == 0
    assert after is not None
    reader.acknowledge(after)
    filled.measure()
    assert filled.level() < 0.3
    await filled.append(b"." * 1_000)


async def test_little_free_disk_counts_as_a_full_spool(open_writer):
    files = PowerCutFiles(capacity=100_000)
    writer = open_writer(files=files, min_free_bytes=90_000)
    assert writer.level() < 0.1
    while writer.level() < 0.9:
        await writer.append(b"." * 1_000)
    with pytest.raises(SpoolFullError, match="free disk"):
        await writer.append(b"." * 2_000)
    files.capacity = 80_000
    writer.measure()
    assert writer.level() == 1.0
    await writer.close()


async def test_a_closed_writer_says_so_and_has_written_what_was_queued(open_writer, read_all):
    writer = open_writer()
    appending = [asyncio.create_task(writer.append(b"%d" % number)) for number in range(50)]
    await asyncio.sleep(0)
    await writer.close()
    await asyncio.gather(*appending)
    with pytest.raises(SpoolFailedError, match="closed"):
        await writer.append(b"late")
    assert len(read_all()) == 50


async def test_a_cancelled_append_harms_no_other(open_writer, read_all):
    writer = open_writer()
    appending = [asyncio.create_task(writer.append(b"%d" % number)) for number in range(9)]
    await asyncio.sleep(0)
    appending[4].cancel()
    done = await asyncio.gather(*appending, return_exceptions=True)
    assert [result for result in done if result is not None and not isinstance(result, asyncio.CancelledError)] == []
    await writer.append(b"after")
    await writer.close()
    assert read_all()[-1] == b"after"


async def test_the_directory_is_for_this_user_alone(open_writer, directory: Path):
    writer = open_writer()
    await writer.append(b"secret")
    await writer.close()
    assert directory.stat().st_mode & 0o777 == 0o700
    assert all(path.stat().st_mode & 0o077 == 0 for path in directory.iterdir())
