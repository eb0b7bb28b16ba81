"""A stranger's notifier, from its source to a message received: built, installed, configured, used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).parent / "condev-notify-pigeon"
RING = "NL-2026-secret-ring"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of its own, into which the wheel was installed as pip installs it; nothing comes from an index."""
    place = tmp_path_factory.mktemp("third-party")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = ["wheel", "--no-build-isolation", "--no-deps", "--no-index", "--wheel-dir", str(place), str(SOURCE)]
    subprocess.run([*pip, *build], check=True, capture_output=True, text=True)
    (wheel,) = place.glob("condev_notify_pigeon-0.1.0-*.whl")
    target = place / "site"
    install = ["install", "--no-deps", "--no-index", "--target", str(target), str(wheel)]
    subprocess.run([*pip, *install], check=True, capture_output=True, text=True)
    return target


def condev(installed: Path, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = "from appliance.cli import main; main()"
    environment = {**os.environ, "PYTHONPATH": str(installed), "PIGEON_RING": RING}
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "loft").mkdir()
    (tmp_path / "config.toml").write_text(
        f"""
[channels]
email = ["resend", "smtp"]
birds = ["pigeon"]

[plugins.pigeon]
loft = "{tmp_path / "loft"}"
ring = {{ env = "PIGEON_RING" }}
"""
    )
    return tmp_path


def test_a_message_is_received_through_a_notifier_from_a_distribution_of_its_own(installed: Path, home: Path) -> None:
    answer = condev(installed, home, "notify", "test", "birds", "--to", "ann@example.com", "--json")
    assert answer.returncode == 0, answer.stderr
    said: dict[str, Any] = json.loads(answer.stdout)
    assert said["delivered"] is True
    assert [step["name"] for step in said["notifiers"][0]["steps"]] == ["config", "accept"]
    (slip,) = (home / "loft").iterdir()
    text = slip.read_text()
    assert f"ring {RING}" in text
    assert "to ann@example.com" in text
    assert "Test message from Condev Monitor" in text
    assert RING not in answer.stdout + answer.stderr


def test_the_list_of_plugins_says_where_it_comes_from(installed: Path, home: Path) -> None:
    answer = condev(installed, home, "plugins", "list", "--json")
    assert answer.returncode == 0, answer.stderr
    (pigeon,) = [row for row in json.loads(answer.stdout) if row["name"] == "pigeon"]
    assert pigeon["origin"] == "condev-notify-pigeon 0.1.0"
    assert pigeon["hooks"] == ["register_notifiers"]


def test_a_wrong_key_in_its_table_is_named_with_the_nearest_right_one(installed: Path, home: Path) -> None:
    config = home / "config.toml"
    config.write_text(config.read_text().replace("loft =", "lotf ="))
    answer = condev(installed, home, "notify", "test", "birds", "--to", "ann@example.com")
    assert answer.returncode == 2
    assert "plugins.pigeon.lotf: no such key; did you mean loft?" in answer.stderr


def test_where_it_is_not_installed_its_channel_is_an_error_that_names_it(tmp_path: Path, home: Path) -> None:
    answer = condev(tmp_path / "nothing", home, "notify", "test", "birds", "--to", "ann@example.com")
    assert answer.returncode == 2
    assert "no notifier 'pigeon'" in answer.stderr
