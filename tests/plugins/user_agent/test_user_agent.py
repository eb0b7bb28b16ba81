"""Browsers, systems and devices from real user agents, from SDKs' contexts, and from nonsense."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from appliance.hookspecs import Processor
from appliance.model import Client, Event, Kind, Outcome, Session
from appliance.testing.processors import ProcessorConformance
from condev_plugins.user_agent import UserAgentConfig, UserAgentProcessor

WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"
WINDOWS_CHROME = f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT} Chrome/148.0.0.0 Safari/537.36"
FIREFOX = "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
APPLE = "AppleWebKit/605.1.15 (KHTML, like Gecko)"
MAC_SAFARI = f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {APPLE} Version/18.1 Safari/605.1.15"
IPHONE = f"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) {APPLE} Version/17.5 Mobile/15E148 Safari/604.1"
PIXEL = f"Mozilla/5.0 (Linux; Android 14; Pixel 8) {WEBKIT} Chrome/148.0.0.0 Mobile Safari/537.36"
REDUCED = f"Mozilla/5.0 (Linux; Android 10; K) {WEBKIT} Chrome/148.0.0.0 Mobile Safari/537.36"


class TestUserAgent(ProcessorConformance):
    @pytest.fixture
    def processor(self) -> Processor:
        return UserAgentProcessor(UserAgentConfig())


def client_of(user_agent: str = "", **changes: Any) -> tuple[str, str, str, str, str]:
    event = Event(id="1" * 32, kind=Kind.ERROR, timestamp=1, user_agent=user_agent, **changes)
    UserAgentProcessor(UserAgentConfig()).process_batch([event])
    client = event.client
    return client.browser, client.browser_version, client.os, client.os_version, client.device


@pytest.mark.parametrize(
    ("user_agent", "expected"),
    [
        (WINDOWS_CHROME, ("Chrome", "148.0.0", "Windows", "10", "Desktop")),
        (FIREFOX, ("Firefox", "140.0", "Ubuntu", "", "Desktop")),
        (MAC_SAFARI, ("Safari", "18.1", "Mac OS X", "10.15.7", "Mac")),
        (IPHONE, ("Mobile Safari", "17.5", "iOS", "17.5", "iPhone")),
        (PIXEL, ("Chrome Mobile", "148.0.0", "Android", "14", "Pixel 8")),
        (REDUCED, ("Chrome Mobile", "148.0.0", "Android", "10", "")),
        ("Googlebot/2.1 (+http://www.google.com/bot.html)", ("Googlebot", "2.1", "", "", "Spider")),
        ("curl/8", ("curl", "8", "", "", "")),
        ("nonsense", ("", "", "", "", "")),
        ("", ("", "", "", "", "")),
    ],
)
def test_a_user_agent_names_browser_system_and_device(user_agent: str, expected: tuple[str, ...]) -> None:
    assert client_of(user_agent) == expected


def test_what_the_sdk_says_fills_what_the_user_agent_leaves_open() -> None:
    contexts: dict[str, Any] = {
        "browser": {"name": "Chrome", "version": "148.0.0"},
        "os": {"name": "Windows", "version": ">=10 (build 1)"},
        "device": {"family": "PC", "model": "X1"},
    }
    assert client_of("", contexts=contexts) == ("Chrome", "148.0.0", "Windows", "10", "X1")
    assert client_of(FIREFOX, contexts=contexts)[:3] == ("Firefox", "140.0", "Ubuntu")
    assert client_of("curl/8", contexts={"os": {"name": "Plan 9"}}) == ("curl", "8", "Plan 9", "", "")


def test_what_is_already_known_stays() -> None:
    session = Session(id="1" * 32, started=1, timestamp=1, user_agent=FIREFOX, client=Client(browser="Condev"))
    UserAgentProcessor(UserAgentConfig()).process_batch([session])
    assert session.client == Client(browser="Condev")


def test_items_without_a_client_pass() -> None:
    outcome = Outcome(reason="x", category="error", timestamp=1)
    assert UserAgentProcessor(UserAgentConfig()).process_batch([outcome]) == [outcome]


@pytest.mark.parametrize(
    "user_agent", ["(" * 100_000, "Mozilla/5.0 " * 9_999, "\U0001f600" * 999, "Chrome/" + "9" * 9_999]
)
def test_hostile_user_agents_are_cut_and_bounded(user_agent: str) -> None:
    assert all(len(value) <= 200 for value in client_of(user_agent))


def test_no_more_user_agents_are_remembered_than_configured() -> None:
    processor = UserAgentProcessor(UserAgentConfig(cache_entries=10))
    for n in range(50):
        processor.process_batch([Session(id="1" * 32, started=1, timestamp=1, user_agent=f"curl/{n}")])
    assert processor._parse is not None
    assert processor._parse.cache_info().currsize == 10  # type: ignore[attr-defined]


def test_the_parser_is_not_loaded_before_the_first_user_agent() -> None:
    code = (
        "import sys, condev_plugins.user_agent; sys.exit('ua_parser' in sys.modules or 'ua_parser_rs' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
