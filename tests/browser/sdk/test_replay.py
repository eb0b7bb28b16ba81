"""Session replays, from a page in Chromium through the running appliance to the player in the dashboard.

One appliance for the file. What was stored is read from its blobs as well as from its pages.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import pytest
from playwright.async_api import Browser, BrowserContext, Page, expect

from appliance.testing.running import Owner
from tests.browser.pages.serving import HERE, World, until, world
from tests.browser.sdk.hostile import WITHOUT_CLEANING, Outside, hostile_recording

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
