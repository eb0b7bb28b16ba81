"""Sends a real event through the public address with a real key, and reads it back by the API.

By `site.url`, as a browser would. Where the host does not reach its own address (many routers do not send back what
comes from inside), the same request goes to the loopback address with the public name in it, and the outcome says so.
"""

from __future__ import annotations

import asyncio
import secrets
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final, cast
from urllib.parse import urlsplit

import certifi
import httpx
from msgspec import Struct, structs

from appliance import control
from appliance.deploy.apply.layout import ApplyError
from appliance.model import JsonObject

REACH_SECONDS: Final = 90.0  # until the address answers: a first certificate takes up to a minute
READ_BACK_SECONDS: Final = 90.0  # until the event can be read; promised are 2, a backlog after an upgrade is worked off
REQUEST_SECONDS: Final = 10.0
PAUSE_SECONDS: Final = 1.0
CORE_SECONDS: Final = 60.0  # for the core's answer on its socket


class SelfTestError(ApplyError):
    """The event did not come back; the text says how far it came."""


class Way(Struct, frozen=True):
    """How the address is reached."""

    url: str  # what is asked, e.g. https://monitor.example.com or http://127.0.0.1:8080
    host: str = ""  # the Host header and the name in TLS, when they are not the address's own
    note: str = ""  # what a person should know of it
    scheme: str = ""  # of the public address, when this way is without TLS

    @property
    def headers(self) -> dict[str, str]:
        """For each request."""
        return {
            "User-Agent": "condev-apply",
            **({"Host": self.host} if self.host else {}),
            **({"X-Forwarded-Proto": self.scheme} if self.scheme else {}),
        }


async def run_self_test(
    data_dir: Path, site_url: str, published: Sequence[tuple[str, int, int]], authority: Path
) -> str:
    """One event, there and back.

    Args:
        data_dir: of the running core, whose socket gives key and token.
        site_url: the public address; "" when config.toml names none.
        published: ports of the stack on this host: (address, port, port in the container).
        authority: Caddy's own root certificate; need not exist.

    Returns:
        What was done, in words.

    Raises:
        SelfTestError: it could not be sent, or did not come back in time.
    """
    given = await _credentials(data_dir)
    trust = trust_of(authority)
    try:
        async with asyncio.timeout(REACH_SECONDS + READ_BACK_SECONDS):
            way, seconds_to_reach = await _reach(ways(site_url, published), trust)
            event_id, began = secrets.token_hex(16), time.monotonic()
            async with _client(way, trust) as client:
                await _send(client, way, given, event_id)
                await _read_back(client, way, given, event_id)
    except TimeoutError:
        raise SelfTestError("the self-test did not end in time: is the machine overloaded?") from None
    finally:
        await control.call(data_dir, "self_test_close", timeout=CORE_SECONDS)
    waited = f", reached after {seconds_to_reach:.0f} s" if seconds_to_reach > 5 else ""
    where = way.note or f"through {way.url}"
    return f"an event was sent and read back {where} in {time.monotonic() - began:.1f} s{waited}"


def ways(site_url: str, published: Sequence[tuple[str, int, int]]) -> list[Way]:
    """How the address may be reached, the public way first.

    Args:
        site_url: "" when unknown.
        published: as in `run_self_test`.
    """
    parts = urlsplit(site_url)
    found = [Way(site_url.rstrip("/"))] if site_url else []
    for address, port, inside in sorted(published, key=lambda one: one[2] != 443):
        secure = inside == 443
        if secure and parts.scheme == "http":
            continue
        local = address if address not in ("", "0.0.0.0", "::") else "127.0.0.1"  # noqa: S104 - compared, not bound
        url = f"{'https' if secure else 'http'}://{f'[{local}]' if ':' in local else local}:{port}"
        host = parts.netloc.rpartition("@")[2]
        note = f"over {url} with the name {host}" if host else f"over {url}"
        found.append(Way(url, host, note, "" if secure else parts.scheme))
    return found


async def _credentials(data_dir: Path) -> JsonObject:
    try:
        return await control.call(data_dir, "self_test_open", timeout=CORE_SECONDS)
    except control.ControlError as error:
        raise SelfTestError(f"the core did not give a key for the self-test: {error}") from error


def _client(way: Way, trust: ssl.SSLContext) -> httpx.AsyncClient:
    # Without the environment's proxies: the stack is here, and a proxy would answer for it.
    return httpx.AsyncClient(
        base_url=way.url, headers=way.headers, timeout=REQUEST_SECONDS, trust_env=False, verify=trust
    )


def trust_of(authority: Path) -> ssl.SSLContext:
    """What certificates are checked against: the machine's authorities, the usual ones, and Caddy's own.

    Args:
        authority: Caddy's root certificate, where `[deploy] tls = "internal"` made one.
    """
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    if authority.is_file():
        context.load_verify_locations(authority)
    return context


def _extensions(way: Way) -> dict[str, object]:
    return {"sni_hostname": way.host.partition(":")[0]} if way.host and way.url.startswith("https") else {}


async def _reach(ways: Sequence[Way], trust: ssl.SSLContext) -> tuple[Way, float]:
    """The first way that answers /healthz; each is tried until none is left or the time is up."""
    began = time.monotonic()
    if not ways:
        raise SelfTestError("there is no address to test: set [site] url in config.toml")
    while True:
        refusals: list[str] = []
        for way in ways:
            problem = await _asked(way, trust)
            if not problem:
                since = f", since {ways[0].url} is not reached from this host" if way is not ways[0] else ""
                return structs.replace(way, note=way.note + since if since else way.note), time.monotonic() - began
            refusals.append(f"{way.url}: {problem}")
            if time.monotonic() - began < REACH_SECONDS / 3 and way is ways[0] and len(ways) > 1:
                break  # a name or a certificate may need a moment yet; the loopback is for those that never come
        if time.monotonic() - began > REACH_SECONDS:
            raise SelfTestError(f"the stack runs, but its address does not answer: {'; '.join(refusals)}")
        await asyncio.sleep(PAUSE_SECONDS)


async def _asked(way: Way, trust: ssl.SSLContext) -> str:
    """Why /healthz does not answer there; "" when it does."""
    try:
        async with _client(way, trust) as client:
            answer = await client.get("/healthz", extensions=_extensions(way))
    except httpx.HTTPError as error:
        return f"{type(error).__name__}: {error}"[:200]
    return "" if answer.status_code == 200 else f"/healthz answers {answer.status_code}"


async def _send(client: httpx.AsyncClient, way: Way, given: JsonObject, event_id: str) -> None:
    event = {
        "event_id": event_id,
        "level": "info",
        "platform": "other",
        "message": "Self-test of condev apply: this event was sent through the public address and read back.",
        "fingerprint": ["condev-self-test"],
        "logger": "condev.apply",
    }

    async def once() -> str:
        answer = await client.post(
            f"/api/{given['project_id']}/store/",
            json=event,
            headers={"X-Sentry-Auth": f"Sentry sentry_version=7, sentry_key={given['key']}"},
            extensions=_extensions(way),
        )
        return "" if answer.is_success else f"sending the event was answered {answer.status_code}: {answer.text[:200]}"

    await _until(once, "the event was not accepted")  # ingest learns of a new key within a second


async def _read_back(client: httpx.AsyncClient, way: Way, given: JsonObject, event_id: str) -> None:
    headers = {"Authorization": f"Bearer {cast('str', given['token'])}"}

    async def once() -> str:
        answer = await client.get(f"/api/v1/events/{event_id}", headers=headers, extensions=_extensions(way))
        return "" if answer.is_success else f"reading it was answered {answer.status_code}: {answer.text[:200]}"

    await _until(once, "the event was accepted, and could not be read back")


async def _until(once: Callable[[], Awaitable[str]], what: str) -> None:
    """Again and again until it says nothing is wrong."""
    deadline = time.monotonic() + READ_BACK_SECONDS
    while True:
        try:
            problem = await once()
        except httpx.HTTPError as error:
            problem = f"{type(error).__name__}: {error}"[:200]
        if not problem:
            return
        if time.monotonic() > deadline:
            raise SelfTestError(f"{what} within {READ_BACK_SECONDS:.0f} s: {problem}")
        await asyncio.sleep(PAUSE_SECONDS / 4)
