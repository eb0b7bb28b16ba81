"""Everything that real clients were recorded to send, byte for byte over HTTP to a whole appliance, twice.

What each body decodes to is tried in tests/plugins; here: that it is answered as its client wants it, becomes exactly
one stored event for each event item, and that sending all of it again changes no count.
"""

from __future__ import annotations

import http.client
import json
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec import Struct, structs

from appliance.hookspecs import Protocol
from appliance.model import Event, Measurement, Record
from appliance.testing.recordings import SentRequest, condev_requests, sentry_recordings, sentry_requests
from appliance.testing.running import Owner, RunningAppliance
from appliance.testing.traffic import read_books, wait_until_drained
from condev_plugins.condev_protocol import CondevProtocol
from condev_plugins.sentry_protocol import SentryProtocol

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

PROJECT, KEY = 1001, "a1b2c3d4e5f60718293a4b5c6d7e8f90"  # as the recorded clients were told
RATES_OFF = "[ingest]\nrequests_per_second = 0\nrequests_per_second_per_address = 0\n"
NOT_SENT = {"host", "content-length", "connection", "transfer-encoding", "expect"}  # the connection's own


class Counts(Struct, frozen=True):
    """What must not change when everything comes again."""

    events: int  # rows of the store
    measurements: int
    project_events: int
    ids: dict[str, int]
    issues: dict[int, int]


class Answered(Struct, frozen=True):
    """An answer to a recorded request."""

    status: int
    headers: dict[str, str]
    body: bytes


class Connection:
    """Sends recorded requests as they were sent."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def send(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Answered:
        self._connection.putrequest(method, target, skip_accept_encoding=True)
        for name, value in headers.items():
            if name not in NOT_SENT:
                self._connection.putheader(name, value)
        if method == "POST":
            self._connection.putheader("content-length", str(len(body)))
        self._connection.endheaders(body or None)
        answer = self._connection.getresponse()
        named = {name.lower(): value for name, value in answer.getheaders()}
        return Answered(answer.status, named, answer.read())

    def close(self) -> None:
        self._connection.close()


@pytest.fixture(scope="module")
def appliance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningAppliance, Owner]]:
    """An appliance whose project has the recorded id and keys."""
    condev_keys = sorted({key for request in condev_requests() if (key := key_of(request["url"]))})
    data_dir = tmp_path_factory.mktemp("corpus") / "data"
    appliance = RunningAppliance(data_dir, config=RATES_OFF)
    owner = Owner(appliance)
    with sqlite3.connect(data_dir / "metadata.db") as database:
        database.execute("UPDATE projects SET id = ?", (PROJECT,))
        database.execute("UPDATE alert_rules SET project_id = ?", (PROJECT,))
        database.execute("UPDATE ingest_keys SET project_id = ?, key = ?", (PROJECT, KEY))
        for key in condev_keys:
            database.execute(
                "INSERT INTO ingest_keys (project_id, key, label, created_at) VALUES (?, ?, 'recorded', 1)",
                (PROJECT, key),
            )
    database.close()
    owner.project_id = PROJECT
    with appliance:
        yield appliance, owner


def key_of(url: str) -> str:
    found = re.search(r"/(?:tracking|replay)/([^/?]+)", url)
    return found[1] if found else ""


def count(appliance: RunningAppliance, owner: Owner) -> Counts:
    books = read_books(appliance, owner)
    assert books.wrong_issues == []
    assert books.dead_letters == 0
    tables = {table["table"]: table["rows"] for table in wait_until_drained(appliance, owner)["store"]["tables"]}
    issues = appliance.get(f"/api/v1/projects/{PROJECT}/issues?state=all&limit=100", owner.token)["items"]
    return Counts(
        events=tables["events"],
        measurements=tables["measurements"],
        project_events=books.project_events,
        ids=dict(books.ids),
        issues={issue["id"]: issue["event_count"] for issue in issues},
    )


def check_cors(method: str, headers: dict[str, str], answered: Answered, what: str) -> None:
    """What the browser looks at before it shows an answer to its page."""
    origin = headers.get("origin")
    if origin is None:
        return
    assert answered.headers.get("access-control-allow-origin") in ("*", origin), what
    if method != "OPTIONS":
        return
    assert answered.status in (200, 204), what
    asked = {name.strip() for name in headers.get("access-control-request-headers", "").split(",") if name.strip()}
    allowed = answered.headers.get("access-control-allow-headers", "").lower().split(",")
    assert asked <= {name.strip() for name in allowed}, what
    assert headers["access-control-request-method"] in answered.headers["access-control-allow-methods"], what


def send_sentry(connection: Connection, request: SentRequest) -> None:
    # What went through a page's own tunnel arrives at the envelope route, with the key in its header's DSN alone.
    path = f"/api/{PROJECT}/envelope/" if request.path == "/tunnel" else request.path
    target = f"{path}?{request.query}" if request.query else path
    answered = connection.send(request.method, target, request.headers, request.body)
    check_cors(request.method, request.headers, answered, request.id)
    if request.method == "OPTIONS":
        return
    assert answered.status == 200, (request.id, answered.body)
    said: dict[str, Any] = json.loads(answered.body)
    assert answered.headers["content-type"] == "application/json"
    assert isinstance(said["id"], str), request.id
    if request.kind == "sentry-envelope" and "content-encoding" not in request.headers:
        header = json.loads(request.body.split(b"\n", maxsplit=1)[0])
        assert said["id"] == header.get("event_id", "").replace("-", ""), request.id


def send_condev(connection: Connection, request: dict[str, Any]) -> None:
    url, headers = request["url"], request["headers"]
    answered = connection.send(request["method"], url, headers, request.get("body", "").encode())
    check_cors(request["method"], headers, answered, url)
    match request["method"]:
        case "POST":
            assert answered.status == 201, (url, answered.body)
            persisted = {"persistedVia": "kafka"} if "/tracking/" in url else {}
            assert json.loads(answered.body) == {"ok": True, **persisted}
        case "GET":
            assert answered.status == 200
            assert json.loads(answered.body)["data"]["replayEnabled"] in (True, False)
        case "HEAD":
            assert (answered.status, answered.body) == (200, b"")


def expected_items(protocol: Protocol, records: Iterator[Record]) -> tuple[set[str], set[str]]:
    """Ids of all events, and of all measurements."""
    events: set[str] = set()
    measurements: set[str] = set()
    for record in records:
        for item in protocol.decode(record).items:
            if isinstance(item, Event):
                events.add(item.id)
            elif isinstance(item, Measurement):
                measurements.add(item.id)
    return events, measurements


def sentry_records() -> Iterator[Record]:
    for recording in sentry_recordings():
        yield structs.replace(recording.record, address="127.0.0.1")  # ours, by which CSP reports are told apart


def condev_records() -> Iterator[Record]:
    for request in condev_requests():
        if request["method"] == "POST":
            yield Record(
                protocol="condev",
                route="replay" if "/replay/" in request["url"] else "tracking",
                project_id=PROJECT,
                received_at=request["at"] * 1_000,
                body=request["body"].encode(),
                headers=request["headers"],
            )


def test_every_recorded_request_is_answered_stored_once_and_changes_nothing_when_it_comes_again(appliance) -> None:
    running, owner = appliance
    requests = list(sentry_requests())
    assert len(requests) > 2_300
    events, measurements = expected_items(SentryProtocol(), sentry_records())
    of_condev = expected_items(CondevProtocol(), condev_records())
    events, measurements = events | of_condev[0], measurements | of_condev[1]
    counted: list[Counts] = []
    for _ in range(2):
        connection = Connection(running.port)
        for request in requests:
            send_sentry(connection, request)
        for request in condev_requests():
            send_condev(connection, request)
        connection.close()
        counted.append(count(running, owner))
    first, second = counted
    assert first == second
    assert first.events == first.project_events == len(events)
    assert first.measurements == len(measurements)
    assert set(first.ids.values()) == {1}
    assert first.ids.keys() <= events
    # Those that open no issue are found by their ids.
    for event_id in events - first.ids.keys():
        assert running.get(f"/api/v1/events/{event_id}", owner.token)["issue_id"] is None
    kinds = Counter(request.kind for request in requests)
    assert kinds["sentry-envelope"] > 2_000
    assert kinds.keys() == {"sentry-envelope", "sentry-store", "csp-report", "cors-preflight"}
