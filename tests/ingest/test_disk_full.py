"""A real file system that is full: 429, nothing torn, and service again when there is room."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

MIB = 1 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 4 MiB; needs the right to mount."""
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(path)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a tmpfs: {mounted.stderr.strip() or 'not root'}")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


async def test_a_disk_that_is_full_without_warning_gets_429_and_tears_nothing(serve, small_disk):
    running = await serve(directory=small_disk, min_free_bytes=-1 << 40)  # the check of free space is blind
    filler = small_disk / "somebody elses"
    filler.write_bytes(bytes(2 * MIB))

    async def send(number: int) -> tuple[int, str]:
        answer = await running.post(b'{"key": "k1", "id": "%d"}\n' % number + b"x" * 20_000)
        return answer.status_code, str(number)

    answers: list[tuple[int, str]] = []
    for start in range(0, 160, 8):
        answers += await asyncio.gather(*(send(number) for number in range(start, start + 8)))
    assert {status for status, _ in answers} == {200, 429}
    filler.unlink()
    for _ in range(200):
        last = await send(1_000)
        answers.append(last)
        if last[0] == 200:
            break
        await asyncio.sleep(0.05)
    assert last[0] == 200
    accepted = [event_id for status, event_id in answers if status == 200]
    spooled = [record.event_id for record in running.records()]
    assert sorted(spooled) == sorted(accepted)
    assert set(running.app.counters.drops) == {"spool_failed"}


async def test_a_disk_that_gets_short_of_room_is_left_its_reserve(serve, small_disk):
    running = await serve(directory=small_disk, min_free_bytes=2 * MIB)
    statuses = [(await running.post(b'{"key": "k1"}\n' + b"x" * 20_000)).status_code for _ in range(200)]
    assert set(statuses) == {200, 429}
    assert len(running.records()) == statuses.count(200)
    free = subprocess.run(["df", "--output=avail", "-B1", str(small_disk)], capture_output=True, text=True, check=True)
    assert int(free.stdout.split()[-1]) > 1.9 * MIB
    assert running.app.problems() == ["spool_full"]
