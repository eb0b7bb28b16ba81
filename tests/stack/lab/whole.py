"""The lab as one thing that one run has at a time, and that is left empty, however the run ends.

A keeper, a process of its own, waits for the end of the run that it belongs to, also of one that was killed. It then
ends the engines and whatever else runs on the simulated machines, and removes their networks, groups and files.
`python -m tests.stack.lab.whole` is the keeper.
"""

from __future__ import annotations

import contextlib
import fcntl
import subprocess
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Final

from tests.stack.lab.engine import LAB, stop_engine
from tests.stack.lab.vps import remove_left

LOCK: Final = Path(tempfile.gettempdir()) / "condev-stack.lock"
REPOSITORY: Final = Path(__file__).parents[3]


class LabTakenError(RuntimeError):
    """Another run has simulated machines on this one; the text says what to do."""


@contextlib.contextmanager
def whole_lab() -> Generator[None]:
    """For the time of the block nobody else has simulated machines, whose networks and groups go by name.

    Raises:
        LabTakenError: somebody has.
    """
    LAB.mkdir(parents=True, exist_ok=True)
    with LOCK.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LabTakenError(f"another run of the stack tests holds {LOCK}: wait for its end") from None
        end_all()  # of a machine that lost its power: two engines on one directory would spoil the images
        with subprocess.Popen(
            [sys.executable, "-m", "tests.stack.lab.whole"], stdin=subprocess.PIPE, cwd=REPOSITORY,
            pass_fds=[file.fileno()], start_new_session=True,
        ):  # fmt: skip
            yield  # at the end the keeper's input is closed, and its end waited for


def end_all() -> None:
    """End and remove what there is of engines and machines; the images stay."""
    for place in LAB.glob("vps/*"):
        remove_left(place.name)
    stop_engine(LAB / "engine" / "pid")


def main() -> None:
    """Wait for the end of standard input, which is that of the run; its lock is held until all is gone."""
    sys.stdin.buffer.read()
    end_all()


if __name__ == "__main__":
    main()
