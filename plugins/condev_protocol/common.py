"""What every event of the SDK carries, whatever it reports: who, where, when, with which version."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from appliance.decoding import ClientClock, cut, hash_id, hex_id, line, parse_milliseconds, text
from appliance.model import MAX_LABEL, MAX_URL, Json, JsonObject, Record

_SERVER_AGENT: Final = "condev-monitor-"  # the Python SDK's own user agent: no browser
SDK_NAME: Final = "condev.browser"


class Report(Struct, frozen=True, kw_only=True):
    """One entry of a tracking body, and what it has in common with all others."""

    found: JsonObject
    type: str
    id: str
    timestamp: int
    clock: ClientClock
    url: str
    path: str
    user_agent: str
    user_id: str
    email: str
    release: str
    dist: str
    environment: str
    replay_id: str
    language: str
    system: str  # navigator.platform
    referrer: str
    sdk_name: str
    sdk_version: str

    @classmethod
    def of(cls, found: JsonObject, place: int, record: Record) -> Report:
        """Args: found: the entry; place: its number in the body; record: as accepted."""
        clock = ClientClock(record.received_at)
        browser = object_of(found.get("browserInfo"))
        path = text(found.get("path")) or text(browser.get("path"))
        agent = record.headers.get("user-agent", "")
        said = text(found.get("_eventId"))
        sdk_name, _, sdk_version = agent.partition("/") if agent.startswith(_SERVER_AGENT) else (SDK_NAME, "", "")
        at = parse_milliseconds(found.get("_clientCreatedAt"))
        return cls(
            found=found,
            type=line(found.get("type")),
            id=hex_id(said) if said else hash_id("condev", record.project_id, text(found), place),
            timestamp=clock.at(at if at is not None else parse_milliseconds(found.get("at"))),
            clock=clock,
            url=cut(page_of(path, record), MAX_URL),
            path=cut(path, MAX_LABEL),
            user_agent=(text(browser.get("userAgent")) or ("" if sdk_name != SDK_NAME else agent))[:MAX_URL],
            user_id=cut(line(found.get("userId")), MAX_LABEL),
            email=cut(line(found.get("userEmail")), MAX_LABEL),
            release=cut(line(found.get("release")), MAX_LABEL),
            dist=cut(line(found.get("dist")), MAX_LABEL),
            environment=cut(line(found.get("environment")), MAX_LABEL),
            replay_id=hex_id(text(found.get("replayId"))),
            language=cut(line(browser.get("language")), MAX_LABEL),
            system=cut(line(browser.get("platform")), MAX_LABEL),
            referrer=cut(text(browser.get("rederrer")) or text(browser.get("referrer")), MAX_URL),
            sdk_name=cut(sdk_name, MAX_LABEL),
            sdk_version=cut(sdk_version, MAX_LABEL),
        )


def page_of(path: str, record: Record) -> str:
    """The page's address: the SDK sends its path alone, the browser adds the origin."""
    if "://" in path or not path:
        return path
    origin = record.headers.get("origin", "")
    if not origin.startswith("http"):  # "null" of a sandboxed frame
        scheme, separator, rest = record.headers.get("referer", "").partition("://")
        origin = f"{scheme}://{rest.partition('/')[0]}" if separator else ""
    return f"{origin.rstrip('/')}{path if path.startswith('/') else '/' + path}" if origin else path


def object_of(value: Json) -> JsonObject:
    """An object; {} for anything else."""
    return value if isinstance(value, dict) else {}
