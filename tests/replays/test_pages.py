"""The pages of replays in a running appliance: the list, one replay, its segments, the frame that plays them."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any, Final

import httpx
import pytest

from appliance.testing.running import Owner, RunningAppliance

REPLAY: Final = "ab" * 16
AGENT: Final = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"


class Site:
    """An appliance with one replay, a browser that is signed in, and a project of somebody else."""

    def __init__(self, appliance: RunningAppliance, owner: Owner, client: httpx.Client) -> None:
        self.appliance, self.owner, self.client = appliance, owner, client
        self.base = f"/projects/{owner.project['slug']}/replays"

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self.client.get(f"{self.appliance.url}{path}", headers=headers)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    appliance = RunningAppliance(tmp_path_factory.mktemp("replays") / "data")
    owner = Owner(appliance, "Shop")
    with appliance, httpx.Client(timeout=30, trust_env=False) as client:
        appliance.verb("project", "create", "--name", "Other")
        made = Site(appliance, owner, client)
        _send(appliance, owner.key)
        _sign_in(appliance, client)
        appliance.wait_until(
            lambda: appliance.get(f"/api/v1/projects/{owner.project_id}/replays", owner.token)["items"], "the replay"
        )
        yield made


def _send(appliance: RunningAppliance, key: str) -> None:
    now = int(time.time() * 1000)
    node: dict[str, Any] = {"type": 0, "id": 1, "childNodes": []}
    events: list[dict[str, Any]] = [
        {"type": 4, "timestamp": now - 9_000, "data": {"href": "https://shop.test/", "width": 800, "height": 600}},
        {"type": 2, "timestamp": now - 8_990, "data": {"node": node, "initialOffset": {"left": 0, "top": 0}}},
    ]
    body: dict[str, Any] = {
        "replayId": REPLAY, "startedAt": now - 9_000, "endedAt": now, "url": "https://shop.test/<b>cart</b>",
        "userAgent": AGENT, "release": "shop@1", "environment": "live", "events": events,
    }  # fmt: skip
    status, said = appliance.post(f"/replay/{key}", json.dumps(body).encode(), {"content-type": "text/plain"})
    assert status < 300, said
    error = {
        "event_id": "cd" * 16, "timestamp": now / 1000, "platform": "javascript", "level": "error",
        "contexts": {"replay": {"replay_id": REPLAY}},
        "exception": {"values": [{"type": "TypeError", "value": "<i>cart</i> is not a function"}]},
    }  # fmt: skip
    payload = json.dumps(error).encode()
    lines = [json.dumps({"event_id": "cd" * 16}).encode(), b'{"type":"event"}', payload]
    path = f"/api/1/envelope/?sentry_key={key}&sentry_version=7"
    status, said = appliance.post(path, b"\n".join(lines), {"content-type": "text/plain"})
    assert status == 200, said


def _sign_in(appliance: RunningAppliance, client: httpx.Client) -> None:
    page = client.get(f"{appliance.url}/sign-in").text
    found = re.search(r'name="_csrf_token" value="([^"]+)"', page)
    assert found, page
    form = {"_csrf_token": found[1], "email": Owner.EMAIL, "password": Owner.PASSWORD}
    answer = client.post(f"{appliance.url}/sign-in", data=form, headers={"Origin": appliance.url})
    assert answer.status_code == 303, answer.text


def test_the_list_has_time_length_pages_errors_browser_and_release(site: Site) -> None:
    text = site.get(site.base).text
    assert f"{site.base}/{REPLAY}" in text
    for words in ("/&lt;b&gt;cart&lt;/b&gt;", "Firefox", "shop@1", "live"):
        assert words in text, words
    assert "<b>cart</b>" not in text
    assert "No replay matches" in site.get(f"{site.base}?release=nothing").text
    assert f"{site.base}/{REPLAY}" in site.get(f"{site.base}?release=shop@1").text


def test_the_api_filters_by_browser_as_the_page_does(site: Site) -> None:
    path = f"/api/v1/projects/{site.owner.project_id}/replays?browser="
    found = {name: site.appliance.get(path + name, site.owner.token)["items"] for name in ("Firefox", "Chrome")}
    assert {name: len(items) for name, items in found.items()} == {"Firefox": 1, "Chrome": 0}


def test_another_project_has_none(site: Site) -> None:
    assert "No replays in this period" in site.get("/projects/other/replays").text
    for path in ("", "/segments/0"):
        assert site.get(f"/projects/other/replays/{REPLAY}{path}").status_code == 404


def test_a_replay_is_found_by_its_id_alone(site: Site) -> None:
    answer = site.get(f"/replays/{REPLAY}?event={'cd' * 16}")
    assert (answer.status_code, answer.headers["location"]) == (303, f"{site.base}/{REPLAY}?event={'cd' * 16}")
    assert site.get(f"/replays/{'0' * 32}").status_code == 404
    assert "switched off" in site.get(f"/replays/{'0' * 32}").text


def test_the_page_leads_to_the_issue_and_the_issue_to_the_page(site: Site) -> None:
    site.appliance.wait_until(lambda: "not a function" in site.get(f"{site.base}/{REPLAY}").text, "the event")
    text = site.get(f"{site.base}/{REPLAY}").text
    link = re.search(r'href="(/issues/\d+/events/(?:cd){16})"', text)
    assert link, text
    assert "&lt;i&gt;cart" in text
    assert "<i>cart" not in text
    assert f"/replays/{REPLAY}?event={'cd' * 16}" in site.get(link[1]).text


def test_a_segment_comes_as_json_and_is_nobody_elses(site: Site) -> None:
    answer = site.get(f"{site.base}/{REPLAY}/segments/0")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.headers["cache-control"].startswith("private")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert [event["type"] for event in answer.json()] == [4, 2]
    assert site.get(f"{site.base}/{REPLAY}/segments/1").status_code == 404
    outside = httpx.get(f"{site.appliance.url}{site.base}/{REPLAY}/segments/0", trust_env=False)
    assert outside.status_code == 303
    assert outside.headers["location"].startswith("/sign-in")


def test_the_frame_may_load_and_run_nothing_but_the_player(site: Site) -> None:
    answer = site.get("/replay-frame")
    parts = [part.strip().partition(" ") for part in answer.headers["content-security-policy"].split(";")]
    policy = {name: rest for name, _, rest in parts}
    nonce = re.search(r"'nonce-([\w-]{22,})'", policy["script-src"])
    assert nonce, policy
    assert policy["script-src"] == f"'nonce-{nonce[1]}'"
    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == "'self'"
    assert policy["img-src"] == policy["font-src"] == "data:"
    assert not {"connect-src", "frame-src", "object-src", "media-src", "worker-src"} & policy.keys()  # default-src
    assert re.findall(r"<script[^>]*>", answer.text)
    assert all(f'nonce="{nonce[1]}"' in tag for tag in re.findall(r"<script[^>]*>", answer.text))
    assert site.get("/replay-frame").headers["content-security-policy"] != answer.headers["content-security-policy"]


def test_only_the_page_of_a_replay_may_frame_and_only_ourselves(site: Site) -> None:
    policy = site.get(f"{site.base}/{REPLAY}").headers["content-security-policy"]
    assert "frame-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "script-src 'self'" in policy
    assert "frame-src" not in site.get(site.base).headers["content-security-policy"]
    assert "unsafe-inline" not in policy
