"""A store that hangs: the process says so, ends with its own exit code, and loses nothing."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from appliance.hookspecs import StoreStats
from appliance.model import Batch
from appliance.system.readings import MARK_FILE, read_mark
from appliance.system.watchdog import EXIT_CODE, LOOP, Calls, Watchdog, watched
from appliance.testing.reference_store import MemoryStore
from appliance.testing.running import Owner, RunningAppliance

PLUGIN = Path(__file__).with_name("stuck_store.py")
CONFIG = """
[storage]
backend = "stuck"
[channels]
email = ["resend", "smtp"]
paper = ["paper"]
[monitoring]
channel = "paper"
"""


def house(tmp_path: Path, config: str = CONFIG, supervised: str = "1") -> tuple[RunningAppliance, Owner]:
    data = tmp_path / "data"
    (data / "plugins.d").mkdir(parents=True)
    shutil.copy(PLUGIN, data / "plugins.d")
    errors = [
        "the event store hangs",
        "nothing is known to start it anew",
        "ending the process",
        "pipeline interrupted",
        "stopped in the middle",
    ]
    environ = {"CONDEV_SUPERVISED": supervised}
    appliance = RunningAppliance(data, config=config, environ=environ, expected_errors=errors)
    return appliance, Owner(appliance)


def send(appliance: RunningAppliance, owner: Owner) -> None:
    event = uuid.uuid4().hex
    items = [{"event_id": event}, {"type": "event"}, {"event_id": event, "message": "it broke", "level": "error"}]
    body = "\n".join(map(json.dumps, items)).encode()
    path = f"/api/{owner.project_id}/envelope/?sentry_key={owner.key}&sentry_version=7"
    status, answer = appliance.post(path, body, {"Content-Type": "application/x-sentry-envelope"})
    assert status == 200, answer


def paper(appliance: RunningAppliance) -> str:
    path = appliance.data_dir / "paper.txt"
    return path.read_text() if path.exists() else ""


def ended(appliance: RunningAppliance) -> int:
    process = appliance._process
    assert process is not None
    return process.wait(60)


def processed(appliance: RunningAppliance, owner: Owner) -> int:
    return appliance.get("/api/v1/system", owner.token)["processed"]


def problems(appliance: RunningAppliance, owner: Owner) -> list[dict[str, Any]]:
    return [one for one in appliance.get("/api/v1/system", owner.token)["problems"] if one["code"]]


def test_a_store_whose_thread_hangs_is_told_of_and_the_process_ends_to_be_started_anew(tmp_path: Path) -> None:
    appliance, owner = house(tmp_path)
    with appliance:
        (appliance.data_dir / "HOW").write_text("thread")
        send(appliance, owner)
        appliance.wait_until(lambda: "The event store hangs" in paper(appliance), "the message about it")
        appliance.wait_until(  # it keeps an answer for some seconds
            lambda: appliance.get("/readyz") == {"ok": True, "conditions": ["store_stuck"]}, "the name in /readyz"
        )
        appliance.wait_until(lambda: problems(appliance, owner), "it to stand on the page, which keeps for two seconds")
        (found,) = problems(appliance, owner)
        assert (found["code"], found["tone"]) == ("store_stuck", "bad")
        assert "Its call write has not come back" in found["text"]
        send(appliance, owner)  # is taken: the spool needs no store
        assert ended(appliance) == EXIT_CODE
        mark = read_mark(appliance.data_dir)
        assert mark is not None
        assert "write of the event store" in mark.why
        (appliance.data_dir / "HOW").unlink()
        appliance.start()  # as the restart policy does
        appliance.wait_until(lambda: processed(appliance, owner) == 2, "both events")
        appliance.wait_until(lambda: "The watchdog restarted the appliance" in paper(appliance), "the second message")
        appliance.wait_until(
            # The first is over when it was quiet for a quarter of an hour.
            lambda: {one["code"] for one in problems(appliance, owner)} == {"store_stuck", "watchdog_restart"},
            "both on the page",
        )


def test_a_blocked_event_loop_ends_the_process_too(tmp_path: Path) -> None:
    appliance, owner = house(tmp_path)
    with appliance:
        (appliance.data_dir / "HOW").write_text("loop")
        send(appliance, owner)
        assert ended(appliance) == EXIT_CODE
        (appliance.data_dir / "HOW").unlink()
        appliance.start()
        appliance.wait_until(lambda: processed(appliance, owner) == 1, "the event")
        appliance.wait_until(
            lambda: any("blocked its event loop" in one["text"] for one in problems(appliance, owner)), "the words"
        )


def test_with_the_watchdog_off_it_is_only_said(tmp_path: Path) -> None:
    appliance, owner = house(tmp_path, CONFIG + "watchdog = false\n")
    with appliance:
        (appliance.data_dir / "HOW").write_text("thread")
        send(appliance, owner)
        appliance.wait_until(lambda: "The event store hangs" in paper(appliance), "the message about it")
        appliance.wait_until(
            lambda: any("watchdog is off" in one["text"] for one in problems(appliance, owner)), "the words"
        )
        assert appliance.get("/healthz") == {"ok": True}


def test_where_nothing_starts_it_anew_the_process_stays_and_says_so(tmp_path: Path) -> None:
    appliance, owner = house(tmp_path, supervised="")
    with appliance:
        (appliance.data_dir / "HOW").write_text("thread")
        send(appliance, owner)
        appliance.wait_until(lambda: "The event store hangs" in paper(appliance), "the message about it")
        appliance.wait_until(
            lambda: any("CONDEV_SUPERVISED is not set" in one["text"] for one in problems(appliance, owner)),
            "the words",
        )
        appliance.wait_until(
            lambda: "nothing is known to start it anew" in appliance.log_file.read_text(), "the line in the log"
        )
        assert appliance.get("/healthz") == {"ok": True}
        assert not (appliance.data_dir / MARK_FILE).exists()


# ── its parts ──


class Hanging(MemoryStore):
    answer_seconds = 0.05

    def __init__(self) -> None:
        super().__init__()
        self.hangs = asyncio.Event()
        self.free = asyncio.Event()

    async def write(self, batch: Batch, missing: Any = None) -> None:
        self.hangs.set()
        await self.free.wait()

    async def stats(self) -> StoreStats:
        raise RuntimeError("an answer, if no good one")


class Ends:
    """Stands for the end of the process."""

    def __init__(self) -> None:
        self.codes: list[int] = []
        self.called = threading.Event()
        self.over = threading.Event()

    def __call__(self, code: int) -> Any:
        self.codes.append(code)
        self.called.set()
        self.over.wait()  # nothing comes after the end


async def until(condition: Any) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_what_comes_back_in_time_is_forgotten_again(tmp_path: Path) -> None:
    store, calls, changes = Hanging(), Calls(), []
    dog = Watchdog(watched(store, calls), calls, tmp_path, may_end=False, on_change=lambda: changes.append(dog.stuck))
    dog.start()
    task = asyncio.create_task(watched(store, calls).write(Batch(batch_id=1)))
    await until(lambda: changes)
    assert dog.stuck is not None
    assert dog.stuck.call == "write"
    assert dog.stuck.restart_in is None
    store.free.set()
    await task
    await until(lambda: len(changes) == 2)
    assert changes[1] is None
    await dog.stop()
    assert not (tmp_path / MARK_FILE).exists()


async def test_it_ends_the_process_and_leaves_a_mark(tmp_path: Path) -> None:
    store, calls, ends = Hanging(), Calls(), Ends()
    dog = Watchdog(watched(store, calls), calls, tmp_path, may_end=True, supervised=True, end=ends)
    dog.start()
    task = asyncio.create_task(watched(store, calls).write(Batch(batch_id=1)))
    await until(ends.called.is_set)
    assert ends.codes == [EXIT_CODE]
    mark = read_mark(tmp_path)
    assert mark is not None
    assert mark.why.startswith("write of the event store")
    assert LOOP not in mark.why
    task.cancel()
    ends.over.set()
    await dog.stop()


def test_a_process_that_stood_still_is_no_fault_of_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("appliance.system.watchdog.time.monotonic", lambda: clock[0])
    calls = Calls()
    number = calls.begin("write")
    clock[0] += 600.0
    calls.forgive(590.0)
    assert calls.oldest() == ("write", 10.0)
    calls.end(number)
    assert calls.oldest() is None


def test_maintenance_may_take_as_long_as_its_job(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("appliance.system.watchdog.time.monotonic", lambda: clock[0])
    calls = Calls()
    calls.begin("summarise")
    clock[0] += 1_700.0
    calls.begin("write")
    clock[0] += 5.0
    assert calls.oldest() == ("write", 5.0)
    clock[0] += 300.0
    assert calls.oldest() == ("write", 305.0)


def test_what_waits_behind_another_counts_from_when_that_came_back(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("appliance.system.watchdog.time.monotonic", lambda: clock[0])
    calls = Calls()
    first = calls.begin("list_events")
    calls.begin("list_events")
    clock[0] += 50.0
    calls.end(first)
    clock[0] += 1.0
    assert calls.oldest() == ("list_events", 1.0)


def test_one_that_hangs_is_found_while_later_ones_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("appliance.system.watchdog.time.monotonic", lambda: clock[0])
    calls = Calls()
    calls.begin("list_events")
    for _ in range(10):
        clock[0] += 10.0
        calls.end(calls.begin("list_events"))
    assert calls.oldest() == ("list_events", 100.0)


def test_a_call_that_was_given_up_is_no_sign_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("appliance.system.watchdog.time.monotonic", lambda: clock[0])
    calls = Calls()
    first = calls.begin("stats")
    calls.begin("stats")
    clock[0] += 50.0
    calls.end(first, came_back=False)
    assert calls.oldest() == ("stats", 50.0)


def test_a_call_that_ended_is_not_brought_back_when_a_stand_still_is_forgiven() -> None:
    """The two come from different threads."""
    calls, stopping = Calls(), threading.Event()

    def forgive() -> None:
        while not stopping.is_set():
            calls.forgive(1.0)

    thread = threading.Thread(target=forgive)
    thread.start()
    for _ in range(20_000):
        calls.end(calls.begin("write"))
    stopping.set()
    thread.join()
    assert calls.oldest() is None
