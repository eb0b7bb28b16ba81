"""Session replays, from a page in Chromium through the running appliance to the player in the dashboard.

One appliance for the file. What was stored is read from its blobs as well as from its pages.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import re
import threading
import time
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import pytest
from playwright.async_api import Browser, BrowserContext, Page, expect

from appliance.testing.running import Owner
from tests.browser.pages.serving import HERE, World, until, world

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

READY: Final = 30_000  # ms
ON_ERROR: Final = {"replay": True, "sampleRates": {"replay": 0, "replay_on_error": 1}, "release": "shop@7"}
ALWAYS: Final = {"replay": True, "sampleRates": {"replay": 1}}
SECRETS: Final = re.compile(r"secret[\w-]*|typed by Ada")
# What the player shows, in the frame of the frame.
INNER: Final = "document.querySelector('.replayer-wrapper > iframe').contentDocument"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("replay") / "site") as made:
        made.options["recorded.html"] = ON_ERROR
        text = (HERE / "recorded.html").read_text("utf-8")
        for name in ("recorded-one.html", "recorded-two.html", "recorded-off.html"):
            made.served[name] = text
            made.options[name] = ALWAYS
        yield made


@pytest.fixture
async def dashboard(browser: Browser, site: World) -> AsyncIterator[Page]:
    """A tab that is signed in."""
    context = await browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    tab = await context.new_page()
    await tab.goto(f"{site.running.url}/sign-in")
    await tab.fill("input[name=email]", Owner.EMAIL)
    await tab.fill("input[type=password]", Owner.PASSWORD)
    await tab.click("button[type=submit]")
    await tab.wait_for_url("**/issues*")
    yield tab
    await context.close()


def replays(site: World, **fields: str) -> list[dict[str, Any]]:
    """Those of the API whose fields are these."""
    return [one for one in site.get("replays")["items"] if all(one[name] == value for name, value in fields.items())]


def stored(site: World, replay_id: str) -> str:
    """Everything of a replay that lies on the disk, as text."""
    found = sorted((site.running.data_dir / "blobs" / "replays").rglob(f"{replay_id}-*"))
    return "\n".join(gzip.decompress(path.read_bytes()).decode() for path in found)


async def recording(page: Page) -> None:
    """Wait until the page is recorded: the chunk is there, and what runs at its arrival has run."""
    await page.wait_for_function("globalThis.condevChunks?.replay", timeout=READY)
    await page.evaluate("new Promise((done) => setTimeout(done, 300))")


async def open_player(dashboard: Page, address: str) -> Page:
    """The page of a replay, when its player is ready."""
    await dashboard.goto(address)
    await dashboard.wait_for_selector("[data-player][data-ready]", timeout=READY)
    return dashboard


def player_frame(dashboard: Page) -> Any:
    frame = next(one for one in dashboard.frames if one.url.endswith("/replay-frame"))
    assert frame is not None
    return frame


async def shows(frame: Any, condition: str) -> None:
    """Wait until it holds of the recorded page. Its policy lets nothing be evaluated by `wait_for_function`."""
    async with asyncio.timeout(READY / 1000):
        while not await frame.evaluate(f"{INNER}.{condition}"):
            await asyncio.sleep(0.1)


async def test_an_error_keeps_the_minute_before_it_without_any_of_its_words(
    browser: Browser, site: World, dashboard: Page
) -> None:
    page = await (await browser.new_context()).new_page()
    await page.goto(f"{site.page('recorded.html')}?token=secret-query")
    await recording(page)
    await page.fill("input[name=mail]", "typed by Ada")
    await page.click("#change")
    await page.wait_for_timeout(300)  # a moment to be seen between the change and the error
    await page.click("#break")
    (replay,) = await until(lambda: replays(site, release="shop@7"), lambda: "the replay")
    (issue,) = await until(lambda: site.get("issues")["items"], lambda: "the issue")
    assert replay["error_ids"], "the replay names the error"
    event = site.running.get(f"/api/v1/events/{replay['error_ids'][0]}", site.owner.token)
    assert event["replay_id"] == replay["id"]
    assert [one["id"] for one in site.get(f"replays?session={event['session_id']}")["items"]] == [replay["id"]]
    await until(lambda: "broken" in stored(site, replay["id"]) or None, lambda: "what came after the error")

    text = stored(site, replay["id"])
    assert '"tagName":"h1"' in text
    assert "Harmless words" in text
    assert "rgb(10, 20, 30)" in text
    found = set(SECRETS.findall(text)) - {"secret-image"}  # the name of a file is no secret
    assert found == set(), found
    assert "secret" not in str(replay["urls"])

    where = f"{site.running.url}/projects/{site.owner.project['slug']}/replays"
    await dashboard.goto(where)
    await dashboard.click(f"a[href$='{replay['id']}']")
    await dashboard.wait_for_selector("[data-player][data-ready]", timeout=READY)
    frame = player_frame(dashboard)
    assert await frame.evaluate(f"{INNER}.querySelector('h1').textContent") == "*" * len("secret-heading")
    assert await frame.evaluate(f"getComputedStyle({INNER}.querySelector('h1')).color") == "rgb(10, 20, 30)"
    assert await frame.evaluate(f"{INNER}.querySelector('#added')") is None
    # To the end by the keyboard: what was added is there.
    await dashboard.locator("h1").click()
    for _ in range(4):
        await dashboard.keyboard.press("ArrowRight")
    await shows(frame, "querySelector('#added')?.textContent === '************'")
    await dashboard.keyboard.press("Space")  # from the end: once more from the beginning
    await expect(dashboard.locator("[data-play]")).to_have_text("Pause")

    moment = dashboard.locator(".moments a", has_text="The cart is gone")
    assert await moment.get_attribute("href") == f"/issues/{issue['id']}/events/{event['id']}"
    await moment.click()
    await dashboard.wait_for_url(f"**/issues/{issue['id']}/events/**")
    await dashboard.click("text=▶ Watch")
    await dashboard.wait_for_url(f"**/replays/{replay['id']}?event={event['id']}")
    await dashboard.wait_for_selector("[data-player][data-ready]", timeout=READY)
    await page.context.close()


async def test_a_session_goes_on_over_its_pages_as_one_replay(browser: Browser, site: World, dashboard: Page) -> None:
    page = await (await browser.new_context()).new_page()
    await page.goto(site.page("recorded-one.html"))
    await recording(page)
    await page.evaluate("document.querySelector('#hello').className = 'first-page'")
    await page.click("#next")  # what is not sent yet leaves with the page
    await page.wait_for_url("**/recorded-two.html*")
    await recording(page)
    await page.evaluate("document.querySelector('#hello').className = 'second-page'")
    await page.evaluate("history.pushState({}, '', '/recorded-three.html?token=secret-route')")
    await page.wait_for_timeout(200)
    await page.evaluate("document.querySelector('#hello').className = 'third-page'")
    await page.goto("about:blank")
    await page.close()
    (replay,) = await until(
        lambda: [one for one in replays(site) if len(one["urls"]) >= 3 and "third-page" in stored(site, one["id"])],
        lambda: "one replay of all pages",
    )
    text = stored(site, replay["id"])
    assert all(f"{name}-page" in text for name in ("first", "second", "third"))
    assert "secret-route" not in text
    assert "secret-token" not in text
    numbers = sorted(int(name.split("-")[1]) for name in names(site, replay["id"]))
    assert numbers == list(range(len(numbers))), "each segment has a number of its own"

    await open_player(dashboard, f"{site.running.url}/replays/{replay['id']}")
    shown = await dashboard.locator(".moments li.page .clip").all_text_contents()
    assert [path.partition("?")[0] for path in shown] == [f"/recorded-{name}.html" for name in ("one", "two", "three")]


def names(site: World, replay_id: str) -> list[str]:
    """Of the blobs of a replay."""
    folder = site.running.data_dir / "blobs" / "replays"
    return [path.name for path in folder.rglob(f"{replay_id}-*")]


async def test_the_server_switches_replays_off(browser: Browser, site: World, dashboard: Page) -> None:
    before = {one["id"] for one in replays(site)}
    await dashboard.goto(f"{site.running.url}/projects/{site.owner.project['slug']}/settings")
    await dashboard.uncheck("input[name=replay_enabled]")
    await dashboard.click("main form button:has-text('Save')")
    await dashboard.wait_for_url("**done=saved")

    def is_off() -> bool | None:
        answer = site.running.get(f"/app-config?appId={site.owner.key}&v=2")
        return True if answer["data"]["replayEnabled"] is False else None

    await until(is_off, lambda: "ingest to know")
    context = await browser.new_context()
    page = await context.new_page()
    sent: list[str] = []
    page.on(
        "request", lambda one: sent.append(one.url + (one.post_data or "")[:4000]) if one.method == "POST" else None
    )
    async with page.expect_response(lambda answer: "/app-config" in answer.url):
        await page.goto(site.page("recorded-off.html"))
    await page.wait_for_timeout(500)
    await page.click("#change")
    await page.evaluate("condev.captureMessage('still here')")
    await page.evaluate("condev.flush()")
    assert sent, "the rest goes on"
    assert not [one for one in sent if "replay_segment" in one]
    await context.close()
    assert {one["id"] for one in replays(site)} == before
    await dashboard.check("input[name=replay_enabled]")
    await dashboard.click("main form button:has-text('Save')")
    await dashboard.wait_for_url("**done=saved")


# ── a hostile recording ──


class Outside:
    """A server that nobody may ask for anything."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        outside = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outside.asked.append(self.path)
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"top.hacked = 'loaded'")

            do_POST = do_GET  # noqa: N815

            def log_message(self, format: str, *args: Any) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Tree:
    """Serialised nodes with ids."""

    def __init__(self) -> None:
        self._id = 100

    def element(self, name: str, attributes: dict[str, Any] | None = None, *children: Any) -> dict[str, Any]:
        self._id += 1
        return {
            "type": 2, "id": self._id, "tagName": name, "attributes": attributes or {},
            "childNodes": [self.text(child) if isinstance(child, str) else child for child in children],
        }  # fmt: skip

    def text(self, words: str) -> dict[str, Any]:
        self._id += 1
        return {"type": 3, "id": self._id, "textContent": words}


def hostile_nodes(tree: Tree, url: str) -> list[dict[str, Any]]:
    run = "top.hacked = 'ran'; parent.hacked = 'ran'; window.hacked = 'ran'"
    svg = base64.b64encode(f'<svg xmlns="http://www.w3.org/2000/svg" onload="{run}"/>'.encode()).decode()
    make = tree.element
    return [
        make("script", {"src": f"{url}/script.js"}, run),
        make("SCRIPT", {}, run),
        make("script", {"type": "speculationrules"}, json.dumps({"prefetch": [{"urls": [f"{url}/speculation"]}]})),
        make("img", {"src": f"{url}/img.png", "srcset": f"{url}/srcset.png 2x", "onerror": run, "onload": run}),
        make("img", {"rr_dataURL": f"{url}/rr.png", "alt": "x"}),
        make("img", {"src": f"data:image/svg+xml;base64,{svg}"}),
        make("image", {"src": f"{url}/image.png"}),
        make("iframe", {"src": f"{url}/iframe"}),
        make("iframe", {"src": "javascript:" + run}),
        make("iframe", {"srcdoc": f"<script>{run}</script><img src='{url}/srcdoc.png'>"}),
        make("iframe", {"rr_src": f"{url}/rr_src"}),
        make("frameset", {}, make("frame", {"src": f"{url}/frame"})),
        make("object", {"data": f"{url}/object", "type": "text/html"}),
        make("embed", {"src": f"{url}/embed", "type": "text/html"}),
        make("link", {"rel": "stylesheet", "href": f"{url}/style.css"}),
        *(make("link", {"rel": rel, "href": url}) for rel in ("preconnect", "dns-prefetch", "prefetch", "prerender")),
        make("link", {"rel": "preload", "as": "image", "href": f"{url}/preload.png"}),
        make("link", {"rel": "icon", "href": f"{url}/icon.png"}),
        make("link", {"rel": "stylesheet", "_cssText": f"@import '{url}/i.css'; body {{ background: url({url}/a)}}"}),
        make("style", {"_cssText": f"h1 {{ background: url('{url}/b') }} @font-face {{ src: url({url}/c) }}"}),
        make("style", {}, f"@import url({url}/i.css); p {{ background: image-set('{url}/set.png' 1x) }}"),
        make("meta", {"http-equiv": "refresh", "content": f"0;url={url}/refresh"}),
        make("meta", {"http-equiv": "Content-Security-Policy", "content": "default-src *"}),
        make("base", {"href": url}),
        make("a", {"href": "javascript:" + run, "ping": f"{url}/ping", "target": "_top"}, "click"),
        make("form", {"action": f"{url}/form", "target": "_top"}, make("input", {"autofocus": True, "onfocus": run}),
             make("button", {"formaction": "javascript:" + run}, "go")),
        make("video", {"src": f"{url}/a.mp4", "poster": f"{url}/a.png", "autoplay": True, "rr_mediaState": "played"}),
        make("audio", {"src": f"{url}/audio.mp3", "onerror": run}),
        make("div", {"style": f"background: url({url}/attribute.png)", "onclick": run, "onanimationstart": run}, "x"),
        make("svg", {"onload": run}, make("use", {"xlink:href": f"{url}/use.svg#a"}), make("script", {}, run),
             make("foreignObject", {}, make("img", {"src": f"{url}/foreign.png"}))),
        make("x-element", {"is": "x-element"}) | {"isCustom": True},
        make("not a name<", {"<script>": run, "onload=x": run}),
        make("details", {"open": True, "ontoggle": run}, "x"),
        make("template", {}, make("script", {}, run)),
        make("p", {}, "<img src=x onerror=alert(1)>"),
        make("body", {"onload": run, "background": f"{url}/body.png"}),
    ]  # fmt: skip


def hostile_recording(url: str, now: int) -> list[Any]:
    tree = Tree()
    head = tree.element("head", {}, *hostile_nodes(tree, url))
    body = tree.element(
        "body", {"onload": "top.hacked = 1"}, tree.element("h1", {}, "Still shown"), *hostile_nodes(tree, url)
    )
    page = {"type": 0, "id": 1, "childNodes": [tree.element("html", {"manifest": f"{url}/manifest"}, head, body)]}
    target = body["childNodes"][0]["id"]
    change = {
        "source": 0, "texts": [], "removes": [],
        "adds": [{"parentId": body["id"], "nextId": None, "node": node} for node in hostile_nodes(tree, url)],
        "attributes": [{"id": target, "attributes": {
            "onclick": "top.hacked = 2", "style": {"background-image": f"url({url}/diff.png)"}, "class": "changed"}},
            {"id": target, "attributes": {"__proto__": {"polluted": "yes"}, "src": f"{url}/late.png"}}],
    }  # fmt: skip
    styles = {"source": 8, "id": 1, "adds": [{"rule": f"h1 {{ background: url({url}/rule.png) }}"}]}
    adopted = {
        "source": 15,
        "id": 1,
        "styleIds": [1],
        "styles": [{"styleId": 1, "rules": [{"rule": f"@import '{url}/a.css'"}]}],
    }
    canvas = {
        "source": 9,
        "id": target,
        "type": 0,
        "commands": [{"property": "constructor", "args": ["top.hacked = 3"]}],
    }
    font = {"source": 10, "family": "y", "fontSource": f"url({url}/late.woff)", "buffer": False}
    steps: list[Any] = [
        (4, {"href": "javascript:top.hacked=4", "width": 800, "height": 600}),
        (2, {"node": page, "initialOffset": {"left": 0, "top": 0}}),
        (3, change), (3, styles), (3, adopted), (3, canvas), (3, font), (3, {"source": 16, "define": {"name": "x-y"}}),
        (3, {"source": 0, "texts": [{"id": target + 1, "value": "Changed"}]}),
        (3, {"source": 4, "width": 1e12, "height": -5}), (99, {}), (3, {"source": 0}),
        (5, {"tag": "page", "payload": {"url": "javascript:top.hacked=5"}}),
        (6, {"plugin": "rrweb/console", "payload": {}}), (3, {"source": 3, "id": 1, "x": 0, "y": 9}),
    ]  # fmt: skip
    made: list[Any] = [{"type": kind, "timestamp": now + 100 * n, "data": data} for n, (kind, data) in enumerate(steps)]
    return [*made, None, 7, "x", [], {"type": 2}, {"type": 2, "timestamp": "soon", "data": {}}]


def send_hostile(site: World, url: str) -> str:
    replay_id, now = "ba" * 16, int(time.time() * 1000)
    body = {
        "replayId": replay_id, "startedAt": now - 2_000, "endedAt": now, "url": "javascript:alert(1)",
        "events": hostile_recording(url, now - 2_000),
    }  # fmt: skip
    status, said = site.running.post(
        f"/replay/{site.owner.key}", json.dumps(body).encode(), {"content-type": "text/plain"}
    )
    assert status < 300, said
    return replay_id


# What the frames would do if nothing had been taken out of the recording before. In a turn of its own: what a debugger
# evaluates may evaluate more, whatever the policy says.
WITHOUT_CLEANING: Final = """url => setTimeout(() => {
  const inner = document.querySelector(".replayer-wrapper > iframe").contentDocument;
  for (const place of [inner.body, document.body]) {
    const where = place === inner.body ? "inner" : "outer";
    const run = (how) => `top.hacked = parent.hacked = window.hacked = '${how} in ${where}'`;
    const box = place.ownerDocument.createElement("div");
    const css = `@import "${url}/raw-import.css"; div { background: url(${url}/raw-css.png) }`;
    box.innerHTML = `<img src="${url}/raw.png" onerror="${run("attribute")}">
      <img src=x onerror="${run("attribute")}">
      <iframe src="${url}/raw-frame"></iframe><iframe srcdoc="<script>${run("srcdoc")}</script>"></iframe>
      <iframe src="javascript:${run("address")}"></iframe>
      <link rel="stylesheet" href="${url}/raw.css"><style>${css}</style>
      <video src="${url}/raw.mp4" autoplay></video><object data="${url}/raw-object"></object>`;
    place.append(box);
    for (const text of [run("element"), ""]) {
      const script = place.ownerDocument.createElement("script");
      if (text) script.textContent = text; else script.src = `${url}/raw.js`;
      place.append(script);
    }
    const meta = place.ownerDocument.createElement("meta");
    meta.httpEquiv = "refresh";
    meta.content = `0;url=${url}/raw-refresh`;
    if (place === inner.body) place.append(meta);
    try { place.ownerDocument.defaultView.eval(run("eval")); } catch {}
  }
  window.tried = true;
})"""


async def test_a_hostile_recording_loads_and_runs_nothing(site: World, dashboard: Page) -> None:
    outside = Outside()
    asked: list[str] = []
    context: BrowserContext = dashboard.context
    replay_id = send_hostile(site, outside.url)
    await until(lambda: [one for one in replays(site) if one["id"] == replay_id], lambda: "the replay")
    context.on("request", lambda request: asked.append(request.url))
    dialogs: list[str] = []
    dashboard.on("dialog", lambda dialog: dialogs.append(dialog.message))
    complaints: list[str] = []
    dashboard.on(
        "console", lambda said: complaints.append(said.text) if "Content Security Policy" in said.text else None
    )
    address = f"{site.running.url}/replays/{replay_id}"
    await open_player(dashboard, address)
    frame = player_frame(dashboard)
    # The picture is there, and everything that happened is played.
    assert await frame.evaluate(f"{INNER}.querySelector('h1').textContent") == "Still shown"
    await dashboard.locator("[data-seek]").evaluate(
        "(one) => { one.value = one.max; one.dispatchEvent(new Event('change')); }"
    )
    await shows(frame, "querySelector('h1').textContent === 'Changed'")
    assert (
        await frame.evaluate(
            f"{INNER}.querySelectorAll('script, [src^=http], [onload], [onerror], object, embed').length"
        )
        == 0
    )
    await nothing_happened(dashboard, outside, asked, dialogs)
    assert complaints == [], "what may not load is taken out before the policy has to forbid it"

    # And if something were left in: the frame's policy and the inner frame's sandbox hold by themselves.
    await frame.evaluate(WITHOUT_CLEANING, outside.url)
    await dashboard.wait_for_timeout(1_000)  # nothing tells that something will not be loaded
    # What is blocked is told as a request, too; nobody was asked.
    await nothing_happened(dashboard, outside, [], dialogs)
    assert await frame.evaluate("window.tried")
    assert complaints
    assert dashboard.url.endswith(replay_id)
    outside.close()


async def nothing_happened(dashboard: Page, outside: Outside, asked: list[str], dialogs: list[str]) -> None:
    assert outside.asked == []
    assert [url for url in asked if url.startswith(outside.url)] == []
    assert dialogs == []
    assert await dashboard.evaluate("[window.hacked, ({}).polluted]") == [None, None]
    assert await player_frame(dashboard).evaluate("[window.hacked, ({}).polluted]") == [None, None]
    assert len(dashboard.context.pages) == 1


async def test_the_frame_is_of_no_use_to_other_pages(browser: Browser, site: World) -> None:
    page = await (await browser.new_context()).new_page()
    answer = await page.goto(f"{site.running.url}/replay-frame")
    assert answer is not None
    assert "/sign-in" in page.url
    await page.context.close()
