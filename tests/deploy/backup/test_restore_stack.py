"""`condev restore` on the host of a stack: what is stopped, what the container is given, what runs again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.testing.running import CONDEV, Owner, RunningAppliance

pytestmark = pytest.mark.timeout(300)

# In Compose's place: notes down what it is asked, and runs the verb of `run` on the stack's own data.
STAND_IN = """#!{python}
import json, os, subprocess, sys
from pathlib import Path
words = sys.argv[1:]
with open({log!r}, "a") as log:
    log.write(json.dumps(words) + "\\n")
if "run" in words:
    mounts, verb = dict(), words[words.index("core") + 1:]
    for place, word in enumerate(words):
        if word == "--volume":
            source, target = words[place + 1].split(":")[:2]
            mounts[target] = source
            print(oct(Path(source).stat().st_mode & 0o777), Path(source).stat().st_uid, file=sys.stderr)
    verb = [mounts.get(word, word) for word in verb]
    sys.exit(subprocess.call([{condev!r}, *verb, "--data-dir", {data!r}],
                             env={{k: v for k, v in os.environ.items() if k != "CONDEV_DIR"}}))
"""


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    """An installation with a Compose that notes what it is asked."""
    root = tmp_path / "stack"
    (root / "data" / "tmp").mkdir(parents=True)
    (root / "compose.yaml").write_text("services: {}\n")
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "docker-compose"
    log = tmp_path / "asked"
    program.write_text(STAND_IN.format(python=sys.executable, log=str(log), condev=CONDEV, data=str(root / "data")))
    program.chmod(0o755)
    return root


def on_the_host(stack: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "CONDEV_DIR": str(stack), "PATH": f"{stack.parent / 'bin'}:{os.environ['PATH']}"}
    return subprocess.run(
        [CONDEV, *words, "--data-dir", str(stack / "data")], capture_output=True, text=True, check=False, env=environ,
        cwd=stack.parent,
    )  # fmt: skip


def asked(stack: Path) -> list[list[str]]:
    return [json.loads(line) for line in (stack.parent / "asked").read_text().splitlines()]


def test_a_stack_is_stopped_restored_in_the_cores_image_and_started(stack: Path, tmp_path: Path) -> None:
    source = RunningAppliance(tmp_path / "source")
    owner = Owner(source)
    file, secret = tmp_path / "condev.backup", tmp_path / "passphrase"
    secret.write_text("correct horse battery\n")
    source.verb("backup", str(file), "--passphrase-file", str(secret))
    before = file.stat()
    done = on_the_host(stack, "restore", str(file), "--passphrase-file", str(secret))
    assert done.returncode == 0, done.stderr
    assert "is restored: 0 events, 0 issues, 1 projects" in done.stdout
    verbs = [next(word for word in words if word in ("stop", "run", "up", "ps")) for words in asked(stack)]
    assert verbs == ["stop", "run", "up", "ps"]  # the last looks whether all of them are on their network
    assert asked(stack)[0][-2:] == ["ingest", "core"]
    assert "correct horse" not in (stack.parent / "asked").read_text()
    assert (file.stat().st_uid, file.stat().st_mode) == (before.st_uid, before.st_mode)
    assert not (stack / "data" / "tmp" / "restore.passphrase").exists()
    with RunningAppliance(stack / "data") as running:
        assert running.get("/api/v1/projects", owner.token)["items"]


def test_a_restore_that_is_refused_starts_the_stack_again_and_says_why(stack: Path, tmp_path: Path) -> None:
    (tmp_path / "x.backup").write_bytes(b"nothing of ours")
    done = on_the_host(stack, "restore", str(tmp_path / "x.backup"))
    assert done.returncode == 1
    assert "no backup of Condev Monitor" in done.stderr
    assert [words for words in asked(stack) if "up" in words]


def test_half_a_restore_is_not_started(stack: Path, tmp_path: Path) -> None:
    (tmp_path / "x.backup").write_bytes(b"nothing of ours")
    (stack / "data" / "restore.incomplete").write_text("x")
    assert on_the_host(stack, "restore", str(tmp_path / "x.backup")).returncode == 1
    assert not [words for words in asked(stack) if "up" in words]
