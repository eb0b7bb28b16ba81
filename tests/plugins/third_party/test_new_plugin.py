"""`condev plugins new`: what it makes builds, installs, is found, and passes the tests that it brings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

NAMES = {
    "notifier": "office-pager",
    "processor": "mask-customers",
    "protocol": "legacy-wire",
    "event-store": "cold-vault",
    "rule": "sudden-spike",
}
HOOKS = {
    "notifier": "register_notifiers",
    "processor": "register_processors",
    "protocol": "register_protocols",
    "event-store": "register_storage_backends",
    "rule": "register_rules",
}


def condev(place: Path, *words: str, path: str = "") -> subprocess.CompletedProcess[str]:
    program = "from appliance.cli import main; main()"
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(
        [sys.executable, "-c", program, *words], cwd=place, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a new plugin of each kind, all of them installed in its `site`, as one person's may be."""
    made = tmp_path_factory.mktemp("plugins")
    for kind, name in NAMES.items():
        done = condev(made, "plugins", "new", kind, name)
        assert done.returncode == 0, done.stderr
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--target", str(made / "site")]
    sources = [str(made / f"condev-{kind}-{name}") for kind, name in NAMES.items()]
    built = subprocess.run([*pip, *options, *sources], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return made


def test_a_new_plugin_of_each_kind_builds_installs_and_is_found(place: Path) -> None:
    listed = condev(place, "plugins", "list", "--json", path=str(place / "site"))
    assert listed.returncode == 0, listed.stderr
    found = {row["origin"]: (row["hooks"], row["errors"]) for row in json.loads(listed.stdout)}
    for kind, name in NAMES.items():
        assert found[f"condev-{kind}-{name} 0.1.0"] == ([HOOKS[kind]], [])


@pytest.mark.parametrize("kind", NAMES)
def test_a_new_plugin_of_each_kind_passes_the_tests_that_it_brings(kind: str, place: Path) -> None:
    source = place / f"condev-{kind}-{NAMES[kind]}"
    environment = {**os.environ, "PYTHONPATH": str(place / "site")}
    tests = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", str(source)],
        cwd=source, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert tests.returncode == 0, tests.stdout[-4_000:]
    assert " passed" in tests.stdout
    assert "failed" not in tests.stdout
    style = ["check", "--isolated", "--line-length", "120", "--select", "E,F,W,I,B,UP", "."]
    ruff = Path(sys.executable).with_name("ruff")
    if ruff.exists():  # of the extra "lint"
        looked = subprocess.run([str(ruff), *style], cwd=source, capture_output=True, text=True, check=False)
        assert looked.returncode == 0, looked.stdout


@pytest.mark.parametrize("name", ["My", "1st", "a b", "../x", "a" * 41, "-x", "x_"])
def test_a_name_that_no_plugin_can_have_is_refused(name: str, tmp_path: Path) -> None:
    refused = condev(tmp_path, "plugins", "new", "rule", "--", name)
    assert refused.returncode == 2
    assert refused.stderr.startswith("condev: a plugin's name is lower-case words")
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_not_written_over(tmp_path: Path) -> None:
    assert condev(tmp_path, "plugins", "new", "rule", "mine").returncode == 0
    again = condev(tmp_path, "plugins", "new", "rule", "mine")
    assert again.returncode == 1
    assert "is there already" in again.stderr
