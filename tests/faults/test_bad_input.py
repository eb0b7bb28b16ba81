"""What nobody should send, over HTTP to a whole appliance: never a 500, never a lost neighbour, no secret kept.

Each bad thing comes with good events beside it: in the same envelope where that can still be read, and always in
requests of their own around it, so that they share the pipeline's batches.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import socket
import urllib.error
import uuid
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import brotli
import psutil
import pytest
from backports import zstd

from appliance.testing.hostile import DEEP, MIB, bombs, odd_events, raw_requests
from appliance.testing.running import Owner, RunningAppliance
from appliance.testing.traffic import read_books, wait_until_drained

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

SECRET = "hunter2-never-to-be-kept"

KINDS = (
    "feedback", "user_report", "transaction", "span", "session", "sessions", "client_report", "replay_event",
    "replay_recording", "attachment", "log", "no such type", "", "a\0b",
)  # fmt: skip
ODD_PAYLOADS = (
    b"", b"null", b"[]", b"[[[", b'{"a":', b"\xff\xfe", b"\0", f'"password={SECRET}"'.encode(),
    b'{"items":5,"aggregates":"x","discarded_events":{}}', b'{"items":[null,5,"x",{"attributes":5}]}',
    b'{"segment_id":"x","replay_id":5}\n\x00\x01',
)  # fmt: skip
ODD_HEADERS = (
    b"", b"{", b"[]", b"null", b'{"dsn":5,"event_id":{},"sent_at":[],"trace":"x","sdk":1}', b"{" * DEEP,
    b'{"a":' * DEEP + b"1" + b"}" * DEEP, b'{"sent_at":"2099-01-01T00:00:00Z"}', b'{"sent_at":"1970-01-01T00:00:00Z"}',
    b'{"dsn":"http://%00@/x"}', b"x" * MIB, b"\xff\xfe", b"\0",
)  # fmt: skip
CONDEV_FIELDS = (
    "event_type", "type", "message", "stack", "browserInfo", "_eventId", "_clientCreatedAt", "path", "userId",
    "filename", "lineno", "colno", "release", "replayId", "result", "exception", "reason", "eventData",
)  # fmt: skip

RATES_OFF = "[ingest]\nrequests_per_second = 0\nrequests_per_second_per_address = 0\n"


class Lab:
    """An appliance, and the good events that it was sent."""

    def __init__(self, appliance: RunningAppliance, owner: Owner) -> None:
        self.appliance = appliance
        self.owner = owner
        self.good: set[str] = set()
        self.odd: set[str] = set()
        self.read: set[str] = set()  # of the odd ones, those that earlier tests have looked at
        self.statuses: dict[str, int] = {}  # what was tried → how it was answered
        auth = f"sentry_key={owner.key}"
        self.envelope_path = f"/api/{owner.project_id}/envelope/?{auth}"
        self.store_path = f"/api/{owner.project_id}/store/?{auth}"
        self.security_path = f"/api/{owner.project_id}/security/?{auth}"
        self.tracking_path = f"/tracking/{owner.key}"
        self.replay_path = f"/replay/{owner.key}"

    def good_event(self) -> bytes:
        """A plain error that must be stored."""
        event_id = uuid.uuid4().hex
        self.good.add(event_id)
        exception = {"values": [{"type": "Neighbour", "value": "is well"}]}
        return json.dumps({"event_id": event_id, "platform": "javascript", "exception": exception}).encode()

    def odd_id(self) -> str:
        """The id of an event that may or may not be stored, but never with a secret."""
        event_id = uuid.uuid4().hex
        self.odd.add(event_id)
        return event_id

    def send(self, what: str, path: str, body: bytes, **headers: str) -> int:
        """POST something bad, with a good event before it; the one after it is that before the next, or of `check`."""
        self.send_good()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        status, _ = self.appliance.post(path, body, {"content-type": "text/plain", **named})
        self.statuses[what] = status
        return status

    def send_good(self) -> None:
        status, body = self.appliance.post(self.envelope_path, envelope([item(self.good_event())]))
        assert status == 200, body

    def check(self) -> None:
        """No 500, all good events there once, all counters right, no secret anywhere."""
        self.send_good()
        assert {what: status for what, status in self.statuses.items() if status >= 500} == {}
        books = read_books(self.appliance, self.owner)
        assert {event_id: books.ids[event_id] for event_id in self.good if books.ids[event_id] != 1} == {}
        assert books.wrong_issues == []
        unread = (self.odd | books.ids.keys()) - self.good - self.read
        texts = [self.event_text(event_id) for event_id in unread]
        self.read |= unread
        texts += [json.dumps(self.appliance.get(path, self.owner.token)) for path in self.listings()]
        leaks = {
            text[max(0, found.start() - 80) : found.end()] for text in texts for found in re.finditer(SECRET, text)
        }
        assert leaks == set()

    def event_text(self, event_id: str) -> str:
        """An event as the API gives it, raw JSON and all; "" when there is none."""
        try:
            return json.dumps(self.appliance.get(f"/api/v1/events/{event_id}", self.owner.token))
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
            return ""

    def listings(self) -> Iterator[str]:
        listing = f"/api/v1/projects/{self.owner.project_id}/issues?state=all&limit=100"
        yield listing
        for issue in self.appliance.get(listing, self.owner.token)["items"]:
            yield f"/api/v1/issues/{issue['id']}"
            yield f"/api/v1/issues/{issue['id']}/events?limit=200"


@pytest.fixture(scope="module")
def lab(prepared: tuple[Path, Owner], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One for all tests: what one of them sent must not hurt the next, either."""
    data_dir = tmp_path_factory.mktemp("bad input") / "data"
    shutil.copytree(prepared[0], data_dir)
    with RunningAppliance(data_dir, config=RATES_OFF) as appliance:
        yield Lab(appliance, prepared[1])


def item(payload: bytes, kind: str = "event", **header: Any) -> bytes:
    """An envelope item with the right length, unless `header` says another."""
    return json.dumps({"type": kind, "length": len(payload), **header}).encode() + b"\n" + payload + b"\n"


def envelope(items: list[bytes], header: bytes = b"{}") -> bytes:
    return header + b"\n" + b"".join(items)


def test_odd_events_in_the_middle_of_envelopes_cost_their_neighbours_nothing(lab: Lab) -> None:
    for what, payload in odd_events(lab.odd_id, SECRET).items():
        body = envelope([item(lab.good_event()), item(payload), item(lab.good_event())])
        assert lab.send(what, lab.envelope_path, body) == 200, what
    for kind in KINDS:
        for payload in ODD_PAYLOADS:
            body = envelope([item(lab.good_event()), item(payload, kind), item(lab.good_event())])
            assert lab.send(f"{kind} {payload!r}", lab.envelope_path, body) == 200
    lab.check()


def test_odd_events_and_reports_alone_are_answered_and_hurt_nobody(lab: Lab) -> None:
    for what, payload in odd_events(lab.odd_id, SECRET).items():
        lab.send(f"store: {what}", lab.store_path, payload)
        lab.send(f"security: {what}", lab.security_path, payload)
        report = b'{"csp-report": ' + (payload or b"{}") + b"}"
        lab.send(f"security, wrapped: {what}", lab.security_path, report)
        lab.send(f"envelope of it: {what}", lab.envelope_path, payload)
    lab.check()


def test_envelopes_with_wrong_lengths_and_headers_are_answered_and_hurt_nobody(lab: Lab) -> None:
    good = lab.good_event
    payload = good()
    for length in (0, 1, len(payload) - 1, len(payload) + 1, 10**9, 2**63, -1, 1.5, "12", None, True, [], {}):
        body = envelope([item(json.dumps({"event_id": lab.odd_id()}).encode(), length=length), item(good())])
        # The payload is a line, so that even a length that is wrong does not hide where the next item begins.
        assert lab.send(f"length {length}", lab.envelope_path, body) == 200
    lab.send_good()
    lab.appliance.post(lab.envelope_path, envelope([item(payload)]))
    for header in ODD_HEADERS:
        lab.send(f"header {header[:60]!r}", lab.envelope_path, envelope([item(b'{"message":"x"}')], header))
    for tail in (b"", b"{", b"not a header\n{}", b'{"type":"event"}', b'{"type":5}\n{}', b"\n\n\n", b"\0" * 100,
                 b'{"type":"event","length":99999}\n{"message":"cut', b"{}\n" * 20_000):  # fmt: skip
        assert lab.send(f"tail {tail[:60]!r}", lab.envelope_path, envelope([item(good())]) + tail) == 200
    lab.check()


def test_odd_condev_bodies_are_answered_and_hurt_nobody(lab: Lab) -> None:
    def entry(**changes: Any) -> dict[str, Any]:
        event_id = lab.odd_id()
        told = {"message": f"password={SECRET}", "stack": f"Error: token={SECRET}\n    at f (a.js:1:2)"}
        return {"event_type": "error", "type": "Error", "_eventId": event_id, **told, **changes}

    def good() -> dict[str, Any]:
        event_id = uuid.uuid4().hex
        lab.good.add(event_id)
        return {"event_type": "error", "type": "TypeError", "message": "is well", "_eventId": event_id}

    odd: list[Any] = [None, 5, "text", [], [[]], {}, True]
    odd += [
        entry(**{name: value})
        for name in CONDEV_FIELDS
        for value in (5, "x\0y", None, [1], {"password": SECRET}, -1e300)
    ]
    odd += [entry(_clientCreatedAt=at) for at in (0, 4_070_908_800_000, 10**30, "2099-01-01")]
    odd += [entry(event_type=kind) for kind in ("performance", "custom", "ai_streaming", "ai_span", "nobody's")]
    body = json.dumps([good(), *odd, good()]).encode()
    assert lab.send("among entries", lab.tracking_path, body, content_type="application/json") == 201
    for what, payload in odd_events(lab.odd_id, SECRET).items():
        for path in (lab.tracking_path, lab.replay_path):
            lab.send(f"{path[:5]}: {what}", path, payload)
            lab.send(f"{path[:5]} as JSON: {what}", path, payload, content_type="application/json")
    for spoilt, by in ((b'"N"', b"NaN"), (b'"N"', b"[" * DEEP + b"]" * DEEP), (b"N", b"\xff"), (b"N", b"\\ud800")):
        body = json.dumps([good(), entry(userId="N"), good()]).encode().replace(spoilt, by)
        assert lab.send(f"among entries: {by[:9]!r}", lab.tracking_path, body) == 201
    for events in ("x", 5, None, [None], [5], [{}], [{"type": "x"}], {"password": SECRET}, [[]] * 10_000):
        replay = {"replayId": uuid.uuid4().hex, "events": events, "startedAt": "x", "endedAt": {}, "path": 5}
        lab.send(
            f"replay {events!r:.40}", lab.replay_path, json.dumps(replay).encode(), content_type="application/json"
        )
    lab.check()


def peak_memory(pid: int) -> int:
    """Bytes that a process and its children ever held."""
    processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    statuses = [Path(f"/proc/{process.pid}/status").read_text() for process in processes]
    return sum(int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024 for status in statuses)


def test_bombs_are_refused_within_bounded_memory_and_hurt_nobody(lab: Lab) -> None:
    for what, bomb in bombs().items():
        lab.send_good()
        wait_until_drained(lab.appliance, lab.owner)
        before = peak_memory(lab.appliance.pid)
        encoding = what.split(maxsplit=1)[0]
        for path in (lab.envelope_path, lab.store_path, lab.tracking_path, lab.replay_path):
            status = lab.send(f"{what} to {path[:9]}", path, bomb, content_encoding=encoding)
            assert status in (400, 413), what
        assert peak_memory(lab.appliance.pid) < before + 200 * MIB, what
    lab.check()


def test_bodies_that_are_not_what_their_encoding_says_are_refused_and_hurt_nobody(lab: Lab) -> None:
    body = envelope([item(json.dumps({"event_id": lab.odd_id(), "message": f"password={SECRET}"}).encode())])
    packed = {
        "gzip": zlib.compress(body, wbits=31),
        "deflate": zlib.compress(body),
        "br": brotli.compress(body),
        "zstd": zstd.compress(body),
    }
    for encoding, data in packed.items():
        spoilt = {
            "truncated": data[:-5],
            "followed by something": data + b"something",
            "damaged": data[:10] + bytes(byte ^ 0xFF for byte in data[10:30]) + data[30:],
            "plain": body,
            "empty": b"",
            "of another encoding": packed["br" if encoding == "gzip" else "gzip"],
        }
        for what, data_sent in spoilt.items():
            for path in (lab.envelope_path, lab.store_path, lab.tracking_path):
                status = lab.send(f"{encoding} {what}", path, data_sent, content_encoding=encoding)
                assert status in (200, 201, 400), (encoding, what, status)
    for encoding in ("gzip, gzip", "compress", "x" * 5_000, "gzip\x01", ""):
        lab.send(f"encoding {encoding[:9]!r}", lab.envelope_path, packed["gzip"], content_encoding=encoding)
    lab.check()


def answers_to(port: int, data: bytes) -> list[int]:
    """Send bytes and no more, and read until the other side ends or is silent; the statuses of its answers."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(data)
        with contextlib.suppress(OSError):  # the other side may have ended it by now
            connection.shutdown(socket.SHUT_WR)
        while part := connection.recv(65_536):
            received += part
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", received)]


def test_requests_that_are_no_proper_http_get_no_500_and_hurt_nobody(lab: Lab) -> None:
    for path in (lab.envelope_path, lab.tracking_path + "?x=1"):
        body = envelope([item(json.dumps({"event_id": lab.odd_id(), "message": "odd"}).encode())])
        for what, data in raw_requests(path, body).items():
            lab.send_good()
            answered = answers_to(lab.appliance.port, data)
            assert all(status < 500 for status in answered), (what, answered)
            lab.statuses[what] = max(answered, default=0)
    lab.check()
