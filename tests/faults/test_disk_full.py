"""A full disk: SDKs are told to wait, nothing acknowledged is lost, and once there is room everything goes on."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.testing.running import RunningAppliance
from appliance.testing.traffic import Traffic, check_books, read_books, system_of, wait_until_drained

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

MIB = 1 << 20
DISK_BYTES = 192 * MIB
# The reserves of a disk so small. The spool's is the larger: what was accepted can still be stored when it is reached,
# and what is left below the store's is for SQLite.
SMALL = f"""spool_max_bytes = {64 * MIB}
spool_min_free_bytes = {32 * MIB}
[plugins.clickhouse]
disk_reserve = {8 * MIB}
"""
# Without any room at all, what the pipeline and the jobs note in the metadata cannot be noted: that is an error.
NO_ROOM = ["database or disk is full", "No space left on device", "spool_write_failed", "NOT_ENOUGH_SPACE"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs where the data directory will be; needs the right to mount."""
    path = tmp_path / "data"
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if mounted.returncode:
        pytest.skip(f"cannot mount a tmpfs: {mounted.stderr.strip() or 'not root'}")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


class Filler:
    """Somebody else's file."""

    def __init__(self, disk: Path) -> None:
        self._path = disk / "of somebody else"

    def fill(self, leave: int) -> None:
        """Take everything but so many bytes."""
        with self._path.open("ab") as file:
            while (room := free_bytes(self._path) - leave) > 0:
                try:
                    file.write(bytes(min(room, MIB)))
                    file.flush()
                except OSError:
                    break

    def remove(self) -> None:
        self._path.unlink()


def free_bytes(path: Path) -> int:
    stats = os.statvfs(path)
    return stats.f_bavail * stats.f_frsize


def wait_for_refusals(traffic: Traffic, quantity: int) -> None:
    deadline = time.monotonic() + 60
    wanted = traffic.statuses[429] + quantity
    while traffic.statuses[429] < wanted:
        assert time.monotonic() < deadline, f"nothing was refused: {traffic.statuses}"
        time.sleep(0.05)


def wait_until_noticed(appliance: RunningAppliance, owner) -> None:
    """No disk goes from its reserve to nothing faster than the store can stop its merges."""
    appliance.wait_until(
        lambda: any("Free some space" in note for note in system_of(appliance, owner)["store"]["notes"]),
        "the store to notice that its disk is short", 60,
    )  # fmt: skip


def check_recovered(appliance: RunningAppliance, owner, traffic: Traffic) -> None:
    pid = appliance.pid
    books = read_books(appliance, owner)
    check_books(books, traffic)
    assert books.dead_letters == 0
    assert traffic.oddities == []
    assert traffic.broken == 0
    assert appliance.pid == pid


def test_a_disk_without_any_room_left_gets_429_and_everything_acknowledged_is_stored_once_it_has_room(
    serve, owner, envelope_path, envelopes, small_disk
):
    appliance = serve(config=SMALL, expected_errors=NO_ROOM)
    filler = Filler(small_disk)
    appliance.start()
    with Traffic(appliance, envelope_path, envelopes(), per_second=200, senders=8) as traffic:
        traffic.wait_for(100)
        for _ in range(2):
            filler.fill(leave=6 * MIB)
            wait_until_noticed(appliance, owner)
            filler.fill(leave=0)
            wait_for_refusals(traffic, 50)
            time.sleep(3.0)  # the pipeline and the jobs meet the full disk too
            filler.fill(leave=0)  # what merges and the spool gave back
            wait_for_refusals(traffic, 50)
            filler.remove()
            traffic.wait_for(200)
    check_recovered(appliance, owner, traffic)
    appliance.stop()
    appliance.check_log()


def test_a_disk_that_is_short_of_room_takes_nothing_more_and_what_it_took_is_still_stored(
    serve, owner, envelope_path, envelopes, small_disk
):
    appliance = serve(config=SMALL)
    filler = Filler(small_disk)
    appliance.start()
    with Traffic(appliance, envelope_path, envelopes(), per_second=200, senders=8) as traffic:
        traffic.wait_for(100)
        filler.fill(leave=24 * MIB)
        wait_for_refusals(traffic, 100)
        wait_until_drained(appliance, owner)
        assert free_bytes(small_disk) > 8 * MIB
        status, body = appliance.post(envelope_path, next(envelopes(seed=9)).body)
        assert status == 429, body
        filler.remove()
        traffic.wait_for(200)
    check_recovered(appliance, owner, traffic)
    appliance.stop()
    appliance.check_log()
