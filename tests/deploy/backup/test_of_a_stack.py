"""`condev backup` of a stack: its databases are reached through the core; apply takes one that it can restore."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.testing.running import CONDEV, RunningAppliance

pytestmark = pytest.mark.timeout(200)

SECRET = {"CONDEV_BACKUP_PASSPHRASE": "correct horse battery staple"}
DOWN = "the core does not run, and its databases are reached through it: condev restart core, then again"


def backup(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "CONDEV_DIR": str(root)}
    return subprocess.run(
        [CONDEV, "backup", str(root / "x.backup"), *words, "--data-dir", str(root / "data")],
        capture_output=True, text=True, check=False, env=environ, cwd=root,
    )  # fmt: skip


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    """An installation of which nothing runs."""
    (tmp_path / "data").mkdir()
    (tmp_path / "compose.yaml").write_text("services: {}\n")
    return tmp_path


@pytest.mark.parametrize("place", ["postgres", "clickhouse-data"])
def test_with_the_core_down_a_stack_with_servers_is_not_backed_up_as_if_it_were_empty(stack: Path, place: str) -> None:
    (stack / place).mkdir()
    (stack / place / "PG_VERSION").write_text("17")
    done = backup(stack)
    assert (done.returncode, done.stderr) == (1, f"condev: {DOWN}\n")
    assert list((stack / "data").iterdir()) == []  # no SQLite and no embedded engine were begun
    assert sorted(path.name for path in stack.iterdir()) == sorted(["compose.yaml", "data", place])


def test_applys_backup_is_the_running_cores_or_none(stack: Path) -> None:
    done = backup(stack, "--before-upgrade")
    assert (done.returncode, done.stderr) == (1, f"condev: {DOWN}\n")


@pytest.mark.parametrize(
    ("config", "encrypted"), [("", False), ('[backup]\npassphrase = { env = "CONDEV_BACKUP_PASSPHRASE" }\n', True)]
)
def test_applys_backup_takes_a_passphrase_only_where_the_core_that_restores_it_has_it(
    serve: Callable[..., RunningAppliance], tmp_path: Path, config: str, encrypted: bool
) -> None:
    appliance = serve(environ=SECRET, config=config)
    appliance.start()
    by_apply = json.loads(appliance.verb("backup", str(tmp_path / "a"), "--before-upgrade", "--json"))
    by_hand = json.loads(appliance.verb("backup", str(tmp_path / "b"), "--json"))
    assert (by_apply["encrypted"], by_hand["encrypted"]) == (encrypted, True)
