"""What goes wrong in a page, in Chromium with the SDK as it is served, against the running appliance.

One appliance for the file; each test has a project of its own, and asserts what the API and the dashboard show of it.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final, cast
from urllib.error import HTTPError
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, Page

from appliance.testing.running import Owner, RunningAppliance

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

SHOP: Final = Path(__file__).parent / "shop"
DEBUG_ID: Final = "85314830-023f-4cf1-a267-535f4e37bb17"
SLOW_SECONDS: Final = 0.6


class Origin(ThreadingHTTPServer):
    """A web server on a port of its own, which is an origin of its own."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.pages: dict[str, str] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Answer(BaseHTTPRequestHandler):
    """A page, a script of the shop, or the status that the path asks for."""

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        origin, path = cast("Origin", self.server), urlsplit(self.path).path
        origin.asked.append((path, {name.lower(): value for name, value in self.headers.items()}))
        if path in origin.pages:
            self._reply(200, "text/html", origin.pages[path].encode())
        elif path.endswith(".js") and "/missing/" not in path:
            self._reply(200, "text/javascript", (SHOP / path.rpartition("/")[2]).read_bytes())
        else:
            if "slow" in path:
                time.sleep(SLOW_SECONDS)
            status = re.search(r"/(\d{3})\b", path)
            self._reply(int(status[1]) if status else 404 if "/missing/" in path else 200, "text/plain", b"ok")

    do_POST = do_PUT = do_GET  # noqa: N815 - the base class's names

    def do_OPTIONS(self) -> None:
        self._reply(204, "text/plain", b"")

    def _reply(self, status: int, kind: str, body: bytes) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # of a request that the page aborted
            self.send_response(status)
            self.send_header("Content-Type", kind)
            if "/cors/" in self.path or "/traced" in self.path:
                for name in ("Origin", "Headers", "Methods"):
                    self.send_header(f"Access-Control-Allow-{name}", "*")
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


class Shop:
    """A project, its page on an origin of its own, and what the API says of it."""

    def __init__(self, running: RunningAppliance, token: str, name: str, origins: tuple[Origin, Origin]) -> None:
        self.running = running
        self.token = token
        self.own, self.foreign = origins
        self.project: dict[str, Any] = json.loads(running.verb("project", "create", "--name", name, "--json"))
        self.path = f"/{self.project['slug']}/"

    def address(self, options: str = "", scripts: str = "") -> str:
        """Of the page, with more attributes for the SDK's script element, and more elements."""
        page = (SHOP / "index.html").read_text("utf-8")
        dsn = f"{self.running.url}/v2/{self.project['key']}"
        for word, value in {
            "MONITOR": self.running.url,
            "DSN": dsn,
            "FOREIGN": self.foreign.url,
            "OPTIONS": options,
        }.items():
            page = page.replace(word, value)
        self.own.pages[self.path] = page.replace("</body>", f"{scripts}</body>")
        return f"{self.own.url}{self.path}"

    def get(self, path: str) -> Any:
        """Of the project's part of the API."""
        return self.running.get(f"/api/v1/projects/{self.project['id']}/{path}", self.token)

    def issues(self) -> dict[str, dict[str, Any]]:
        """By title."""
        return {one["title"]: one for one in self.get("issues?limit=100&state=all")["items"]}

    def events(self, issue: dict[str, Any]) -> list[dict[str, Any]]:
        """With what the SDK sent."""
        listed = self.running.get(f"/api/v1/issues/{issue['id']}/events?limit=100", self.token)["items"]
        return [self.until("the event by its id", lambda one=one: self._event(one["id"])) for one in listed]

    def _event(self, event_id: str) -> Any:
        """None for a moment: an event is listed before its id leads to it."""
        try:
            return self.running.get(f"/api/v1/events/{event_id}", self.token)["event"]
        except HTTPError as error:
            if error.code != 404:
                raise
            return None

    def until(self, what: str, look: Callable[[], Any]) -> Any:
        """What the look gives, once it gives something."""
        found: list[Any] = []

        def seen() -> bool:
            found[:] = [look()]
            return bool(found[0])

        try:
            self.running.wait_until(seen, what, 60)
        except AssertionError as error:
            raise AssertionError(f"{error}\nissues: {sorted(self.issues())}") from None
        return found[0]

    def issue(self, words: str, count: int = 1) -> dict[str, Any]:
        """The one issue with these words in its title, once it has that many events."""

        def look() -> dict[str, Any] | None:
            found = [one for title, one in self.issues().items() if words in title]
            assert len(found) < 2, (words, [one["title"] for one in found])
            return found[0] if found and found[0]["event_count"] >= count else None

        return self.until(f"{count} × {words}", look)

    def event(self, words: str) -> dict[str, Any]:
        """The one event of the one issue with these words in its title."""
        issue = self.issue(words)
        assert issue["event_count"] == 1, issue
        return self.events(issue)[0]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningAppliance, str]]:
    """The appliance, and an owner's token."""
    appliance = RunningAppliance(tmp_path_factory.mktemp("errors") / "data")
    owner = Owner(appliance)
    with appliance:
        yield appliance, owner.token


@pytest.fixture
def shop(running: tuple[RunningAppliance, str], request: pytest.FixtureRequest) -> Iterator[Shop]:
    origins = Origin(), Origin()
    yield Shop(*running, request.node.name, origins)
    for origin in origins:
        origin.shutdown()
        origin.server_close()


@pytest.fixture
async def page(browser: Browser) -> Page:
    return await browser.new_page()


async def run(page: Page, *calls: str) -> None:
    """Calls in the page, from its own scripts' point of view."""
    for call in calls:
        await page.evaluate(f"() => void shop.{call}")
    await page.evaluate("() => new Promise((done) => setTimeout(done, 50))")


async def dashboard(browser: Browser, shop: Shop, issue: dict[str, Any]) -> str:
    """What the issue's page says to the owner."""
    tab = await browser.new_page()
    await tab.goto(f"{shop.running.url}/sign-in")
    await tab.fill("input[name=email]", Owner.EMAIL)
    await tab.fill("input[type=password]", Owner.PASSWORD)
    await tab.click("button[type=submit]")
    await tab.get_by_role("heading", name="Issues").wait_for()
    await tab.goto(f"{shop.running.url}/issues/{issue['id']}")
    said = await tab.locator("main").inner_text()
    await tab.close()
    return said


async def test_everything_that_nobody_caught_is_an_issue_with_what_was_thrown(page: Page, shop: Shop) -> None:
    await page.goto(shop.address())
    kinds = ("uncaught", "text", "rejectedError", "rejectedText", "rejectedNothing", "rejectedObject", "rejectedDom",
             "rejectedEvent", "foreignRealm")  # fmt: skip
    await run(page, *(f"{kind}()" for kind in kinds))
    expected = {
        "reading 'price'": ("TypeError", "onerror"),
        "cart is locked": ("Error", "onerror"),
        "quantity is out of range": ("RangeError", "onunhandledrejection"),
        "no courier tonight": ("UnhandledRejection", "onunhandledrejection"),
        "UnhandledRejection: undefined": ("UnhandledRejection", "onunhandledrejection"),
        "Object with code, attempts, body": ("UnhandledRejection", "onunhandledrejection"),
        "storage is gone": ("DataError", "onunhandledrejection"),
        'Event "error" of HTMLScriptElement': ("UnhandledRejection", "onunhandledrejection"),
        "from another realm": ("RangeError", "onunhandledrejection"),
    }
    events = {words: shop.event(words) for words in expected}
    for words, (kind, mechanism) in expected.items():
        thrown = events[words]["exceptions"][-1]
        assert (thrown["type"], thrown["mechanism"], thrown["handled"]) == (kind, mechanism, False), words
        assert words in f"{thrown['type']}: {thrown['value']}"
    frame = events["reading 'price'"]["exceptions"][-1]["frames"][-1]
    assert (frame["function"], frame["filename"]) == ("totalOf", f"{shop.own.url}{shop.path}shop.js")
    assert frame.get("debug_id") == DEBUG_ID, events["reading 'price'"]
    place = events["cart is locked"]["exceptions"][-1]["frames"]
    assert [(one["filename"], one["lineno"] > 0) for one in place] == [(f"{shop.own.url}{shop.path}shop.js", True)]
    assert events["Object with code, attempts, body"]["extra"]["thrown"] == {
        "code": "E_COUPON",
        "attempts": 3,
        "body": "Object",
    }
    assert "secret" not in json.dumps(events)
    context = events["cart is locked"]
    assert (context["release"], context["contexts"]["culture"]["locale"]) == ("shop@1.0", "en-US")


async def test_causes_and_aggregated_errors_come_in_their_order_and_a_cycle_ends(page: Page, shop: Shop) -> None:
    await page.goto(shop.address())
    await run(page, "chain()", "aggregate()", "cyclic()")
    values = {
        words: [one["value"] for one in shop.event(words)["exceptions"]] for words in ("payment", "promises", "snake")
    }
    assert values["payment"] == ["no route to the bank", "bank said no", "payment failed"]
    assert values["promises"] == ["second mirror is down", "first mirror is down", "All promises were rejected"]
    assert values["snake"] == ["tail", "snake"]


async def test_what_a_page_captures_is_not_lost_and_not_doubled(page: Page, shop: Shop) -> None:
    """The earlier SDK sent {} for a captured error."""
    await page.goto(shop.address())
    await run(page, "captured()", "capturedThenThrown()", "logged()")
    event = shop.event("no kettle in stock")
    thrown = event["exceptions"][-1]
    assert (thrown["type"], thrown["value"], thrown["handled"]) == ("CartError", "no kettle in stock", True)
    assert any(frame["function"] == "Object.captured" or "captured" in frame["function"] for frame in thrown["frames"])
    assert event["extra"]["thrown"]["code"] == "E_STOCK"
    assert shop.issue("price list is empty")["level"] == "error"
    assert shop.event("reported once")["exceptions"][-1]["handled"] is True


async def test_what_is_logged_before_the_page_has_loaded_is_an_issue(browser: Browser, page: Page, shop: Shop) -> None:
    """Also where the chunk that comes later never does."""
    await page.route("**/idle.js", lambda route: route.abort())
    script = """<script>
        console.error("the till did not open", 3);
        console.error("failed:", new RangeError("basket is too deep"));
    </script>"""
    await page.goto(shop.address(scripts=script), wait_until="commit")
    message, thrown = shop.event("the till did not open"), shop.event("basket is too deep")
    assert (message["kind"], shop.issue("the till did not open")["level"]) == ("message", "error")
    assert (thrown["exceptions"][-1]["type"], thrown["exceptions"][-1]["mechanism"]) == ("RangeError", "console")
    assert len(shop.issues()) == 2
    assert "the till did not open 3" in await dashboard(browser, shop, shop.issue("the till did not open"))


async def test_all_of_a_burst_arrives_and_a_flood_is_counted_not_sent(page: Page, shop: Shop) -> None:
    """The earlier SDK sent the first of a burst only."""
    await page.goto(shop.address())
    await run(page, "burst()", "flood(300)")
    for name in ("anna", "frida", "lena"):
        shop.event(f"basket of {name} is broken")
    assert len([title for title in shop.issues() if "basket of" in title]) == 12
    await page.goto("about:blank")  # what was held back is told at the latest when the page goes
    shop.issue("stock service is busy", 5)
    dropped = shop.until(
        "the outcome", lambda: [one for one in shop.get("outcomes")["items"] if one["reason"] == "flood"]
    )
    assert [(one["source"], one["quantity"]) for one in dropped] == [("client", 295)]
    assert shop.issue("stock service is busy")["event_count"] == 5


async def test_what_did_not_load_or_was_blocked_is_known_by_its_element(page: Page, shop: Shop) -> None:
    await page.goto(shop.address())
    await run(page, "pictures()", "rejectedEvent()")
    found = {
        words: shop.event(words) for words in ("hero.png", "theme.css", "film.mp4", "widget.js", "Blocked by img-src")
    }
    resources = {
        words: event["contexts"]["resource"] for words, event in found.items() if event["kind"] == "resource_error"
    }
    assert {words: (one["tag"], one["element"]) for words, one in resources.items()} == {
        "hero.png": ("img", "img#hero"),
        "theme.css": ("link", "html > body > link"),
        "film.mp4": ("video", "video#film"),
        "widget.js": ("script", "script#widget"),
    }
    assert len(resources) == 4
    blocked = found["Blocked by img-src"]
    assert (blocked["kind"], blocked["contexts"]["csp"]["effectiveDirective"]) == ("csp", "img-src")
    assert blocked["contexts"]["csp"]["blockedURI"] == "http://pictures.example/blocked.png?v=*"
    assert "secret" not in json.dumps(found)


async def test_requests_that_fail_or_are_slow_are_told_without_secrets_and_join_the_servers_traces(
    browser: Browser, page: Page, shop: Shop
) -> None:
    await page.goto(shop.address())
    own, foreign = shop.own.url, shop.foreign.url
    await page.click("#pay button")
    await page.evaluate(
        """async ([own, foreign]) => {
            history.pushState({}, "", "checkout?coupon=secret");
            const send = (method, url) => new Promise((done) => {
              const xhr = new XMLHttpRequest();
              xhr.open(method, url);
              xhr.onloadend = done;
              xhr.send("card=4111");
            });
            const body = await (await fetch("/api/200?voucher=secret", { method: "POST", body: "card=4111" })).text();
            if (body !== "ok") throw new Error(`the page got ${body}`);
            await fetch(new Request("/api/503?voucher=secret", { method: "PUT", body: "card=4111" }));
            await send("POST", "/api/502?voucher=secret");
            await send("GET", "/api/404");
            await fetch(foreign + "/traced/200");
            await fetch(foreign + "/cors/200");
            await fetch("/api/slow?voucher=secret");
            const stop = new AbortController();
            const stopped = fetch("/api/slow", { signal: stop.signal }).catch((error) => error.name);
            stop.abort();
            if ((await stopped) !== "AbortError") throw new Error("the page lost its AbortError");
            fetch("http://127.0.0.1:9/down?voucher=secret");  // nobody catches it
            await new Promise((done) => addEventListener("unhandledrejection", done, { once: true }));
        }""",
        [own, foreign],
    )
    events = {words: shop.event(words) for words in ("503", "502", "127.0.0.1:9/down")}
    assert events["503"]["exceptions"][-1]["value"] == f"PUT {own}/api/503?voucher=* answered 503"
    assert events["503"]["request"] == {"url": f"{own}/api/503?voucher=*", "method": "PUT"}
    assert events["503"]["contexts"]["response"]["status_code"] == 503
    assert events["502"]["exceptions"][-1]["mechanism"] == "xhr"
    assert events["127.0.0.1:9/down"]["exceptions"][-1]["type"] == "NetworkError"
    crumbs = [(one["category"], one["message"]) for one in events["127.0.0.1:9/down"]["breadcrumbs"]]
    assert crumbs[:4] == [
        ("click", "form#pay > button.primary[type=button]"),
        ("navigation", f"{own}{shop.path}checkout?coupon=*"),
        ("fetch", f"POST {own}/api/200?voucher=*"),
        ("fetch", f"PUT {own}/api/503?voucher=*"),
    ]
    assert not any(shop.running.url in message for _, message in crumbs), "its own requests"
    assert not re.search("secret|card=|Lovelace", json.dumps(events))
    assert not any("Failed to fetch" in title for title in shop.issues()), "the same failure twice"
    said = await dashboard(browser, shop, shop.issue("127.0.0.1:9/down"))
    assert "GET http://127.0.0.1:9/down?voucher=* failed" in said
    assert "form#pay > button.primary[type=button]" in said
    assert f"POST {own}/api/502?voucher=*" in said
    slow = shop.until(
        "the slow request", lambda: [one for one in shop.get("performance")["items"] if one["metric"] == "request_slow"]
    )
    assert (slow[0]["samples"], slow[0]["p75"] >= SLOW_SECONDS * 1000) == (1, True)

    sent = {path: headers.get("traceparent", "") for path, headers in [*shop.own.asked, *shop.foreign.asked]}
    trace = re.fullmatch(r"00-([0-9a-f]{32})-[0-9a-f]{16}-01", sent["/api/503"])
    assert trace is not None
    assert trace[1] == events["503"]["trace_id"]
    assert all(sent[path] for path in ("/api/502", "/api/200", "/traced/200"))
    assert not sent["/cors/200"]
    pages = {own + shop.path, f"{own}{shop.path}checkout?coupon=*"}
    shop.until("both page views", lambda: {one["url"] for one in shop.get("page-views")["items"]} == pages)


async def test_a_script_of_another_origin_is_explained_once(page: Page, shop: Shop) -> None:
    await page.goto(shop.address(scripts=f'<script src="{shop.foreign.url}/foreign.js?v=1"></script>'))
    await run(page, "text()")
    shop.event("cart is locked")
    event = shop.event("Script error.")
    assert "crossorigin" in event["extra"]["note"]
    assert f"{shop.foreign.url}/foreign.js?v=*" in event["extra"]["scripts"]
    await page.goto("about:blank")
    dropped = shop.until("the outcome", lambda: shop.get("outcomes")["items"])
    assert [(one["reason"], one["quantity"]) for one in dropped] == [("flood", 2)]


async def test_after_close_the_page_is_as_if_there_had_been_nothing(page: Page, shop: Shop) -> None:
    natives = """() => [fetch, XMLHttpRequest.prototype.open, XMLHttpRequest.prototype.send, console.error]
        .map((one) => [one.name, one.length, Function.prototype.toString.call(one).includes("[native code]")])"""
    await page.goto(shop.address())
    watched = await page.evaluate(natives)
    await page.evaluate("() => condev.close()")
    assert await page.evaluate(natives) == watched, "a watched function looks like the browser's own"
    assert not await page.evaluate("() => Object.hasOwn(history, 'pushState')")
    await run(page, "text()", "rejectedText()", "pictures()")
    await page.goto(shop.address())
    await run(page, "uncaught()")
    shop.event("reading 'price'")
    assert list(shop.issues()) == [shop.issue("reading 'price'")["title"]]
