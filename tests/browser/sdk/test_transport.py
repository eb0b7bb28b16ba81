"""What the SDK captured arrives once, or is accounted for: in Chromium, through a gate that fails as networks do.

One appliance, one project and one gate for the file; each test has page views of its own, by the page's address.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, cast
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, BrowserContext, Page

from appliance.testing.running import Owner, RunningAppliance

pytestmark = [pytest.mark.browser, pytest.mark.timeout(480)]

DEADLINE: Final = 120  # seconds for the SDK and the pipeline, on a machine that does other things, too
PAGE: Final = """<!doctype html><title>Shop</title><main>Everything for the garden</main>
<script src="/sdk.js" data-dsn="{dsn}"></script>"""

# What the gate does with an envelope: an answer of its own, or …
PASS: Final = "pass"  # … it goes on to the appliance
SILENCE: Final = "silence"  # … nothing is answered, until the test wants something else and the connection ends
HANG: Final = "hang"  # … nothing is ever answered
LATE: Final = "late"  # … the appliance takes it, and the answer is lost
Answer = Callable[[str], str]


class Gate(ThreadingHTTPServer):
    """Between the browser and the appliance."""

    daemon_threads = True

    def __init__(self, appliance: str) -> None:
        super().__init__(("127.0.0.1", 0), Passage)
        self.appliance = urlsplit(appliance).netloc
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.closing = threading.Event()
        self.keys: dict[str, str] = {}  # first part of a page's path → the project's key
        self.seen: list[tuple[str, str]] = []  # path and what was done
        self.answer: Answer = lambda _: PASS
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Passage(BaseHTTPRequestHandler):
    """One request."""

    def do_GET(self) -> None:
        gate = cast("Gate", self.server)
        shop = urlsplit(self.path).path.split("/")[1]
        if shop in gate.keys:
            self._reply(200, "text/html", PAGE.format(dsn=f"{gate.url}/v2/{gate.keys[shop]}").encode())
        else:
            self._pass_on(b"")

    def do_POST(self) -> None:
        gate = cast("Gate", self.server)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        todo = gate.answer(self.path)
        gate.seen.append((self.path, todo))
        if todo == HANG:
            gate.closing.wait()
        elif todo == SILENCE:
            asked = gate.answer
            while gate.answer is asked and not gate.closing.wait(0.05):
                pass
            self.close_connection = True
        elif todo == PASS:
            self._pass_on(body)
        elif todo == LATE:
            self._ask(body)
            self._reply(502, "text/plain", b"")
        else:
            status, _, seconds = todo.partition(" ")
            self._reply(
                int(status), "application/json", json.dumps({"ok": False, "retry_after": int(seconds or 0)}).encode()
            )

    def _ask(self, body: bytes) -> tuple[int, str, bytes]:
        connection = http.client.HTTPConnection(cast("Gate", self.server).appliance, timeout=30)
        headers = {"Content-Type": self.headers["Content-Type"]} if body else {}
        connection.request(self.command, self.path, body or None, headers)
        answer = connection.getresponse()
        return answer.status, answer.headers.get("Content-Type", "text/plain"), answer.read()

    def _pass_on(self, body: bytes) -> None:
        self._reply(*self._ask(body))

    def _reply(self, status: int, kind: str, body: bytes) -> None:
        with contextlib.suppress(ConnectionError):  # of a page that is gone
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


class World:
    """The appliance, the gate, and what the API says of a project."""

    def __init__(self, running: RunningAppliance, owner: Owner, gate: Gate) -> None:
        self.running = running
        self.owner = owner
        self.gate = gate

    def get(self, path: str, project: int | None = None) -> Any:
        """Of a project's part of the API."""
        return self.running.get(f"/api/v1/projects/{project or self.owner.project_id}/{path}", self.owner.token)

    def counts(self, word: str, project: int | None = None) -> dict[str, int]:
        """Events by title, of those with the word in it."""
        issues = self.get("issues?limit=100&state=all", project)["items"]
        return {one["title"]: one["event_count"] for one in issues if word in one["title"]}

    def events(self, word: str) -> int:
        """Of all issues with the word in their title: what differs by a number is one issue."""
        return sum(self.counts(word).values())

    def view(self, path: str) -> dict[str, Any]:
        """The page view of an address, which only one has; empty until it is there."""
        found = [one for one in self.get("page-views?limit=100")["items"] if one["url"].endswith(path)]
        assert len(found) <= 1, found
        return found[0] if found else {}

    def complete(self, path: str, captured: int) -> bool:
        """Whether a page view has all of what it captured, at least so much."""
        view = self.view(path)
        return bool(view) and view["captured"] >= captured and not view["missing"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    running = RunningAppliance(tmp_path_factory.mktemp("transport") / "data")
    owner = Owner(running)
    other = json.loads(running.verb("project", "create", "--name", "Other", "--json"))
    with running:
        gate = Gate(running.url)
        gate.keys = {"shop": owner.key, "other": other["key"], f"{other['id']}": ""}
        yield World(running, owner, gate)
        gate.closing.set()
        gate.shutdown()
        gate.server_close()


@pytest.fixture
async def context(browser: Browser, world: World) -> AsyncIterator[BrowserContext]:
    world.gate.answer = lambda _: PASS
    world.gate.seen.clear()
    made = await browser.new_context()
    yield made
    await made.close()


async def until(condition: Callable[[], Any], what: str) -> None:
    """Poll with patience."""
    for _ in range(DEADLINE * 4):
        if await asyncio.to_thread(condition):
            return
        await asyncio.sleep(0.25)
    raise AssertionError(f"waited for {what}")


async def shown(context: BrowserContext, world: World, path: str) -> Page:
    """A page whose SDK has all its parts: what keeps envelopes is loaded when the page is idle."""
    page = await context.new_page()
    await page.goto(world.gate.url + path)
    await page.wait_for_function("window.condevChunks?.idle && window.condevChunks?.vitals")
    return page


async def throw(page: Page, message: str) -> None:
    """As a page does: nobody catches it."""
    await page.evaluate("message => void setTimeout(() => { throw new Error(message) })", message)


def failed(world: World, times: int) -> Callable[[], bool]:
    return lambda: sum(todo != PASS for _, todo in world.gate.seen) >= times


@pytest.mark.parametrize(("word", "todo"), [("broken", "500"), ("limited", "429 1"), ("unheard", LATE)])
async def test_each_event_arrives_once_when_the_server_fails_for_a_while(
    context: BrowserContext, world: World, word: str, todo: str
) -> None:
    page = await shown(context, world, f"/shop/{word}")
    world.gate.answer = lambda _: todo
    for index in range(5):
        await throw(page, f"{word} {index}")
    await until(failed(world, 2), "the page to try")
    world.gate.answer = lambda _: PASS
    await until(lambda: world.events(word) == 5, "five events")
    await page.close(run_before_unload=True)
    await until(lambda: world.complete(f"/shop/{word}", 6), "a page view without gaps")
    assert world.events(word) == 5


@pytest.mark.parametrize(("word", "todo"), [("refusing", "503"), ("silent", SILENCE)])
async def test_what_was_kept_when_a_tab_was_closed_or_reloaded_is_sent_by_the_next_one(
    context: BrowserContext, world: World, word: str, todo: str
) -> None:
    world.gate.answer = lambda _: todo
    page = await shown(context, world, f"/shop/{word}-closed")
    await throw(page, f"{word} when closed")
    await until(failed(world, 1), "the page to try")
    await page.close(run_before_unload=True)
    page = await shown(context, world, f"/shop/{word}-reloaded")
    before = len(world.gate.seen)
    await throw(page, f"{word} when left")
    await until(lambda: len(world.gate.seen) > before, "the page to try")
    await page.goto(f"{world.gate.url}/shop/{word}-after")
    world.gate.answer = lambda _: PASS
    expected = {f"Error: {word} when closed": 1, f"Error: {word} when left": 1}
    await until(lambda: world.counts(word) == expected, "both errors")
    await page.reload()
    await page.wait_for_function("window.condevChunks?.idle")
    await until(lambda: world.view(f"/shop/{word}-closed").get("captured", 0) >= 2, "the closed tab's page view")
    assert world.counts(word) == expected


async def test_what_happened_in_an_hour_without_a_network_is_sent_after_it(
    context: BrowserContext, world: World
) -> None:
    page = await context.new_page()
    await page.clock.install()
    await page.goto(f"{world.gate.url}/shop/offline")
    await page.clock.run_for(2000)
    await page.wait_for_function("window.condevChunks?.idle && window.condevChunks?.vitals")
    await context.set_offline(True)
    for index in range(6):
        await page.evaluate("message => void condev.captureException(new Error(message))", f"offline {index}")
        await page.clock.run_for("10:00")
    before = len(world.gate.seen)
    assert not world.counts("offline")
    await context.set_offline(False)
    for _ in range(DEADLINE):
        await page.clock.run_for(5000)  # the page's own; what it waits for beside that is the network
        if await asyncio.to_thread(world.events, "offline") == 6:
            break
        await asyncio.sleep(0.5)
    assert len(world.gate.seen) > before
    assert world.events("offline") == 6
    await until(lambda: not world.view("/shop/offline")["missing"], "a page view without gaps")


async def test_of_a_killed_tab_the_kept_arrives_and_what_was_not_kept_shows_as_a_gap(
    context: BrowserContext, world: World
) -> None:
    page = await shown(context, world, "/shop/killed")
    await until(lambda: world.complete("/shop/killed", 1), "the page view")
    world.gate.answer = lambda _: HANG
    marked = await page.evaluate(
        "(condev.capture({type: 'measurement', metric: 'custom', value: 1}), condev.page.sequence)"
    )
    await until(failed(world, 1), "the measurement to be on its way, with no answer")
    world.gate.answer = lambda _: "500"
    await throw(page, "of the killed tab")
    await until(failed(world, 2), "the error to fail")
    killer = await context.new_cdp_session(page)
    with contextlib.suppress(Exception):  # of the command nobody hears any more
        await asyncio.wait_for(killer.send("Page.crash"), 5)
    world.gate.answer = lambda _: PASS
    await shown(context, world, "/shop/beside")
    await until(lambda: world.counts("killed") == {"Error: of the killed tab": 1}, "the error")
    view = world.view("/shop/killed")
    assert view["missing"] >= 1
    assert view["captured"] > marked


async def test_a_refused_envelope_is_an_outcome_and_no_gap(context: BrowserContext, world: World) -> None:
    page = await shown(context, world, "/shop/refused")
    answers = iter(["413"])
    world.gate.answer = lambda _: next(answers, PASS)
    await throw(page, "is refused")
    await until(failed(world, 1), "the page to try")
    await page.close(run_before_unload=True)
    await until(lambda: world.complete("/shop/refused", 2), "a page view without gaps")
    outcomes = [one for one in world.get("outcomes")["items"] if one["source"] == "client"]
    assert {"too_large"} <= {one["reason"] for one in outcomes}, outcomes
    assert world.counts("refused") == {}


async def test_what_one_application_kept_never_goes_to_another_ones_project(
    context: BrowserContext, world: World
) -> None:
    """On one origin, as the earlier SDK mixed them up."""
    other = int(next(key for key in world.gate.keys if key.isdigit()))
    world.gate.answer = lambda _: "500"
    page = await shown(context, world, "/shop/mixed")
    await throw(page, "mixed of the shop")
    await until(failed(world, 1), "the page to try")
    world.gate.answer = lambda _: PASS
    await page.goto(f"{world.gate.url}/other/page")
    await page.wait_for_function("window.condevChunks?.idle")
    await throw(page, "mixed of the other")
    await until(lambda: world.counts("mixed", other) == {"Error: mixed of the other": 1}, "the other's error")
    assert world.counts("mixed") == {}
    await page.goto(f"{world.gate.url}/shop/mixed-later")
    await until(lambda: world.counts("mixed") == {"Error: mixed of the shop": 1}, "the shop's error")
    assert world.counts("mixed", other) == {"Error: mixed of the other": 1}


async def test_captured_errors_keep_their_stack_and_all_of_a_burst_arrive(
    context: BrowserContext, world: World
) -> None:
    """The earlier SDK lost the error of captureException, and sent the first of a burst alone."""
    page = await shown(context, world, "/shop/burst")
    await page.evaluate(
        "for (let i = 0; i < 30; i++) condev.captureException(new RangeError(`burst ${i}`), {tags: {place: i}})"
    )
    await page.close(run_before_unload=True)
    await until(lambda: world.events("burst") == 30, "thirty events")
    issue = next(one for one in world.get("issues?limit=100")["items"] if "burst" in one["title"])
    event = world.running.get(f"/api/v1/issues/{issue['id']}/events", world.owner.token)["items"][0]
    found = world.running.get(f"/api/v1/events/{event['id']}", world.owner.token)["event"]
    thrown = found["exceptions"][-1]
    assert thrown["type"] == "RangeError"
    assert thrown["value"].startswith("burst ")
    assert thrown["frames"]
