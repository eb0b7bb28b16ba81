"""Marks these tests, builds the images they all need once, and keeps the machines that they share."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from typing import Final

import pytest

from tests.stack.lab import images
from tests.stack.lab.engine import LAB, Engine
from tests.stack.lab.machines import LARGE, MAPPED, SMALL, SMALLEST, Handed, Home, Machines
from tests.stack.lab.needs import lacking
from tests.stack.lab.whole import whole_lab

HERE: Final = Path(__file__).parent
NICE: Final = 5  # beside other tests, some of which drive a browser and wait for no more than a minute
TEST_SECONDS: Final = 900  # the first of a machine installs; building the images takes up to eight minutes
# The files of a machine follow each other, so that it is booted and installed once.
ORDER: Final = ("lab", "mapped", "smallest", "small_installed", "small_broken", "small_moves_on", "large")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ours = [item for item in items if HERE in item.path.parents]
    for item in ours:
        item.add_marker(pytest.mark.stack)
        item.add_marker(pytest.mark.timeout(TEST_SECONDS))
    ours.sort(key=lambda item: ORDER.index(item.path.stem.removeprefix("test_")))
    items[:] = [item for item in items if HERE not in item.path.parents] + ours


@pytest.fixture(scope="session")
def able() -> None:
    """Machines can be simulated here."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        os.nice(NICE)  # what it starts, engines and containers, too
    if missing := lacking():
        pytest.skip(f"the stack tests need {missing}")


@pytest.fixture(scope="session")
def machines(able: None) -> Generator[Machines]:
    """The images are in the lab's store, and nothing runs yet."""
    with whole_lab():
        with Engine(LAB / "engine").running() as engine:
            images.ensure(engine)
        made = Machines()
        yield made
        made.close()


@pytest.fixture
def smallest(machines: Machines) -> Home:
    return machines.home(SMALLEST)


@pytest.fixture
def small(machines: Machines) -> Home:
    return machines.home(SMALL)


@pytest.fixture(scope="session")
def handed(machines: Machines, tmp_path_factory: pytest.TempPathFactory) -> Handed:
    return machines.handed(tmp_path_factory.mktemp("handed"))


@pytest.fixture
def large(machines: Machines, handed: Handed) -> Home:
    """After the backup was made, since for that another machine runs."""
    return machines.home(LARGE)


@pytest.fixture
def mapped(machines: Machines) -> Home:
    return machines.home(MAPPED)
