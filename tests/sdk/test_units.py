"""The SDK's unit tests, which vitest runs in jsdom: sdk/test/*.test.ts. One run for all files, one result for each."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
FILES = sorted(path.name for path in (HERE.parents[1] / "sdk" / "test").glob("*.test.ts*"))

_spec = importlib.util.spec_from_file_location("sdk_tools", HERE / "tools.py")
assert _spec is not None
assert _spec.loader is not None
tools = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tools)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What vitest says of each file, by its name."""
    target = tmp_path_factory.mktemp("vitest") / "report.json"
    done = tools.run("vitest", "run", "--reporter=json", f"--outputFile={target}", seconds=400)
    assert target.is_file(), done.stdout + done.stderr
    return {Path(one["name"]).name: one for one in json.loads(target.read_bytes())["testResults"]}


@pytest.mark.timeout(500)
@pytest.mark.parametrize("name", FILES)
def test_units(name: str, results: dict[str, Any]) -> None:
    assert name in results, "vitest did not run it"
    found = results[name]
    failed = [
        f"{test['fullName']}\n" + "\n".join(test["failureMessages"])
        for test in found["assertionResults"]
        if test["status"] not in ("passed", "skipped")
    ]
    assert not failed, "\n\n".join(failed)
    assert found["status"] == "passed", found.get("message")
    assert any(test["status"] == "passed" for test in found["assertionResults"]), "it has no tests"
