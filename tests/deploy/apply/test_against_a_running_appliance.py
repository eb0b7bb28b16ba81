"""Parts of apply against a real appliance in a process: the self-test, and the way back to a backup."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import structs

from appliance import control
from appliance.deploy.apply import selftest
from appliance.deploy.apply.engine import Compose, ServiceState
from appliance.deploy.apply.layout import Installation
from appliance.deploy.apply.selftest import Progress, SelfTestError, Way, is_worked_off, run_self_test, ways
from appliance.deploy.apply.switch import _restore, take_backup
from appliance.running_file import read_running
from appliance.testing.running import Owner, RunningAppliance, free_port
from appliance.testing.traffic import read_books

NOWHERE = Path("/nonexistent")
SPEAKS = ("sentry", "condev")


@pytest.fixture
def appliance(tmp_path: Path) -> Iterator[RunningAppliance]:
    with RunningAppliance(tmp_path / "data") as running:
        yield running


async def test_an_event_goes_through_the_address_and_comes_back(appliance: RunningAppliance) -> None:
    said = await run_self_test(appliance.data_dir, appliance.url, (), NOWHERE, SPEAKS)
    assert said.startswith(f"an event was sent and read back through {appliance.url}")
    again = await run_self_test(appliance.data_dir, appliance.url, (), NOWHERE, SPEAKS)
    assert "read back" in again
    (project,) = json.loads(appliance.verb("project", "list", "--json"))
    assert (project["slug"], project["event_count"]) == ("self-test", 2)


async def test_it_leaves_no_token_and_nobody_who_can_sign_in(appliance: RunningAppliance) -> None:
    await run_self_test(appliance.data_dir, appliance.url, (), NOWHERE, SPEAKS)
    assert json.loads(appliance.verb("token", "list", "--user", "self-test@condev.invalid", "--json")) == []
    (user,) = json.loads(appliance.verb("user", "list", "--json"))
    assert (user["role"], user["state"]) == ("viewer", "disabled")
    appliance.verb("init", "--email", "ann@example.com", text="a long enough password\n")  # the owner is made as ever


async def test_where_the_public_address_is_not_reached_it_goes_over_loopback_and_says_so(
    appliance: RunningAppliance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selftest, "REACH_SECONDS", 1.5)
    closed = f"http://127.0.0.1:{free_port()}"
    said = await run_self_test(appliance.data_dir, closed, [("127.0.0.1", appliance.port, 80)], NOWHERE, SPEAKS)
    assert f"over {appliance.url} with the name {closed.removeprefix('http://')}, since {closed} is not reached" in said


async def test_an_address_that_nobody_answers_is_named_with_the_reason(
    appliance: RunningAppliance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selftest, "REACH_SECONDS", 0.5)
    with pytest.raises(SelfTestError, match=r"its address does not answer: http://127\.0\.0\.1:\d+: ConnectError"):
        await run_self_test(appliance.data_dir, f"http://127.0.0.1:{free_port()}", (), NOWHERE, SPEAKS)
    assert json.loads(appliance.verb("token", "list", "--user", "self-test@condev.invalid", "--json")) == []


async def test_without_a_core_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(SelfTestError, match="the core did not give a key"):
        await run_self_test(tmp_path, "http://127.0.0.1:1", (), NOWHERE, SPEAKS)


async def test_without_sentrys_protocol_another_one_is_spoken(tmp_path: Path) -> None:
    with RunningAppliance(tmp_path / "data", config='[plugins]\ndisabled = ["sentry_protocol"]\n') as running:
        said = await run_self_test(running.data_dir, running.url, (), NOWHERE, ["condev"])
        assert said.startswith("an event was sent and read back")


async def test_with_protocols_that_it_does_not_speak_it_says_that_no_event_was_sent(
    appliance: RunningAppliance,
) -> None:
    said = await run_self_test(appliance.data_dir, appliance.url, (), NOWHERE, ["another"])
    assert said.startswith("no event was sent: none of the protocols (another) is spoken by this test; the API answers")


async def test_a_host_that_refuses_events_for_now_is_no_broken_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selftest, "READ_BACK_SECONDS", 2.0)
    monkeypatch.setattr(selftest, "STEADY_SECONDS", 0.1)
    # More than any disk has free: ingest answers 429.
    running = RunningAppliance(tmp_path / "data", config='[ingest]\nspool_min_free_bytes = "900000GiB"\n')
    try:
        running.start(ready=False)
        said = await run_self_test(running.data_dir, running.url, (), NOWHERE, SPEAKS)
    finally:
        running.stop()
    assert said.startswith("events are refused for now (429")


async def test_an_event_that_a_core_at_rest_does_not_show_is_a_failure(
    appliance: RunningAppliance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selftest, "READ_BACK_SECONDS", 1.5)
    monkeypatch.setattr(selftest, "STEADY_SECONDS", 0.1)
    await control.call(appliance.data_dir, "pause", seconds=30)
    with pytest.raises(SelfTestError, match="accepted, and could not be read back"):
        await run_self_test(appliance.data_dir, appliance.url, (), NOWHERE, SPEAKS)


def test_an_event_waits_for_its_turn_only_while_older_ones_are_worked_off() -> None:
    first = Progress(records=500, oldest_seconds=100.0, processed=10)
    on = structs.replace(first, processed=11)
    assert is_worked_off(first, on, 90.0)
    assert not is_worked_off(first, first, 90.0)  # nothing moves
    assert not is_worked_off(first, structs.replace(on, oldest_seconds=50.0), 90.0)  # it was passed over
    assert not is_worked_off(first, structs.replace(on, problem="the worker does not start"), 90.0)
    assert not is_worked_off(first, Progress(records=0, oldest_seconds=0.0, processed=11), 90.0)  # it is lost
    assert is_worked_off(first, Progress(records=0, oldest_seconds=0.0, processed=10), 0.0)  # refused, and idle


def test_the_public_way_comes_first_and_https_over_loopback_before_http() -> None:
    found = ways("https://m.example.com", [("", 80, 80), ("", 443, 443)])
    assert [way.url for way in found] == ["https://m.example.com", "https://127.0.0.1:443", "http://127.0.0.1:80"]
    assert found[1].headers["Host"] == "m.example.com"
    assert found[2].headers["X-Forwarded-Proto"] == "https"
    assert ways("http://m", [("", 443, 443)]) == [Way("http://m")]
    assert [way.url for way in ways("", [("127.0.0.1", 8080, 80)])] == ["http://127.0.0.1:8080"]
    assert ways("", []) == []


def test_the_core_says_what_it_is(appliance: RunningAppliance) -> None:
    running = read_running(appliance.data_dir)
    assert running is not None
    assert running.event_store > 0
    assert running.revision


class ProcessCompose(Compose):
    """What the way back asks of Compose, done with processes in place of containers."""

    def __init__(self, root: Path, appliance: RunningAppliance) -> None:
        super().__init__(root)
        self.appliance = appliance

    def states(self) -> list[ServiceState]:
        return [ServiceState(service="core", name="core", state="running", health="", status="Up", image="")]

    def stop(self, services: list[str]) -> None:  # type: ignore[override]
        assert services == ["core"]
        self.appliance.stop()

    def run(self, service: str, command: list[str], *, volumes: list[str] = ()) -> str:  # type: ignore[override, assignment]
        inside = {volume.split(":")[1]: volume.split(":")[0] for volume in volumes}
        return self.appliance.verb(*[inside.get(word, word) for word in command])


def test_going_back_to_a_backup_keeps_what_was_accepted_since(tmp_path: Path) -> None:
    installation = Installation(tmp_path)
    appliance = RunningAppliance(installation.data)
    shutil.move(appliance.config_file, tmp_path / "config.toml")
    shutil.copy(tmp_path / "config.toml", appliance.config_file)
    shutil.copy(tmp_path / "config.toml", tmp_path / "config.applied.toml")
    sent: list[str] = []

    def send(count: int) -> None:
        for _ in range(count):
            event_id = secrets.token_hex(16)
            body = json.dumps(
                {"event_id": event_id, "message": f"number {len(sent) % 5}", "platform": "other"}
            ).encode()
            status, _answer = appliance.post(f"/api/{owner.project_id}/store/?sentry_key={owner.key}", body)
            assert status == 200
            sent.append(event_id)

    try:
        appliance.start()
        owner = Owner(appliance)
        send(30)
        read_books(appliance, owner)
        take_backup(installation, installation.backups / "before.condev")
        installation.keep_spool.touch()
        send(40)
        assert len(read_books(appliance, owner).ids) == 70
        _restore(installation, ProcessCompose(tmp_path, appliance), "before.condev", print)
        assert not (tmp_path / ".before-restore").exists()
        installation.keep_spool.unlink(missing_ok=True)
        appliance.start()
        books = read_books(appliance, owner)
        assert books.ids.keys() == set(sent)
        assert max(books.ids.values()) == 1
        assert (books.project_events, books.wrong_issues) == (70, [])
    finally:
        appliance.stop()
    appliance.check_log()
