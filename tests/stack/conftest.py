"""Marks these tests, and builds the images they all need once."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.stack.lab import images
from tests.stack.lab.engine import LAB, Engine, lacking

HERE: Final = Path(__file__).parent
TEST_SECONDS: Final = 900  # the first of a module installs; building the images takes up to eight minutes


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.stack)
            item.add_marker(pytest.mark.timeout(TEST_SECONDS))


@pytest.fixture(scope="session")
def built() -> None:
    """The images are in the lab's store; no engine runs."""
    if missing := lacking():
        pytest.skip(f"the stack tests need {missing}")
    with Engine(LAB / "engine").running() as engine:
        images.ensure(engine)
