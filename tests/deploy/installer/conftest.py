"""Machines to install on: in every shell there is, or in one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.deploy.installer.machine import SHELLS, Machine


@pytest.fixture(params=sorted(SHELLS))
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Machine:
    shell = str(request.param)
    if shutil.which(SHELLS[shell][0]) is None:
        pytest.skip(f"{shell} is missing (Debian: dash bash busybox-static mksh)")
    return Machine(tmp_path, shell)


@pytest.fixture
def dash(tmp_path: Path) -> Machine:
    return Machine(tmp_path, "dash")
