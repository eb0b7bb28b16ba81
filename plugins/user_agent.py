"""Fills in browser, operating system and device from the user agent, and from what the SDK says of itself.

Not for client hints: browsers send those to pages, not to the appliance.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from appliance.hookspecs import PluginContext, PluginInfo, Processor, hookimpl
from appliance.model import MAX_LABEL, Client, Event, Item, Json, Outcome

if TYPE_CHECKING:
    from ua_parser.core import PartialResult

MAX_USER_AGENT: Final = 512  # characters looked at; real ones have up to 300, and the header is hostile
# Systems that run on desks where the user agent does not name the machine.
_DESKTOPS: Final = frozenset({"Windows", "Mac OS X", "macOS", "Linux", "Ubuntu", "Fedora", "Debian", "Chrome OS"})
# K is what Chrome says since it stopped naming phones.
_NO_DEVICE: Final = frozenset({"", "Other", "Generic Smartphone", "Generic Feature Phone", "K"})
_VERSION: Final = re.compile(r"[0-9][0-9A-Za-z.\-]{0,39}")

_Parse = Callable[[str], tuple[str, str, str, str, str]]
_UNKNOWN: Final = ("", "", "", "", "")


class UserAgentConfig(Struct, kw_only=True, forbid_unknown_fields=True):
    """`[plugins.user_agent]`."""

    cache_entries: int = 4096  # user agents remembered; a busy site sees about a thousand different ones a day


class UserAgentProcessor(Processor):
    """Fills the `client` of every item that has a user agent."""

    name = "user_agent"
    order = 50
    on_failure = "skip"

    def __init__(self, config: UserAgentConfig) -> None:
        """The parser is loaded at the first user agent: it takes 30 MB and a fifth of a second."""
        self._cache_entries = max(1, config.cache_entries)
        self._parse: _Parse | None = None

    def process_batch(self, items: list[Item]) -> list[Item]:
        """Fill what is empty; what a protocol or the page has said stays."""
        for item in items:
            if isinstance(item, Outcome) or item.client.browser:
                continue
            found = self._parsed(item.user_agent) if item.user_agent else _UNKNOWN
            if isinstance(item, Event) and not all(found):
                found = _with_contexts(found, item.contexts)
            if found is not _UNKNOWN:
                browser, browser_version, os, os_version, device = found
                item.client = Client(
                    browser=browser, browser_version=browser_version, os=os, os_version=os_version, device=device
                )
        return items

    def _parsed(self, user_agent: str) -> tuple[str, str, str, str, str]:
        if self._parse is None:
            self._parse = lru_cache(self._cache_entries)(_parser())
        return self._parse(user_agent[:MAX_USER_AGENT])


def _parser() -> _Parse:
    from ua_parser.core import Domain
    from ua_parser.loaders import load_lazy_builtins
    from ua_parser.regex import Resolver

    resolver = Resolver(load_lazy_builtins())

    def parse(user_agent: str) -> tuple[str, str, str, str, str]:
        return _named(resolver(user_agent, Domain.ALL))

    return parse


def _named(found: PartialResult) -> tuple[str, str, str, str, str]:
    agent, system, machine = found.user_agent, found.os, found.device
    browser = agent.family if agent and agent.family != "Other" else ""
    browser_version = _dotted(agent.major, agent.minor, agent.patch) if agent and browser else ""
    os = system.family if system and system.family != "Other" else ""
    os_version = _dotted(system.major, system.minor, system.patch) if system and os else ""
    device = machine.family if machine and machine.family not in _NO_DEVICE else ""
    if not device and os in _DESKTOPS:
        device = "Desktop"
    return _label(browser), _label(browser_version), _label(os), _label(os_version), _label(device)


def _with_contexts(found: tuple[str, str, str, str, str], contexts: dict[str, Json]) -> tuple[str, str, str, str, str]:
    """What the user agent leaves open, from the contexts in which SDKs say it themselves."""
    browser, browser_version, os, os_version, device = found
    if not browser:
        browser, browser_version = _said(contexts, "browser", "name"), _said(contexts, "browser", "version")
    if not os:
        os, os_version = _said(contexts, "os", "name"), _said(contexts, "os", "version")
    if not device:
        device = _said(contexts, "device", "model") or _said(contexts, "device", "family")
    filled = (browser, browser_version, os, os_version, device)
    return filled if any(filled) else _UNKNOWN


def _said(contexts: dict[str, Json], name: str, key: str) -> str:
    context = contexts.get(name)
    value = context.get(key) if isinstance(context, dict) else None
    if not isinstance(value, str):
        return ""
    if key == "version":
        version = _VERSION.search(value)
        return version[0] if version else ""
    return _label(value)


def _dotted(*parts: str | None) -> str:
    return ".".join(part for part in parts if part)


def _label(value: str) -> str:
    return value.strip()[:MAX_LABEL]


plugin = PluginInfo(
    name="user_agent",
    version="1.0",
    requires_api="1.0",
    config=UserAgentConfig,
    summary="Browser, operating system and device from the user agent.",
)


@hookimpl
def register_processors(context: PluginContext) -> Sequence[Processor]:
    """One processor, after scrubbing and before anything that looks at browsers."""
    return [UserAgentProcessor(context.config)]
