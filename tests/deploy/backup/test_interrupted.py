"""Backups that end before they are done: a killed command, a killed core, a full disk."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from appliance.testing.running import CONDEV, RunningAppliance
from appliance.testing.traffic import Traffic, read_books

pytestmark = pytest.mark.timeout(400)


@pytest.fixture
def filled(serve, owner, envelope_path, envelopes) -> RunningAppliance:
    """A running appliance with events, and blobs that make its backup larger than a pipe."""
    appliance = serve()
    blobs = appliance.data_dir / "blobs" / "replays" / "1" / "2027-01-15"
    blobs.mkdir(parents=True)
    for number in range(20):
        (blobs / f"b{number}").write_bytes(os.urandom(10 << 20))
    appliance.start()
    with Traffic(appliance, envelope_path, envelopes(), per_second=200.0) as traffic:
        traffic.wait_for(50)
    read_books(appliance, owner)
    return appliance


def begin(appliance: RunningAppliance, target: Path, *before: str) -> subprocess.Popen[str]:
    command = [CONDEV, "backup", str(target), "--config", str(appliance.config_file)]
    return subprocess.Popen(
        [*before, *command, "--data-dir", str(appliance.data_dir)], stderr=subprocess.PIPE, text=True
    )


def wait_until_it_writes(target: Path, process: subprocess.Popen[str]) -> None:
    part = target.with_name(target.name + ".part")
    deadline = time.monotonic() + 60
    while not part.exists() or part.stat().st_size < (8 << 20):
        assert process.poll() is None, "it ended before it could be interrupted"
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_killed_command_leaves_no_backup_and_the_appliance_goes_on(filled, owner, envelope_path, envelopes, tmp_path):
    target = tmp_path / "condev.backup"
    process = begin(filled, target)
    wait_until_it_writes(target, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not target.exists()
    filled.verb("backup", str(target))  # the one that nobody took any more is over, and its lock is free
    filled.verb("backup", "verify", str(target))
    assert not target.with_name("condev.backup.part").exists()
    assert not list((filled.data_dir / "tmp").glob("backup-*"))
    with Traffic(filled, envelope_path, envelopes(seed=2), per_second=200.0) as traffic:
        traffic.wait_for(20)
    assert traffic.acknowledged <= read_books(filled, owner).ids.keys()
    filled.stop()


def test_a_killed_core_leaves_no_backup_and_the_next_one_is_whole(filled, tmp_path):
    target = tmp_path / "condev.backup"
    process = begin(filled, target)
    wait_until_it_writes(target, process)
    filled.kill()
    assert process.wait() == 1
    assert process.stderr is not None
    assert "the running process ended in the middle of backup" in process.stderr.read()
    assert list(tmp_path.glob("condev.backup*")) == []
    filled.start()
    filled.verb("backup", str(target))
    filled.verb("backup", "verify", str(target))
    filled.stop()
    filled.check_log()


def test_a_disk_that_runs_full_leaves_nothing_and_is_said(filled, tmp_path):
    target = tmp_path / "condev.backup"
    process = begin(filled, target, "bash", "-c", 'ulimit -f 20000; exec "$@"', "-")  # 20 MB to a file
    assert process.wait() == 1
    assert process.stderr is not None
    said = process.stderr.read()
    assert f"{target} cannot be written" in said
    assert len(said.splitlines()) == 1
    assert list(tmp_path.glob("condev.backup*")) == []
    filled.verb("backup", str(target))
    filled.stop()
    filled.check_log()
