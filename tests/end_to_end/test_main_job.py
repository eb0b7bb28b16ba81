"""The main job: a real browser with a real SDK throws; the issue is on the dashboard, and a mail in a mailbox."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from appliance.testing.mailbox import Mailbox, ReceivedMail
from appliance.testing.running import RunningAppliance

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

RECIPIENT = "owner@example.com"  # the demo's owner
ERROR = "Cannot read properties of undefined (reading 'price')"
SLOW_SECONDS = 20  # longer than the notifier waits for Resend


class Resend:
    """A stand-in for api.resend.com, over real HTTP."""

    def __init__(self, server: HTTPServer, answer: str) -> None:
        self.requests: list[Request] = []
        self._answer = answer
        self._released = threading.Event()
        server.expect_request("/emails", method="POST").respond_with_handler(self._handle)
        self.url = server.url_for("").rstrip("/") if answer != "refused" else f"http://127.0.0.1:{closed_port()}"

    def release(self) -> None:
        """End the waiting of a slow answer."""
        self._released.set()

    def _handle(self, request: Request) -> Response:
        self.requests.append(request)
        if self._answer == "slow":
            self._released.wait(SLOW_SECONDS)
            return Response(status=504)
        if self._answer == "200":
            return Response('{"id": "re_1"}', content_type="application/json")
        return Response('{"name": "made_up", "message": "made up"}', int(self._answer), content_type="application/json")


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def appliance(tmp_path: Path, resend: Resend, mailbox: Mailbox) -> Iterator[RunningAppliance]:
    config = f"""
[mail]
from = "Monitor <monitor@example.com>"
[plugins.resend]
api_key = {{ env = "RESEND_API_KEY" }}
base_url = "{resend.url}"
[plugins.smtp]
host = "{mailbox.host}"
port = {mailbox.port}
security = "none"
"""
    running = RunningAppliance(
        tmp_path / "data", role="demo", config=config, environ={"RESEND_API_KEY": "re_secret_123"}
    )
    with running:
        yield running
        resend.release()
    assert "re_secret_123" not in running.log_file.read_text()


def password_of(running: RunningAppliance) -> str:
    import json

    return str(json.loads((running.data_dir / "demo-sign-in.json").read_text())["password"])


async def throw_in_the_example_page(browser: Any, running: RunningAppliance, bundle: Path) -> float:
    """Open the example page with this SDK, press the button; when its report was answered."""
    page = await browser.new_page()

    async def sdk(route: Any) -> None:
        await route.fulfill(path=bundle, content_type="text/javascript")

    await page.route("**/vendor/sentry.js", sdk)
    await page.goto(f"{running.url}/example/sentry/")
    async with page.expect_response(lambda response: "/envelope/" in response.url and response.status == 200):
        await page.click("[data-cause=typeError]")
    answered = time.monotonic()
    await page.close()
    return answered


async def see_the_issue(browser: Any, running: RunningAppliance, answered: float) -> float:
    """Sign in, and find the issue in the list and its stack on its page; seconds from the answer to the list."""
    page = await browser.new_page()
    await page.goto(f"{running.url}/sign-in")
    await page.fill("input[name=email]", RECIPIENT)
    await page.fill("input[type=password]", password_of(running))
    await page.click("button[type=submit]")
    await page.get_by_role("heading", name="Issues").wait_for()
    title = page.get_by_text(ERROR).first
    while not await title.is_visible():
        assert time.monotonic() - answered < 90, "the issue did not appear in the list"
        await asyncio.sleep(0.1)
        await page.reload()
    seconds = time.monotonic() - answered
    await title.click()
    await page.wait_for_url(f"{running.url}/issues/*")
    assert await page.get_by_text("lineTotal").first.is_visible()
    await page.close()
    return seconds


async def wait_for_mail(mailbox: Mailbox, seconds: float) -> ReceivedMail:
    deadline = time.monotonic() + seconds
    while not mailbox.received:
        assert time.monotonic() < deadline, "no mail came"
        await asyncio.sleep(0.1)
    return mailbox.received[0]


@pytest.mark.parametrize(("major", "answer"), [(8, "500"), (10, "401"), (11, "slow"), (11, "refused")], ids=str)
async def test_an_error_in_a_browser_is_an_issue_and_a_mail_by_smtp_when_resend_fails(
    browser: Any, sdk_bundle: Callable[[int], Path], httpserver: HTTPServer, tmp_path: Path, major: int, answer: str
) -> None:
    resend = Resend(httpserver, answer)
    with Mailbox() as mailbox, appliance(tmp_path, resend, mailbox) as running:
        answered = await throw_in_the_example_page(browser, running, sdk_bundle(major))
        await see_the_issue(browser, running, answered)
        mail = await wait_for_mail(mailbox, 45)
        assert mail.recipients == (RECIPIENT,)
        assert ERROR in mail.subject
        assert "lineTotal" in mail.body("plain")
        assert f"{running.url}/issues/" in mail.body("plain")
        assert f'href="{running.url}/issues/' in mail.body("html")
        assert bool(resend.requests) == (answer != "refused")


async def test_when_resend_takes_it_smtp_is_not_asked(
    browser: Any, sdk_bundle: Callable[[int], Path], httpserver: HTTPServer, tmp_path: Path
) -> None:
    resend = Resend(httpserver, "200")
    with Mailbox() as mailbox, appliance(tmp_path, resend, mailbox) as running:
        await throw_in_the_example_page(browser, running, sdk_bundle(11))
        deadline = time.monotonic() + 20
        while not resend.requests:
            assert time.monotonic() < deadline, "Resend was not asked"
            await asyncio.sleep(0.1)
        body: dict[str, Any] = resend.requests[0].get_json()
        assert body["to"] == [RECIPIENT]
        assert ERROR in body["subject"]
        assert resend.requests[0].headers["Idempotency-Key"]
        assert mailbox.received == []
