"""Processors in plugins.d that raise, hang and crash the decode worker: the culprit pays, its neighbours do not."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from appliance.testing.running import Owner, RunningAppliance
from appliance.testing.traffic import read_books

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

SECRET = "hunter2-never-to-be-kept"
GOOD = 120
# What the processors do, and how often an event asks for it.
CULPRITS = {
    "raise": 4,
    "raise-strict": 4,
    "spoil": 2,
    "hang": 1,
    "abort": 2,
    "exit": 1,
    "segfault": 1,
    "return-nonsense": 3,
}
REASONS = {"processor": 4 + 2, "timed_out": 1, "crashed": 2 + 1 + 1}  # of the dead letters that this makes
KEPT = {"raise", "return-nonsense"}  # their processor is skipped for them
# Alone, a record may take a quarter of it: generous for an innocent one on a busy machine.
CONFIG = "[pipeline]\ndecode_timeout_seconds = 8\n"

PLUGIN = """
import ctypes
import os
import time

from appliance.hookspecs import PluginInfo, Processor, hookimpl
from appliance.model import Event

plugin = PluginInfo(name="hostile", version="1.0.0")


def wish(item):
    return item.tags.get("wish", "") if isinstance(item, Event) else ""


class Lenient(Processor):
    name, order, on_failure = "lenient", 60, "skip"

    def process_batch(self, items):
        for item in items:
            if wish(item) == "raise":
                item.message = "half changed"
                raise RuntimeError("asked to")
            if wish(item) == "return-nonsense":
                return [None]
        return items


class Strict(Processor):
    name, order, on_failure = "strict", 5, "dead_letter"  # before scrubbing: it sees everything

    def process_batch(self, items):
        for item in items:
            match wish(item):
                case "raise-strict":
                    raise RuntimeError("asked to")
                case "spoil":
                    item.message = 5  # at which the scrubber trips
                case "hang":
                    time.sleep(3600)
                case "abort":
                    os.abort()
                case "exit":
                    os._exit(3)
                case "segfault":
                    ctypes.string_at(0)
        return items


@hookimpl
def register_processors(context):
    return [Lenient(), Strict()]
"""


def event(**more: Any) -> tuple[str, bytes]:
    event_id = uuid.uuid4().hex
    exception = {"values": [{"type": "Neighbour", "value": f"password={SECRET}"}]}
    body = {"event_id": event_id, "platform": "javascript", "exception": exception, "extra": {"password": SECRET}}
    return event_id, json.dumps({**body, **more}).encode()


def send(appliance: RunningAppliance, owner: Owner, body: bytes) -> None:
    path = f"/api/{owner.project_id}/store/?sentry_key={owner.key}"
    status, answer = appliance.post(path, body, {"content-type": "application/json"})
    assert status == 200, answer


def test_processors_that_raise_hang_or_crash_cost_their_neighbours_nothing_and_skip_no_scrubbing(
    serve, owner, tmp_path: Path
) -> None:
    appliance = serve(config=CONFIG)
    plugins = appliance.data_dir / "plugins.d"
    plugins.mkdir(exist_ok=True)
    (plugins / "hostile.py").write_text(PLUGIN)
    appliance.start()
    good: set[str] = set()
    culprits: dict[str, set[str]] = {wish: set() for wish in CULPRITS}
    wishes = [wish for wish, times in CULPRITS.items() for _ in range(times)]
    for number in range(GOOD):
        event_id, body = event()
        good.add(event_id)
        send(appliance, owner, body)
        if number % (GOOD // len(wishes)) == 0 and number // (GOOD // len(wishes)) < len(wishes):
            wish = wishes[number // (GOOD // len(wishes))]
            event_id, body = event(tags={"wish": wish})
            culprits[wish].add(event_id)
            send(appliance, owner, body)
    books = read_books(appliance, owner)
    kept = {event_id for wish in KEPT for event_id in culprits[wish]}
    assert books.ids.keys() == good | kept
    assert set(books.ids.values()) == {1}
    assert books.wrong_issues == []
    assert books.project_events == len(good | kept)
    letters = appliance.get("/api/v1/system/dead-letters?limit=100", owner.token)["items"]
    assert Counter(letter["reason"] for letter in letters) == REASONS
    for event_id in books.ids:
        stored = appliance.get(f"/api/v1/events/{event_id}", owner.token)
        assert SECRET not in json.dumps(stored)
        assert stored["event"]["extra"] == {"password": "[Filtered]"}
        assert stored["event"].get("message", "") == ""
    appliance.stop()
    appliance.check_log()


def test_a_dead_letter_is_stored_once_when_it_is_tried_again_without_the_plugin_that_killed_it(serve, owner) -> None:
    appliance = serve(config=CONFIG)
    plugins = appliance.data_dir / "plugins.d"
    plugins.mkdir(exist_ok=True)
    (plugins / "hostile.py").write_text(PLUGIN)
    appliance.start()
    event_id, body = event(tags={"wish": "abort"})
    send(appliance, owner, body)
    assert read_books(appliance, owner).dead_letters == 1
    appliance.stop()
    (plugins / "hostile.py").unlink()
    appliance.start()
    for _ in range(2):
        status, _ = appliance.post(
            "/api/v1/system/dead-letters/retry",
            b"{}",
            {"authorization": f"Bearer {owner.token}", "content-type": "application/json"},
        )
        assert status == 200
    appliance.wait_until(lambda: read_books(appliance, owner).ids == {event_id: 1}, "the retried event", 60)
    send(appliance, owner, body)  # the SDK's own repetition
    books = read_books(appliance, owner)
    assert (books.ids, books.project_events, books.dead_letters) == ({event_id: 1}, 1, 0)
    assert SECRET not in json.dumps(appliance.get(f"/api/v1/events/{event_id}", owner.token))
    appliance.stop()
    appliance.check_log()
