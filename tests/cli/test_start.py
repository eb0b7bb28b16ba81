"""What a verb loads before it does anything: `condev serve` starts itself anew, and the rest must not pay for pages."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("alembic", "chdb", "litestar", "sqlalchemy", "uvicorn")
SAY = f"import sys; print([name for name in {HEAVY} if name in sys.modules])"


def loaded(code: str) -> str:
    """Which of the heavy packages are there after some code, in a process of its own."""
    done = subprocess.run([sys.executable, "-c", f"{code}; {SAY}"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


@pytest.mark.parametrize("verbs", ["serve", "apply", "operate", "deploy", "doctor", "config", "accounts"])
def test_a_group_of_verbs_is_loaded_without_pages_or_databases(verbs: str) -> None:
    assert loaded(f"import appliance.cli, appliance.cli.{verbs}") == "[]"


def test_the_configuration_is_checked_with_all_plugins_and_without_pages_or_databases(tmp_path: Path) -> None:
    words = ["config", "check", "--data-dir", str(tmp_path)]
    code = f"from appliance.cli import condev; condev({words!r}, standalone_mode=False)"
    assert loaded(code) == "[]"


def test_ingest_runs_without_pages_or_databases(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from appliance.app import create_app; from appliance.config import Config; "
        "from appliance.roles import Role; from appliance.data_dir import prepare_data_dir; import asyncio; "
        f"folder = Path({str(tmp_path)!r}); prepare_data_dir(folder); "
        "app = create_app(Config(), folder, role=Role.INGEST); asyncio.run(app.open())"
    )
    assert loaded(code) == "[]"
