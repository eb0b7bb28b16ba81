"""Whatever a step raises, the release before runs again, and what went wrong is what is said."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from appliance import control
from appliance.cli import apply as apply_module
from appliance.deploy.apply import run as run_module
from appliance.deploy.apply.run import FailedError
from appliance.deploy.apply.selftest import SelfTestError, run_self_test

from .conftest import House


async def test_a_core_that_died_does_not_hide_why_the_self_test_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def call(_data_dir: Path, verb: str, **_: object) -> dict[str, object]:
        if verb == "self_test_close":
            raise control.NotRunningError("nobody listens")
        return {"project_id": 1, "key": "k", "token": "t"}

    monkeypatch.setattr(control, "call", call)
    with pytest.raises(SelfTestError, match="there is no address to test"):
        await run_self_test(tmp_path, "", [], tmp_path / "root.crt", [])


def test_an_error_that_nobody_thought_of_goes_back_too(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.apply()
    house.write("two")

    async def broken(*_: object) -> str:
        raise ValueError("a thing of somebody else's")

    monkeypatch.setattr(run_module, "run_self_test", broken)
    with pytest.raises(FailedError, match=r"^self_test: a thing of somebody else's\n.* runs again"):
        house.apply()
    assert house.check_whole() == "one"


def test_a_backup_that_fails_in_any_way_changes_nothing(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.apply()
    house.write("two")

    def broken(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run_module, "take_backup", broken)
    with pytest.raises(FailedError, match=r"^backup: .*No space left on device\nnothing was changed"):
        house.apply(backup="always")
    assert house.check_whole() == "one"


def test_an_error_of_the_host_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", str(tmp_path))

    monkeypatch.setattr(apply_module, "_apply", full)
    done = CliRunner().invoke(apply_module.apply, ["--dir", str(tmp_path)])
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("condev: [Errno 28] No space left on device")
