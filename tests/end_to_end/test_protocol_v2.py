"""An envelope of our own SDK, over HTTP to a whole appliance: what the API shows, also when it is sent again."""

from __future__ import annotations

import base64
import gzip
import json
import time
import urllib.error
import urllib.request
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

from appliance.testing.running import Owner, RunningAppliance

VIEW, VISIT, TRACE, REPLAY, EVENT = ("a" * 32, "b" * 32, "c" * 32, "d" * 32, "e" * 32)
PLAIN = {"Content-Type": "text/plain;charset=UTF-8", "Origin": "https://shop.example.com"}
STACK = "TypeError: x is undefined\n    at total (https://shop.example.com/app.js:1:230)"


def lines(now: int, envelope: str, *, last: int, has: list[str], items: list[dict[str, Any]], **header: Any) -> bytes:
    view = {"id": VIEW, "started": now - 9_000, "url": "https://shop.example.com/cart?x=1", "route": "/cart"}
    first = {
        "v": 2, "id": envelope * 32, "sent_at": now, "has": has, "page_view": view, "last": last, "release": "shop@2",
        "session": {"id": VISIT, "started": now - 60_000, "status": "errored", "errors": 1}, **header,
    }  # fmt: skip
    return "\n".join(map(json.dumps, [first, *items])).encode()


def fetch(url: str, **headers: str) -> tuple[int, Message, bytes]:
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


@pytest.mark.timeout(180)
def test_an_envelope_is_shown_by_the_api_and_sending_it_again_changes_nothing(tmp_path: Path) -> None:
    now = int(time.time() * 1000)
    exception = {"type": "TypeError", "value": "x is undefined", "stack": STACK, "handled": False}
    first = lines(
        now, "1", last=4, has=["event", "measurement", "span", "outcome"], user={"id": 7},
        items=[
            {"type": "event", "n": 1, "at": now - 500, "id": EVENT, "kind": "error", "exceptions": [exception],
             "replay_id": REPLAY},
            {"type": "measurement", "n": 2, "at": now - 400, "id": "cls", "metric": "CLS", "value": 0.02,
             "rating": "good"},
            {"type": "span", "n": 3, "trace_id": TRACE, "span_id": "f" * 16, "op": "pageload", "name": "/cart",
             "start": now - 9_000, "end": now - 8_000, "is_segment": True},
            {"type": "outcome", "reason": "before_send", "category": "error", "quantity": 1, "numbers": [4]},
        ],
    )  # fmt: skip
    later = lines(
        now, "2", last=8, has=["measurement"],
        items=[{"type": "measurement", "n": 7, "at": now, "id": "cls", "metric": "CLS", "value": 0.4, "rating": "poor",
                "replaces": True}],
    )  # fmt: skip
    recording = base64.b64encode(gzip.compress(b'[{"type":4,"timestamp":1}]')).decode()
    replay = lines(
        now, "3", last=8, has=["replay_segment"],
        items=[{"type": "replay_segment", "n": 8, "replay_id": REPLAY, "segment": 0, "replay_type": "buffer",
                "started": now - 3_000, "ended": now - 100, "error_ids": [EVENT], "data": recording}],
    )  # fmt: skip
    running = RunningAppliance(tmp_path / "data")
    owner = Owner(running)
    with running:
        for _ in range(2):
            for path, body in (
                (f"/v2/{owner.key}?sdk=condev.browser/0.1.0&enc=gzip", gzip.compress(first)),
                (f"/dsn-api/v2/{owner.key}", later),
                (f"//v2/{owner.key}/", replay),
            ):
                status, answer = running.post(path, body, PLAIN)
                assert (status, json.loads(answer)) == (200, {"ok": True})
        project = f"/api/v1/projects/{owner.project_id}"

        def items(path: str) -> list[dict[str, Any]]:
            found: dict[str, Any] = running.get(f"{project}/{path}", owner.token)
            return found["items"]

        def drained() -> bool:
            system = running.get("/api/v1/system", owner.token)
            return system["processed"] >= 6 and system["spool"]["records"] == 0

        running.wait_until(drained, "both rounds to be applied")
        (issue,) = items("issues")
        assert (issue["title"], issue["event_count"]) == ("TypeError: x is undefined", 1)
        (view,) = items("page-views")
        assert (view["id"], view["envelopes"], view["captured"], view["missing"]) == (VIEW, 3, 8, 2)  # 5 and 6
        (visit,) = items("sessions")
        assert (visit["id"], visit["status"], visit["errors"], visit["page_views"]) == (VISIT, "errored", 1, 1)
        assert visit["missing"] == 2
        (cls,) = items("performance?metric=CLS")
        assert (cls["samples"], cls["poor"]) == (1, 1)
        assert [span["name"] for span in items("spans")] == ["/cart"]
        assert [found["segments"] for found in items("replays")] == [1]
        dropped = items("outcomes")
        assert [(one["source"], one["reason"], one["quantity"]) for one in dropped] == [("client", "before_send", 1)]
        running.check_log()


@pytest.mark.timeout(120)
def test_the_script_is_served_short_and_pinned_under_its_own_and_its_usual_name(tmp_path: Path) -> None:
    running = RunningAppliance(tmp_path / "data", config='[sdk]\nscript = "shop.js"\npath = "collect"\n')
    owner = Owner(running)
    with running:
        short, headers, body = fetch(f"{running.url}/shop.js")
        assert short == 200
        assert headers["cache-control"].startswith("public, max-age=300")
        assert headers["access-control-allow-origin"] == "*"
        assert fetch(f"{running.url}/sdk.js")[2] == body
        assert fetch(f"{running.url}/shop.js", **{"If-None-Match": headers["etag"]})[0] == 304
        (version,) = [path.name for path in (tmp_path / "data" / "sdk").iterdir()]  # kept for pages that pin it
        status, headers, same = fetch(f"{running.url}/shop/{version}/shop.js")
        assert (status, same) == (200, body)
        assert "immutable" in headers["cache-control"]
        assert fetch(f"{running.url}/sdk/{version}/sdk.js.map")[0] == 200
        assert fetch(f"{running.url}/shop/0.0.0/shop.js")[0] == 404
        now = int(time.time() * 1000)
        envelope = lines(now, "4", last=1, has=["event"], items=[{"type": "event", "kind": "message", "message": "hi"}])
        assert running.post(f"/collect/{owner.key}", envelope, PLAIN)[0] == 200
