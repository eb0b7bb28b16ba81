"""The lab itself: it is left empty however a run ends, and where it cannot be had, that is said and not a failure."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.stack.lab.images import REPOSITORY
from tests.stack.lab.needs import LACKING
from tests.stack.lab.site import wait_until
from tests.stack.lab.vps import CGROUPS

RUN = """
import time
from tests.stack.lab.vps import machine
from tests.stack.lab.whole import whole_lab
with whole_lab(), machine("killed", memory=256, cpus=1, disk=64) as vps:
    print(vps.namespace, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def own_lab(able: None) -> Generator[Path]:
    """A lab beside the others' one, with a short path: an engine's sockets lie in it."""
    place = Path(tempfile.mkdtemp(prefix="condev-lab-"))
    yield place
    shutil.rmtree(place)


def in_lab(place: Path) -> dict[str, str]:
    return {**os.environ, "CONDEV_STACK_LAB": str(place / "lab"), "TMPDIR": str(place)}


def test_a_run_that_is_killed_leaves_nothing_behind(own_lab: Path) -> None:
    run = subprocess.Popen(
        [sys.executable, "-c", RUN], env=in_lab(own_lab), cwd=REPOSITORY, stdout=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    assert run.stdout is not None
    name = run.stdout.readline().strip()
    engine = Path("/proc", (own_lab / "lab" / "vps" / "killed" / "pid").read_text("ascii"))
    disk = own_lab / "lab" / "vps" / "killed" / "opt"
    assert (engine.exists(), disk.is_mount(), Path("/run/netns", name).exists()) == (True, True, True)
    run.kill()
    run.communicate()
    wait_until(lambda: not disk.parent.exists(), "its files are removed")
    assert (engine.exists(), disk.is_mount(), Path("/run/netns", name).exists()) == (False, False, False)
    assert [*CGROUPS.glob(name), *CGROUPS.glob(f"*/{name}")] == []


@pytest.mark.parametrize(
    ("without", "said"),
    [
        (("setpriv", "--bounding-set=-sys_admin"), "rights to simulate a machine"),  # mounts, namespaces
        (("setpriv", "--bounding-set=-net_admin"), "rights to simulate a machine"),
        (("env", "PATH=/usr/bin:/bin"), "dockerd"),
    ],
)
def test_where_no_machine_can_be_simulated_the_reason_is_one_line(
    own_lab: Path, without: tuple[str, ...], said: str
) -> None:
    words = [*without, sys.executable, "-m", "tests.stack.lab.needs"]
    done = subprocess.run(words, env=in_lab(own_lab), cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (LACKING, "")
    assert said in done.stdout
    assert len(done.stdout.splitlines()) == 1
