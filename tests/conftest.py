"""What holds for every test: CI leaves nothing out in silence, and examples depend on neither luck nor load."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Final, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)

IN_CI: Final = os.environ.get("CI", "").lower() in ("1", "true")
# What `.ci/run` cannot install: recordings that lie beside the repository.
CI_MAY_LACK: Final = ("no recorded ",)
STACK: Final = "tests/stack/"
# The longest first: with `-n`, a long file that starts last keeps one core for itself.
LONG_FOLDERS: Final = ("stack", "faults", "pipeline", "browser", "end_to_end", "plugins/clickhouse", "accounts")
MOST_CORES: Final = 4  # more would want more memory than small machines have

# A slow machine is no failure: no deadlines. In CI the examples are the same each time, so that a red run is red again.
settings.register_profile("local", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("local"), derandomize=True, database=None)
settings.load_profile("ci" if IN_CI else "local")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return _no_silent_skip((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return _no_silent_skip((yield))


class ByFile(LoadFileScheduling):
    """A file's tests in one worker; the stack's all in one, since its machines share a directory of images."""

    def _split_scope(self, nodeid: str) -> str:
        return STACK if nodeid.startswith(STACK) else super()._split_scope(nodeid)


@pytest.hookimpl(optionalhook=True)  # with `-p no:xdist` nobody asks
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFile | None:
    return ByFile(config, log) if config.option.dist == "loadfile" else None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """As many as there are cores; one more for the stack's tests, which mostly wait for containers."""
    with_stack = "stack" in config.option.markexpr.replace("not stack", "")
    return min(os.cpu_count() or 1, MOST_CORES) + with_stack


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Under pytest-xdist, let the long ones start first; a single process keeps the order of the folders."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return
    starts = [f"tests/{folder}/" for folder in LONG_FOLDERS]

    def place(item: pytest.Item) -> int:
        return next((n for n, start in enumerate(starts) if item.nodeid.startswith(start)), len(starts))

    items.sort(key=place)


def _no_silent_skip(report: Report) -> Report:
    """In CI, what was skipped failed, save for what CI cannot have."""
    if IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
        if not reason.removeprefix("Skipped: ").startswith(CI_MAY_LACK):
            report.outcome = "failed"
            report.longrepr = f"skipped, but CI has to run it: {reason}"
    return report
