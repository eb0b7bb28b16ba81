"""docs/accounts.md says what the code does: scopes, limits, config keys, verbs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from appliance.accounts.access import SCOPE_PERMISSIONS
from appliance.accounts.passwords import MAX_PASSWORD, MIN_PASSWORD, WAITING
from appliance.accounts.sessions import IDLE_HOURS
from appliance.cli import VERBS
from appliance.config import Accounts

PAGE = (Path(__file__).parents[2] / "docs" / "accounts.md").read_text(encoding="utf-8")


def test_every_scope_and_no_other_is_named() -> None:
    assert set(re.findall(r"`([a-z]+:[a-z]+)`", PAGE)) == set(SCOPE_PERMISSIONS)


def test_every_key_of_the_accounts_table_is_named() -> None:
    assert set(re.findall(r"`accounts\.([a-z_]+)`", PAGE)) == set(Accounts.__struct_fields__)


def test_limits_are_those_of_the_code() -> None:
    assert f"{MIN_PASSWORD} to {MAX_PASSWORD} characters" in PAGE
    assert f"{WAITING} wait" in PAGE
    assert IDLE_HOURS == 4 * 24
    assert "four days without use" in PAGE


def test_verbs_exist() -> None:
    assert set(re.findall(r"condev ([a-z]+) ", PAGE)) <= set(VERBS)


def test_the_commands_run_as_they_stand_there(tmp_path: Path) -> None:
    commands = [block for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) if "curl" not in block]
    environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "CONDEV_DATA_DIR": str(tmp_path)}
    done = subprocess.run(
        ["sh", "-e"],
        check=False,
        input="\n".join(commands),
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 0, done.stderr
    assert len(commands) == 3
    assert re.search(r"^cdm_[\w-]{43}$", done.stdout, re.MULTILINE)
