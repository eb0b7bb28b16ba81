"""`condev where`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def condev(place: Path, *words: str, text: str = "") -> str:
    command = [str(Path(sys.executable).with_name("condev")), *words, "--data-dir", str(place / "data")]
    return subprocess.run(command, capture_output=True, text=True, input=text, check=True, cwd=place).stdout.strip()


def test_it_gives_a_link_for_the_owner_and_then_the_way_to_sign_in(tmp_path: Path) -> None:
    first, second = condev(tmp_path, "where"), condev(tmp_path, "where")
    assert first.startswith("Create the owner: http://127.0.0.1:8000/setup/")
    assert second != first  # the one before has ended
    condev(tmp_path, "init", "--email", "o@a.test", text="a long enough password\n")
    assert condev(tmp_path, "where") == "Sign in: http://127.0.0.1:8000/sign-in"
