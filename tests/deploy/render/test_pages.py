"""The commands on the pages about sizes and places run as they stand there."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from .tools import BIN

DOCS = Path(__file__).parents[3] / "docs"


@pytest.mark.parametrize("page", ["sizes.md", "coolify.md", "install.md"])
def test_the_commands_of_the_page_run(page: str, tmp_path: Path) -> None:
    text = (DOCS / page).read_text("utf-8")
    toml = re.findall(r"^```toml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    (tmp_path / "config.toml").write_text(toml[0] if toml else "")
    commands = [
        line
        for block in re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        for line in block.splitlines()
        if line.startswith(("condev plan ", "condev render "))
    ]
    assert commands
    done = subprocess.run(
        ["sh", "-e"],
        check=False,
        input="\n".join(commands),
        env={"PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    if "condev render" in " ".join(commands):
        assert list(tmp_path.rglob("compose.yaml"))
