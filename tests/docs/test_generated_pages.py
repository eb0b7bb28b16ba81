"""The pages that repeat the code say what the code says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PAGES = ("api.md", "cli.md", "config.md", "plugins/hooks.md")
# In a process of its own: Click keeps a verb's help option as it was first asked for, maybe by another test, without
# the names that `condev` gives it.
MAKE = "import runpy, sys; sys.stdout.write(runpy.run_path('docs/generate.py')['PAGES'][sys.argv[1]]())"
NAMES = "import runpy; print(*sorted(runpy.run_path('docs/generate.py')['PAGES']))"


def output(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", *arguments], cwd=REPOSITORY, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_is_up_to_date(name: str) -> None:
    written = (REPOSITORY / "docs" / name).read_text("utf-8")
    assert written == output(MAKE, name), f"docs/{name} is stale: run python docs/generate.py"


def test_no_generated_page_is_left_out_here() -> None:
    assert output(NAMES).split() == list(PAGES)
