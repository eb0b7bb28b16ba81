"""The SDK in a real Firefox against the running appliance: errors, vitals, a white screen, the last words of a page.

Debian's Firefox is driven over Marionette, the protocol that geckodriver speaks to it: lines of JSON over a socket.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Self

import pytest

from tests.browser.pages.serving import HERE, World, until, world

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

FIREFOX: Final = "firefox-esr"
START_SECONDS: Final = 120  # of Firefox, on a machine that does other things, too
# Nothing but the tests' own pages is asked for, and nothing is shown beside them.
SETTINGS: Final = {
    "marionette.port": 0,
    "app.normandy.enabled": False,
    "app.update.enabled": False,
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "services.settings.server": "data:,",
    "toolkit.telemetry.enabled": False,
}
QUICK: Final = {"delay": 400, "interval": 500, "retries": 2}  # a white screen is reported 1.4 s after load


class Firefox:
    """A Firefox with a profile of its own."""

    def __init__(self, profile: Path) -> None:
        """Args: profile: a folder that is empty."""
        lines = (f"user_pref({json.dumps(name)}, {json.dumps(value)});" for name, value in SETTINGS.items())
        (profile / "user.js").write_text("\n".join(lines), "utf-8")
        command = [FIREFOX, "--headless", "--marionette", "--no-remote", "--profile", str(profile), "about:blank"]
        self._process = subprocess.Popen(
            command, env={**os.environ, "HOME": str(profile)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._port = profile / "MarionetteActivePort"
        self._number = 0

    def __enter__(self) -> Self:
        deadline = time.monotonic() + START_SECONDS
        while not (self._port.is_file() and self._port.read_text()):
            assert self._process.poll() is None, f"Firefox ended with {self._process.returncode}"
            assert time.monotonic() < deadline, "Firefox did not start"
            time.sleep(0.1)
        self._socket = socket.create_connection(("127.0.0.1", int(self._port.read_text())), timeout=START_SECONDS)
        self._read()  # who it is
        self.ask("WebDriver:NewSession", capabilities={"alwaysMatch": {"pageLoadStrategy": "normal"}})
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def ask(self, command: str, **parameters: Any) -> Any:
        """A command's result.

        Raises:
            RuntimeError: Firefox says that it failed.
        """
        self._number += 1
        text = json.dumps([0, self._number, command, parameters]).encode()
        self._socket.sendall(b"%d:%s" % (len(text), text))
        _, _, error, result = self._read()
        if error:
            raise RuntimeError(f"{command}: {error['message']}")
        return result["value"] if isinstance(result, dict) and "value" in result else result  # pyright: ignore[reportUnknownVariableType]

    def _read(self) -> Any:
        length = b""
        while not length.endswith(b":"):
            length += self._take(1)
        return json.loads(self._take(int(length[:-1])))

    def _take(self, count: int) -> bytes:
        found = b""
        while len(found) < count:
            part = self._socket.recv(count - len(found))
            assert part, "Firefox has closed the connection"
            found += part
        return found

    def tab(self, address: str) -> None:
        """A new tab with this page, from now on the one that is talked to."""
        opened = self.ask("WebDriver:NewWindow", type="tab")
        self.ask("WebDriver:SwitchToWindow", handle=opened["handle"])
        self.ask("WebDriver:Navigate", url=address)

    def run(self, script: str) -> Any:
        """What a function with this body returns, in the page."""
        return self.ask("WebDriver:ExecuteScript", script=script, args=[], sandbox=None)

    async def holds(self, condition: str) -> None:
        """Wait until it does in the page."""
        async with asyncio.timeout(60):
            while not self.run(f"return Boolean({condition})"):
                await asyncio.sleep(0.1)

    def close_tab(self) -> None:
        """As a person does; the first tab stays, so that Firefox does."""
        self.ask("WebDriver:CloseWindow")
        self.ask("WebDriver:SwitchToWindow", handle=self.ask("WebDriver:GetWindowHandles")[0])


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("firefox-appliance")) as made:
        made.options["white/empty_root.html"] = {"whiteScreen": QUICK}
        made.served["vitals/firefox.html"] = (
            (HERE / "vitals" / "shifts.html")
            .read_text("utf-8")
            .replace('<script src="/vitals/web-vitals.js"></script>', "<script>webVitals = {}</script>")
            .replace('webVitals["on" + name]', "(() => {})")
        )
        yield made


@pytest.fixture(scope="module")
def firefox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Firefox]:
    if not shutil.which(FIREFOX):
        pytest.skip(f"{FIREFOX} is not installed")
    with Firefox(tmp_path_factory.mktemp("firefox-profile")) as started:
        yield started


def issues(pages: World) -> dict[str, dict[str, Any]]:
    """By their titles."""
    return {one["title"]: one for one in pages.get("issues?limit=100&state=all")["items"]}


async def test_errors_and_rejections_become_issues_with_firefox_stacks(firefox: Firefox, pages: World) -> None:
    firefox.tab(pages.page("shows/sparse.html"))
    # As the page's own script: what Marionette runs is in a sandbox, of whose errors a page learns nothing.
    firefox.run("""
      document.body.append(Object.assign(document.createElement("script"), { textContent: `
        setTimeout(function inTheCart() { null.price }, 0);
        setTimeout(function () { throw new RangeError("from Firefox") }, 0);
        Promise.reject(new Error("nobody waited"));
      ` }));
    """)
    titles = ["RangeError: from Firefox", "Error: nobody waited"]
    await until(lambda: set(titles) <= set(issues(pages)) or None, lambda: issues(pages).keys())
    (kind,) = [title for title in issues(pages) if title.startswith("TypeError")]
    [item] = pages.running.get(f"/api/v1/issues/{issues(pages)[kind]['id']}/events", pages.owner.token)["items"]
    event = pages.running.get(f"/api/v1/events/{item['id']}", pages.owner.token)["event"]
    assert "inTheCart" in [frame["function"] for frame in event["exceptions"][-1]["frames"]]
    assert event["exceptions"][-1]["handled"] is False
    assert "Firefox" in event["user_agent"]
    firefox.close_tab()


async def test_vitals_are_stored_when_the_tab_is_closed(firefox: Firefox, pages: World) -> None:
    def stored() -> dict[str, float]:
        items = pages.get("performance?by_url=true&limit=200")["items"]
        return {one["metric"]: one["p75"] for one in items if one["url"].endswith("/vitals/firefox.html")}

    # On a machine with more to do than it can, Firefox ends a tab's process before the request has left it: one tab in
    # 25, beside six busy loops on two cores; of `sendBeacon` as many. So one of several tabs must get through, whole.
    async def visit(tabs_left: int) -> None:
        await _visit_and_close(firefox, pages.page("vitals/firefox.html"))
        try:
            # Firefox has no layout shifts to measure.
            await until(lambda: {"LCP", "FCP", "TTFB", "INP", "load"} <= set(stored()) or None, stored, 45)
        except AssertionError:
            if stored() or not tabs_left:
                raise
            await visit(tabs_left - 1)

    await visit(tabs_left=2)
    assert 150 < stored()["INP"] < 10_000  # the click was answered after 180 ms


async def _visit_and_close(firefox: Firefox, address: str) -> None:
    firefox.tab(address)
    await firefox.holds("window.condevChunks?.vitals")
    button = firefox.ask("WebDriver:FindElement", using="css selector", value="#buy")
    firefox.ask("WebDriver:ElementClick", id=next(iter(button.values())))
    await firefox.holds("document.querySelector('#said').textContent")
    await asyncio.sleep(1)  # the browser measures the click, and tells of it
    firefox.close_tab()


async def test_a_white_screen_is_found(firefox: Firefox, pages: World) -> None:
    firefox.tab(pages.page("white/empty_root.html"))
    title = "White screen on /white/empty_root.html"
    issue = await until(lambda: issues(pages).get(title), lambda: issues(pages).keys())
    [item] = pages.running.get(f"/api/v1/issues/{issue['id']}/events", pages.owner.token)["items"]
    event = pages.running.get(f"/api/v1/events/{item['id']}", pages.owner.token)["event"]
    assert event["contexts"]["white_screen"]["reason"] == "empty_root"
    firefox.close_tab()


async def test_what_is_captured_last_arrives_when_the_page_goes(firefox: Firefox, pages: World) -> None:
    firefox.tab(pages.page("shows/sparse.html"))
    await firefox.holds("window.condev")
    text = "the last word"
    firefox.run(f"addEventListener('pagehide', () => condev.captureMessage({json.dumps(text)}), {{ capture: true }})")
    firefox.ask("WebDriver:Navigate", url="about:blank")
    firefox.close_tab()
    await until(lambda: issues(pages).get(text), lambda: issues(pages).keys())
