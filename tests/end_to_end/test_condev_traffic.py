"""What the existing condev SDK recorded ends up where the API shows it: errors, vitals, a replay, a release."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from appliance.testing.running import Owner, RunningAppliance

BROWSER = {
    "userAgent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0 Safari/537.36",
    "language": "en-US",
    "platform": "Linux x86_64",
    "rederrer": "",
    "path": "/page",
}


def event(number: int, **fields: Any) -> dict[str, Any]:
    """As that SDK sends it, the misspelt `rederrer` included."""
    return {
        "message": "",
        "browserInfo": BROWSER,
        "release": "1.2.3",
        "dist": "web",
        "userId": "u1",
        "path": "/page",
        "_eventId": f"80c1fd3f-8062-458d-8f23-{number:012x}",
        "_clientCreatedAt": 1795400470585,
        **fields,
    }


@pytest.mark.timeout(120)
def test_errors_vitals_and_a_replay_of_the_condev_sdk_are_shown_by_the_api(tmp_path: Path) -> None:
    vitals = [
        event(index, event_type="performance", type="webVital", name="LCP", value=1000.0 + 100 * index)
        for index in range(1, 11)
    ]
    error = event(
        99, event_type="error", type="TypeError", message="Uncaught TypeError: boom",
        stack="TypeError: boom\n    at pay (https://shop.example.com/app.js:1:28)", replayId="replay_mwsn31a1_w0usap",
    )  # fmt: skip
    replay = {
        "replayId": "replay_mwsn31a1_w0usap",
        "startedAt": "2026-11-23T02:21:07.962Z",
        "endedAt": "2026-11-23T02:21:20.585Z",
        "errorAt": "2026-11-23T02:21:10.585Z",
        "url": "https://shop.example.com/page",
        "path": "/page",
        "userAgent": BROWSER["userAgent"],
        "events": [{"type": 4, "data": {"href": "https://shop.example.com/page"}, "timestamp": 1795400467962}],
    }
    running = RunningAppliance(tmp_path / "data")
    owner = Owner(running)
    with running:
        plain = {"Content-Type": "text/plain;charset=utf-8"}
        # A DSN without a prefix makes that SDK send to paths with two slashes.
        status, _ = running.post(f"//tracking/{owner.key}", json.dumps([error, *vitals]).encode(), plain)
        assert status == 201
        status, _ = running.post(f"/dsn-api/replay/{owner.key}", json.dumps(replay).encode(), plain)
        assert status == 201

        api = f"/api/v1/projects/{owner.project_id}"
        running.wait_until(lambda: running.get(f"{api}/replays", owner.token)["items"], "the replay")
        (metric,) = running.get(f"{api}/performance?metric=LCP", owner.token)["items"]
        assert metric["samples"] == 10
        assert 1700 <= metric["p75"] <= 1850
        # The bodies may be two batches: an issue comes with the first one's effects, the replay with the other's rows.
        running.wait_until(lambda: running.get(f"{api}/issues", owner.token)["items"], "the issue")
        (issue,) = running.get(f"{api}/issues", owner.token)["items"]
        assert issue["title"] == "TypeError: boom"
        assert issue["event_count"] == 1
        (shown,) = running.get(f"{api}/replays", owner.token)["items"]
        assert shown["segments"] == 1
        running.wait_until(lambda: running.get(f"{api}/releases", owner.token)["items"], "the release")
        (release,) = running.get(f"{api}/releases", owner.token)["items"]
        assert release["release"] == "1.2.3"
        assert release["event_count"] == 1
