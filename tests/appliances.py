"""Fixtures: real `condev` processes over copies of a prepared data directory, and envelopes to send to them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from appliance.testing.running import Owner, RunningAppliance
from appliance.testing.traffic import Sent
from benchmarks.payloads import events, templates

RATES_OFF = "[ingest]\nrequests_per_second = 0\nrequests_per_second_per_address = 0\n"

Serve = Callable[..., RunningAppliance]


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Owner]:
    """A data directory with an owner, a project and a token; nothing runs."""
    data_dir = tmp_path_factory.mktemp("prepared") / "data"
    return data_dir, Owner(RunningAppliance(data_dir))


@pytest.fixture
def owner(prepared: tuple[Path, Owner]) -> Owner:
    return prepared[1]


@pytest.fixture
def serve(prepared: tuple[Path, Owner], tmp_path: Path) -> Iterator[Serve]:
    """Makes appliances; not started. With `known`, the owner is there. Whatever runs at the end is killed."""
    made: list[RunningAppliance] = []

    def make(name: str = "data", *, known: bool = True, config: str = "", **more: object) -> RunningAppliance:
        data_dir = tmp_path / name  # may be a mounted disk
        if known and not (data_dir / "metadata.db").exists():
            shutil.copytree(prepared[0], data_dir, dirs_exist_ok=True)
        appliance = RunningAppliance(data_dir, config=RATES_OFF + config, **more)  # type: ignore[arg-type]
        made.append(appliance)
        return appliance

    yield make
    for appliance in made:
        appliance.kill()


@pytest.fixture
def envelope_path(owner: Owner) -> str:
    return f"/api/{owner.project_id}/envelope/?sentry_key={owner.key}"


@pytest.fixture
def envelopes(owner: Owner) -> Callable[..., Iterator[Sent]]:
    """Sentry envelopes of 10 KB, each an event of its own, of 40 issues."""
    made = templates(issues=40, key=owner.key)

    def generate(seed: int = 1) -> Iterator[Sent]:
        start = len(b'{"event_id":"')
        for body in events(made, 1 << 40, seed):
            place = body.index(b'"event_id":"') + start - 1
            yield Sent(body[place : place + 32].decode(), body)

    return generate
