"""Every page of the real appliance, with real data: accessible at level AA in both themes, and no wider than a phone.

One Chromium, one appliance. Light is looked at on a desk and dark on a phone, each page once in each.
"""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Iterator
from typing import Any, Final

import httpx
import pytest

from appliance.cli.demo_traffic import envelope
from appliance.cli.demo_visits import visit
from appliance.testing.running import RunningAppliance

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

STANDARDS: Final = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
# Only what is wrong leaves the page: all that axe found to be right is a megabyte.
VIOLATIONS: Final = """async tags => {
  const options = {runOnly: {type: "tag", values: tags}, resultTypes: ["violations"]};
  const {violations} = await axe.run(document, options);
  return violations.map((one) => `${one.id}: ${one.nodes[0].html.slice(0, 200)}`);
}"""
Json = dict[str, Any]
OWNER: Final = "owner@example.com"
VIEWER: Final = "viewer@example.com"
PASSWORD: Final = "a few words in a row"
EVENTS: Final = 12
SHOP: Final = "/projects/example-shop"
REPLAY: Final = "5e" * 16
SESSIONS: Final = ("a1" * 16, "b2" * 16)  # both recorded in it, one after the other
VISITS: Final = 30  # some eighty page views: vitals of every rating, a white screen, gaps

PAGES: Final = (
    "/issues", "/issues?q=is:all+level:error&period=24h&sort=events", "/issues?q=nothing-like-this",
    "/issues?q=is:resolved", "/issues?q=wrong:term", "/issues/figures", "/issues/values/browser", "/issues/1",
    "/issues/1/events", "/issues/1/events?browser=none", "/issues/1/events/latest/json", "/issues/1/grouping",
    "/issues/999", "/nowhere", "/projects", "/projects/new", "/projects/quiet/connect", f"{SHOP}/connect",
    f"{SHOP}/settings", f"{SHOP}/keys", f"{SHOP}/members", "/issues?project=quiet", "/alerts", "/alerts/messages",
    "/alerts/messages?state=failed", "/alerts/rules", "/alerts/rules/new?project=example-shop", "/alerts/rules/1",
    "/alerts/channels", "/system", "/system/dead-letters", "/system/dead-letters/1", "/users", "/users/1", "/users/2",
    "/account", "/account/security", "/account/sessions", "/account/tokens",
    f"{SHOP}/performance", f"{SHOP}/performance?route=/cart&period=24h", f"{SHOP}/performance?browser=none",
    f"{SHOP}/performance/metric?metric=LCP", f"{SHOP}/performance/metric?metric=CLS&by=page&rating=poor&period=30d",
    f"{SHOP}/performance/metric?metric=cart.render", f"{SHOP}/performance/metric?metric=none",
    f"{SHOP}/performance/values/route", "/projects/quiet/performance", f"{SHOP}/replays",
    f"{SHOP}/replays?release=none", f"{SHOP}/replays/values/browser", f"{SHOP}/sessions?period=7d",
    f"{SHOP}/sessions?user=nobody", f"{SHOP}/sessions/values/browser", "/projects/quiet/sessions",
    f"{SHOP}/traces?period=7d", "/projects/quiet/traces", f"{SHOP}/outcomes", "/projects/quiet/outcomes",
)  # fmt: skip
OUTSIDE: Final = ("/sign-in", "/forgot-password", "/setup/wrong", "/reset/wrong", "/invitation/wrong")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningAppliance]:
    """The demo, with events of several issues, one that cannot be read, and no notifier configured."""
    with RunningAppliance(tmp_path_factory.mktemp("pages") / "data", role="demo") as made:
        send_events(made)
        yield made


def send_events(running: RunningAppliance) -> None:
    found = re.search(r"DSN\s+http://(\w+)@\S+/(\d+)", running.log_file.read_text())
    assert found, "the demo prints its DSN"
    key, project = found.groups()
    url = f"{running.url}/api/{project}/envelope/?sentry_key={key}&sentry_version=7"
    draw = random.Random(4)
    with httpx.Client(trust_env=False) as client:
        for number in range(EVENTS):
            body, agent = envelope(draw, time.time(), age=number * 600)
            assert client.post(url, content=body, headers={"User-Agent": agent}).status_code == 200
        for number in range(VISITS):
            for one in visit(draw, time.time(), age=300 + number * 1800):
                sent = client.post(f"{running.url}/v2/{key}", content=one.body, headers={"User-Agent": one.user_agent})
                assert sent.status_code == 200
        for body in recordings(time.time()):
            assert client.post(f"{running.url}/v2/{key}", content=body).status_code == 200
        broken = b'{"event_id":"aa"}\n{"type":"event"}\n{broken'
        assert client.post(url, content=broken).status_code == 200


def recordings(now: float) -> Iterator[bytes]:
    """One replay that goes on through two sessions, with an error in each and an address that is long; a day ago."""
    head: Json = {"type": 2, "tagName": "head", "attributes": {}, "childNodes": [], "id": 3}
    words: Json = {"type": 3, "textContent": "The shop", "id": 5}
    body: Json = {"type": 2, "tagName": "body", "attributes": {}, "childNodes": [words], "id": 4}
    page: Json = {"type": 2, "tagName": "html", "attributes": {}, "childNodes": [head, body], "id": 2}
    node: Json = {"type": 0, "childNodes": [page], "id": 1}
    for number, session in enumerate(SESSIONS):
        at = round(now * 1000) - 86_400_000 + number * 20_000
        url = f"https://shop.example.com/cart?{'and=more&' * 60 * number}"
        view: Json = {"id": f"{number:032x}", "started": at, "url": url, "route": "/cart", "title": "Your cart"}
        shared: Json = {
            "v": 2, "sent_at": round(now * 1000), "page_view": view, "release": "shop@1", "environment": "production",
            "session": {"id": session, "started": at, "status": "errored", "errors": 1}, "last": 3,
        }  # fmt: skip
        error: Json = {
            "type": "event", "n": 2, "id": f"{number:02x}" * 16, "at": at + 4_000, "kind": "error", "level": "error",
            "message": "The cart is locked " * 9, "url": url, "route": "/cart", "replay_id": REPLAY,
        }  # fmt: skip
        segment: Json = {
            "type": "replay_segment", "n": 3, "at": at + 10_000, "replay_id": REPLAY, "segment": number,
            "replay_type": "session", "started": at, "ended": at + 10_000, "error_ids": [error["id"]], "urls": [url],
            "events": [
                {"type": 4, "timestamp": at, "data": {"href": url, "width": 1280, "height": 800}},
                {"type": 2, "timestamp": at, "data": {"node": node, "initialOffset": {"left": 0, "top": 0}}},
                {"type": 5, "timestamp": at + 10_000, "data": {"tag": "end", "payload": {}}},
            ],
        }  # fmt: skip
        page_view: Json = {"type": "page_view", "n": 1, "at": at}
        for items in ([page_view, error], [segment]):
            header: Json = {**shared, "id": f"{len(items)}{number:031x}", "has": [item["type"] for item in items]}
            yield "\n".join(json.dumps(line) for line in (header, *items)).encode()


async def sign_in(page: Any, url: str, email: str, password: str) -> None:
    await page.goto(f"{url}/sign-in")
    await page.fill("input[name=email]", email)
    await page.fill("input[type=password]", password)
    await page.click("button[type=submit]")
    await page.wait_for_url("**/issues*")


class Look:
    """Goes from page to page and remembers what is wrong."""

    def __init__(self, page: Any, url: str, axe: str) -> None:
        self.page, self.url, self._axe = page, url, axe
        self.found: dict[str, list[str]] = {}
        page.on("pageerror", lambda error: self._wrong(str(error)))
        page.on("console", lambda said: self._wrong(said.text) if "Content Security Policy" in said.text else None)

    def _wrong(self, what: str) -> None:
        self.found.setdefault(self.page.url.removeprefix(self.url), []).append(what)

    async def at(self, path: str) -> None:
        await self.page.goto(f"{self.url}{path}")
        await self.here()

    async def here(self) -> None:
        await self.page.evaluate(self._axe)
        for violation in await self.page.evaluate(VIOLATIONS, STANDARDS):
            self._wrong(violation)
        if await self.page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            self._wrong("wider than the screen")
        if await self.page.evaluate("document.querySelectorAll('h1').length") != 1:
            self._wrong("not one h1")


async def set_the_stage(look: Look) -> str:
    """A second project that hears nothing, a viewer invited; the address of the invitation."""
    page = look.page
    await page.goto(f"{look.url}/projects/new")
    await page.fill("input[name=name]", "Quiet")
    await page.click("main button[type=submit]")
    await page.wait_for_url("**/projects/quiet/**")
    await page.goto(f"{look.url}/users")
    await page.fill("input[name=email]", VIEWER)
    await page.select_option("select[name=role]", "viewer")
    await page.click("main form[action='/users'] button[type=submit]")
    await look.here()  # with the link to hand over
    return str(await page.locator("[data-copied]").first.inner_text())


async def look_inside(look: Look) -> None:
    """What has an address of its own: a session, a trace, a white screen."""
    for path in (f"{SHOP}/sessions?period=7d", f"{SHOP}/traces?period=7d", "/issues?q=kind:white_screen"):
        await look.page.goto(f"{look.url}{path}")
        href = await look.page.locator("tr[data-row] a").first.get_attribute("href")
        assert href, f"a row of {path} leads somewhere"
        await look.at(href)
    assert await look.page.locator(".white-screen svg path.empty").count() == 25


async def look_at_recordings(look: Look) -> None:
    """A session with its replay, and from there the replay with its sessions."""
    page = look.page
    await look.at(f"{SHOP}/sessions/{SESSIONS[1]}")
    assert await page.locator("#replays li :text('30\u202fs from −20\u202fs on')").is_visible()
    await page.click("#replays a")
    await page.wait_for_selector("[data-player][data-ready]")
    assert page.url.endswith(f"/replays/{REPLAY}")
    assert await page.locator("#sessions li a").count() == len(SESSIONS)
    await look.here()
    await page.locator("#sessions a").first.click()
    await page.wait_for_url(f"**/sessions/{SESSIONS[0]}")


async def wait_for_issues(look: Look) -> None:
    deadline = time.monotonic() + 30
    while not await look.page.locator("tr[data-row]").count():
        assert time.monotonic() < deadline, "no issue appeared"
        await look.page.goto(f"{look.url}/issues")


@pytest.fixture(scope="module")
def password(running: RunningAppliance) -> str:
    return str(json.loads((running.data_dir / "demo-sign-in.json").read_text())["password"])


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 390)])
async def test_every_page_is_accessible_and_fits(
    browser: Any, running: RunningAppliance, password: str, axe: str, theme: str, width: int
) -> None:
    viewport = {"width": width, "height": 844}
    context = await browser.new_context(color_scheme=theme, viewport=viewport, reduced_motion="reduce")
    look = Look(await context.new_page(), running.url, axe)
    for path in OUTSIDE:
        await look.at(path)
    await sign_in(look.page, running.url, OWNER, password)
    await wait_for_issues(look)
    if theme == "light":
        invitation = await set_the_stage(look)
        guest = await browser.new_context(color_scheme=theme, viewport=viewport)
        outside = Look(await guest.new_page(), running.url, axe)
        await outside.at(invitation.removeprefix(running.url))
        for field in await outside.page.locator("input[type=password]").all():
            await field.fill(PASSWORD)
        await outside.page.click("main button[type=submit]")
        await outside.page.wait_for_url("**/issues*")  # whoever accepts is signed in
        await outside.at("/system")  # not open to a viewer
        assert await outside.page.get_by_role("heading", name="This is not open to you").is_visible()
        await outside.at("/issues")  # a member of nothing
        look.found |= outside.found
    for path in PAGES:
        await look.at(path)
    await look.at("/nowhere/at/all")
    assert await look.page.locator(".side .nav a:has-text('Example shop')").count() == 1
    await look_inside(look)
    await look_at_recordings(look)
    await look.at("/issues")
    for action in (
        "document.querySelector('details.menu').open = true",
        "document.querySelector('input.pick[name=id]').click()",
        "document.getElementById('help').showModal()",
    ):
        await look.page.evaluate(action)
        await look.here()
    assert look.found == {}


async def test_what_nobody_would_be_told_of_stands_beside_system(
    browser: Any, running: RunningAppliance, password: str
) -> None:
    page = await browser.new_page()
    await sign_in(page, running.url, OWNER, password)
    await page.goto(f"{running.url}/system")
    assert await page.get_by_text('tell the channel "email", which cannot deliver anything yet').is_visible()
    assert "problem" in await page.locator(".side .nav a[href='/system']").inner_text()


async def test_resolving_is_undone_and_a_link_that_is_pointed_at_is_fetched_ahead(
    browser: Any, running: RunningAppliance, password: str
) -> None:
    page = await browser.new_page()
    await sign_in(page, running.url, OWNER, password)
    await wait_for_issues(Look(page, running.url, ""))
    first = page.locator("tr[data-row]").first
    number = await first.get_attribute("data-id")
    await first.locator("input.pick").check()
    await page.click("#bulk button[value=resolve]")
    await page.wait_for_selector("#toast >> text=Resolved 1 issue.")
    assert not await page.locator(f'tr[data-id="{number}"]').count()
    await page.click("#toast >> text=Undo")
    await page.wait_for_selector(f'tr[data-id="{number}"]')
    link = page.locator(f'tr[data-id="{number}"] a.issue-link')
    await link.hover()
    await page.wait_for_timeout(1_500)  # nothing tells a page that a link of it was fetched; it begins after 200 ms
    await link.click()
    await page.wait_for_url(f"**/issues/{number}")
    how = await page.evaluate("performance.getEntriesByType('navigation')[0].deliveryType")
    assert how == "navigational-prefetch"


async def test_a_filter_from_a_menu_changes_a_page_in_place_and_more_samples_follow(
    browser: Any, running: RunningAppliance, password: str
) -> None:
    page = await browser.new_page()
    await sign_in(page, running.url, OWNER, password)
    await page.goto(f"{running.url}{SHOP}/performance/metric?metric=LCP")
    rows = page.locator("#rows tr[data-row]")
    before = await rows.count()
    await page.click("#more a")
    await page.wait_for_selector(f"#rows tr:nth-child({before + 1})")
    await page.click("summary:has-text('Route')")
    await page.click(".sheet .item:has-text('/cart')")
    await page.wait_for_selector(".filter-chips :text('route: /cart')")
    assert "route=%2Fcart" in page.url
    assert await page.locator("h1").count() == 1
    await page.click(".filter-chips :text('Clear all')")
    await page.wait_for_selector(".filter-chips", state="detached")
    assert page.url.endswith("/performance/metric?metric=LCP")


async def test_the_pages_about_visits_are_read_and_filtered_without_scripts(
    browser: Any, running: RunningAppliance, password: str
) -> None:
    context = await browser.new_context(java_script_enabled=False)
    page = await context.new_page()
    await sign_in(page, running.url, OWNER, password)
    await page.goto(f"{running.url}{SHOP}/sessions?period=7d")
    await page.click("summary:has-text('Status')")
    await page.click("text=Show all values")
    await page.click(".values-page .item:has-text('errored')")
    assert page.url.endswith("/sessions?period=7d&status=errored")
    await page.locator("tr[data-row] a").first.click()
    await page.locator(".happenings a").first.click()
    assert "/events/" in page.url
    await page.click("text=its trace")
    assert await page.locator(".waterfall li").count() >= 5
