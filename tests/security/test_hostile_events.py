"""A hostile event through the real ingest: on every page that shows it nothing runs, and nothing leads where it says.

In the mail about it, too: see `tests/alerts` for its text; here is what the real chain made of it.
"""

from __future__ import annotations

import importlib.util
import re
import time
import uuid
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

SPEC = importlib.util.spec_from_file_location("browser_fixtures", Path(__file__).parents[1] / "browser" / "conftest.py")
assert SPEC is not None
assert SPEC.loader is not None
_fixtures = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(_fixtures)
browser = _fixtures.browser

RUN: Final = "window.hit=(window.hit||0)+1"
HOSTILE: Final = (
    f"</title></script><script>{RUN}</script><img src=x onerror={RUN}>\"'><svg onload={RUN}>"
    f'<a href="javascript:{RUN}">link</a><div hx-get=//evil.example hx-trigger=load hx-on::load={RUN}>{{{{7*7}}}}'
    f"<iframe srcdoc='<script>{RUN}</script>'></iframe>\u202e\u0000\r\nX-Evil: 1"
)
LINK: Final = f"javascript:{RUN}//https://x.example"
DATA: Final = f"data:text/html,<script>{RUN}</script>"
LEADING: Final = ("href", "action", "src", "hx-get", "hx-post", "data-href", "formaction")  # attributes with addresses
TARGETS: Final = """names => [...document.querySelectorAll("*")].flatMap(one =>
    names.filter(name => one.hasAttribute(name)).map(name => one.getAttribute(name)))"""
HANDLERS: Final = """[...document.querySelectorAll("*")].flatMap(one => one.getAttributeNames())
    .filter(name => /^(on|hx-on|style$)/.test(name))"""


def hostile_event() -> dict[str, Any]:
    """Hostile text wherever a page could show some, hostile addresses wherever one could become a link."""
    frame = {
        "function": HOSTILE,
        "module": HOSTILE,
        "filename": LINK,
        "abs_path": DATA,
        "lineno": 1,
        "colno": 1,
        "context_line": HOSTILE,
        "pre_context": [HOSTILE],
        "post_context": [HOSTILE],
        "in_app": True,
        "vars": {HOSTILE: HOSTILE},
    }
    return {
        "event_id": uuid.uuid4().hex,
        "timestamp": time.time(),
        "platform": "javascript",
        "level": "error",
        "transaction": HOSTILE,
        "logger": HOSTILE,
        "server_name": HOSTILE,
        "environment": "<script>env</script>",
        "release": f"{HOSTILE[:150]}@1",
        "dist": HOSTILE[:60],
        "user": {"id": HOSTILE, "email": HOSTILE, "username": LINK, "ip_address": "203.0.113.9"},
        "tags": {"url": LINK, "site": DATA, "<b>key</b>": HOSTILE, "link": "vbscript:x", "blob": "blob:https://x"},
        "request": {
            "url": LINK,
            "method": HOSTILE,
            "query_string": HOSTILE,
            "headers": {"Referer": LINK, "User-Agent": HOSTILE},
            "data": {HOSTILE: HOSTILE},
        },
        "breadcrumbs": [
            {
                "timestamp": time.time(),
                "category": HOSTILE,
                "message": HOSTILE,
                "level": HOSTILE,
                "type": HOSTILE,
                "data": {"url": LINK, "from": DATA, "to": LINK, HOSTILE: HOSTILE},
            },
        ],
        "contexts": {
            "browser": {"name": HOSTILE, "version": HOSTILE},
            "os": {"name": HOSTILE},
            HOSTILE: {HOSTILE: LINK},
        },
        "extra": {HOSTILE: HOSTILE, "link": LINK},
        "sdk": {"name": HOSTILE, "version": HOSTILE},
        "exception": {
            "values": [
                {
                    "type": "<img/src/onerror=alert(1)>",
                    "value": HOSTILE,
                    "stacktrace": {"frames": [frame]},
                    "mechanism": {"type": HOSTILE, "handled": False},
                }
            ]
        },
    }


@pytest.fixture
def hostile_issue(site: Any) -> int:
    """The issue that such an event opened in project B."""
    path = f"/api/{site.project_b['id']}/envelope/?sentry_key={site.project_b['key']}&sentry_version=7"
    status, said = site.appliance.post(path, site.envelope(hostile_event()), {"content-type": "text/plain"})
    assert status == 200, said
    owner, found = site.people["owner"], []

    def listed() -> bool:
        items = site.appliance.get(f"/api/v1/projects/{site.project_b['id']}/issues", owner.token)["items"]
        found[:] = [item["id"] for item in items if "onerror" in item["title"]]
        return bool(found)

    site.appliance.wait_until(listed, "the hostile issue")
    return int(found[0])


async def test_nothing_of_a_hostile_event_runs_or_leads_anywhere(site: Any, hostile_issue: int, browser: Any) -> None:
    url = site.appliance.url
    context = await browser.new_context()
    await context.add_cookies([{"name": "condev_session", "value": site.people["owner"].session, "url": url}])
    page = await context.new_page()
    alarms: list[str] = []
    asked: list[str] = []
    page.on("dialog", lambda dialog: alarms.append(f"dialog {dialog.message}"))
    page.on("console", lambda said: alarms.append(said.text) if "Content Security Policy" in said.text else None)
    page.on("request", lambda request: asked.append(request.url))
    issue = f"/issues/{hostile_issue}"
    paths = [
        "/issues",
        "/issues?q=is:all",
        issue,
        f"{issue}/events",
        f"{issue}/grouping",
        f"{issue}/events/latest/json",
        "/issues/values/release",
        "/issues/values/environment",
        "/issues/values/browser",
        "/alerts",
        "/alerts/messages",
        "/system",
    ]
    shown = 0
    for path in paths:
        answer = await page.goto(url + path, wait_until="load")
        assert answer.status == 200, path
        await page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
        await page.wait_for_timeout(150)  # what would run on load, runs
        assert await page.evaluate("window.hit") is None, path
        shown += "onerror" in await page.evaluate("document.body.innerText")
        targets = await page.evaluate(TARGETS, list(LEADING))
        odd = [
            t
            for t in targets
            if urlsplit(t.strip()).scheme not in ("", "http", "https") and not t.startswith("data:image/")
        ]
        assert odd == [], path
        assert [t for t in targets if t.startswith("//")] == [], path
        assert (
            await page.evaluate("document.querySelectorAll('iframe, object, embed, main script, main style').length")
            == 0
        )
        assert await page.evaluate(HANDLERS) == [], path
    assert shown >= 5
    assert alarms == []
    assert [address for address in asked if urlsplit(address).netloc != urlsplit(url).netloc] == []
    await context.close()


def test_links_to_other_hosts_tell_them_nothing_and_are_only_http(site: Any, hostile_issue: int) -> None:
    session = site.people["owner"].session
    for path in (f"/issues/{hostile_issue}", f"/issues/{site.ids['issue_id']}"):
        text = site.ask("GET", path, session=session).text
        for link in re.findall(r"<a [^>]*href=\"(?:https?:)?//[^>]*>", text):
            assert 'rel="noreferrer noopener nofollow"' in link
            assert re.search(r'href="https?://', link)
    raw = site.ask("GET", f"/issues/{hostile_issue}/events/latest/json?download=1", session=session)
    assert raw.headers["content-type"].startswith("application/json")
    assert raw.headers["content-disposition"].startswith('attachment; filename="event-')
    assert "x-evil" not in raw.headers


def test_hostile_words_in_filters_and_forms_come_back_as_words(site: Any) -> None:
    session = site.people["owner"].session
    words = "\"><script>window.hit=1</script>'"
    for path in (
        "/issues?q={}",
        "/issues?project={}",
        "/issues?sort={}&period={}",
        "/issues/1/events?text={}&tag=a:{}",
        "/sign-in?next={}",
        "/alerts/messages?state={}",
        "/system/dead-letters?done={}",
        "/{}",
        "/projects/{}",
        "/issues/1/events/{}",
        "/alerts/rules/new?project=first-shop&condition={}",
    ):
        from urllib.parse import quote

        answer = site.ask("GET", path.replace("{}", quote(words)), session=session)
        assert answer.status < 500, path
        assert "<script>window.hit" not in answer.text, path
    for path, form in (
        ("/projects", {"name": words, "slug": words}),
        ("/account/tokens", {"name": words, "scopes": words}),
        ("/users", {"email": words, "role": words}),
        (
            "/alerts/rules",
            {"project": "first-shop", "name": words, "condition": words, "channel": words, "recipients": words},
        ),
    ):
        answer = site.ask("POST", path, session=session, form=form)
        assert answer.status in (400, 404, 422), path
        assert "<script>window.hit" not in answer.text, path
