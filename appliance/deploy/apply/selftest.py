"""Sends a real event through the public address with a real key, and reads it back by the API.

By `site.url`, as a browser would. Where the host does not reach its own address (many routers do not send back what
comes from inside), the same request goes to the loopback address with the public name in it, and the outcome says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final, cast
from urllib.parse import urlsplit

import certifi
import httpx
import msgspec
from msgspec import Struct, field, structs

from appliance import control
from appliance.deploy.apply.layout import ApplyError
from appliance.model import Json, JsonObject

REACH_SECONDS: Final = 90.0  # until the address answers: a first certificate takes up to a minute
READ_BACK_SECONDS: Final = 90.0  # until the event can be read; promised are 2, a backlog after an upgrade is worked off
REQUEST_SECONDS: Final = 10.0
PAUSE_SECONDS: Final = 1.0
CORE_SECONDS: Final = 60.0  # for the core's answer on its socket
STEADY_SECONDS: Final = 10.0  # between two looks at how far the core is: a batch takes 1 to 5 on a loaded host
_MESSAGE: Final = "Self-test of condev apply: this event was sent through the public address and read back."


class SelfTestError(ApplyError):
    """The event did not come back; the text says how far it came."""


class Request(Struct, frozen=True, kw_only=True):
    """An event as a client sends it."""

    path: str
    body: Json
    headers: dict[str, str] = field(default_factory=dict[str, str])


class Ask(Struct, frozen=True, kw_only=True):
    """How the API is asked for it."""

    path: str
    headers: dict[str, str]


class Progress(Struct, frozen=True, kw_only=True):
    """How far the core is with what ingest accepted."""

    records: int  # that wait
    oldest_seconds: float  # of the oldest of them
    processed: int  # records, ever
    problem: str = ""  # why it does not work them off; "" when it does


class _Spool(Struct):
    records: int
    oldest_seconds: float


class _Pipeline(Struct):
    running: bool
    error: str
    waiting_for: str


class _System(Struct):
    """What is read of the verb `system`."""

    spool: _Spool
    processed: int
    pipeline: _Pipeline | None

    def progress(self) -> Progress:
        pipeline = self.pipeline
        problem = "" if pipeline is not None and pipeline.running else "it does not run"
        return Progress(
            records=self.spool.records,
            oldest_seconds=self.spool.oldest_seconds,
            processed=self.processed,
            problem=problem or (f"{pipeline.error}{pipeline.waiting_for}" if pipeline is not None else ""),
        )


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
    data_dir: Path,
    site_url: str,
    published: Sequence[tuple[str, int, int]],
    authority: Path,
    protocols: Sequence[str],
) -> str:
    """One event, there and back.

    Args:
        data_dir: of the running core, whose socket gives key and token.
        site_url: the public address; "" when config.toml names none.
        published: ports of the stack on this host: (address, port, port in the container).
        authority: Caddy's own root certificate; need not exist.
        protocols: names of those that are loaded.

    Returns:
        What was done, in words, and what could not be seen on a host that is behind with its work.

    Raises:
        SelfTestError: it could not be sent, or did not come back in time.
    """
    given = await _credentials(data_dir)
    trust = trust_of(authority)
    try:
        async with asyncio.timeout(REACH_SECONDS + 2 * READ_BACK_SECONDS + CORE_SECONDS):
            way, seconds_to_reach = await _reach(ways(site_url, published), trust)
            event_id, began = secrets.token_hex(16), time.monotonic()
            request, ask = spoken(protocols, given, event_id), _ask(given, event_id)
            async with _client(way, trust) as client:
                if request is None:
                    await _until(lambda: _answers(client, way, ask), "the API does not answer")
                    unseen = f"no event was sent: none of the protocols ({', '.join(protocols)}) is spoken by this test"
                else:
                    unseen = await _there_and_back(data_dir, client, way, request, ask)
    except TimeoutError:
        raise SelfTestError("the self-test did not end in time: is the machine overloaded?") from None
    finally:
        # A core that died meanwhile has nothing to close, and why the test failed must not be hidden by that.
        with contextlib.suppress(control.ControlError):
            await control.call(data_dir, "self_test_close", timeout=CORE_SECONDS)
    waited = f", reached after {seconds_to_reach:.0f} s" if seconds_to_reach > 5 else ""
    where = way.note or f"through {way.url}"
    if unseen:
        return f"{unseen}; the API answers {where}{waited}"
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


def _ask(given: JsonObject, event_id: str) -> Ask:
    return Ask(path=f"/api/v1/events/{event_id}", headers={"Authorization": f"Bearer {cast('str', given['token'])}"})


def spoken(protocols: Sequence[str], given: JsonObject, event_id: str) -> Request | None:
    """The event in the words of a protocol that is loaded; None when none of these is.

    Args:
        protocols: names of the loaded ones.
        given: project and key, from the core.
        event_id: 32 hexadecimal digits.
    """
    if "sentry" in protocols:
        event: JsonObject = {
            "event_id": event_id,
            "level": "info",
            "platform": "other",
            "message": _MESSAGE,
            "fingerprint": ["condev-self-test"],
            "logger": "condev.apply",
        }
        auth = {"X-Sentry-Auth": f"Sentry sentry_version=7, sentry_key={given['key']}"}
        return Request(path=f"/api/{given['project_id']}/store/", body=event, headers=auth)
    if "condev" in protocols:
        entry: JsonObject = {
            "event_type": "custom",
            "type": "customMessage",
            "message": _MESSAGE,
            "_eventId": event_id,
        }
        return Request(path=f"/dsn-api/tracking/{given['key']}", body=[entry])
    return None


async def _there_and_back(data_dir: Path, client: httpx.AsyncClient, way: Way, request: Request, ask: Ask) -> str:
    """Send and read; what was not seen of it on a host that is behind with its work, in words, and else ""."""
    if not await _send(client, way, request):
        await _until(lambda: _answers(client, way, ask), "the API does not answer")
        if await _works(data_dir, 0.0):
            return "events are refused for now (429: overload, or a full disk); the core works, so none was sent"
        raise SelfTestError(
            f"events are refused with 429 for {READ_BACK_SECONDS:.0f} s, and the core does not work off what waits: "
            "see `condev status` and `condev logs core`"
        )
    accepted, missing = time.monotonic(), False

    async def once() -> str:
        nonlocal missing
        missing = False
        answer = await client.get(ask.path, headers=ask.headers, extensions=_extensions(way))
        missing = answer.status_code == 404
        return "" if answer.is_success else f"reading it was answered {answer.status_code}: {answer.text[:200]}"

    try:
        await _until(once, "the event was accepted, and could not be read back")
    except SelfTestError:
        if not missing or not await _works(data_dir, accepted):
            raise
        return "an event was accepted; it waits behind older ones, which the core works off, and was not read back"
    return ""


async def _send(client: httpx.AsyncClient, way: Way, request: Request) -> bool:
    """Whether it was accepted; False when it was refused for what the host can take (429) until the end."""
    refused = False

    async def once() -> str:
        nonlocal refused
        refused = False
        answer = await client.post(
            request.path, json=request.body, headers=request.headers, extensions=_extensions(way)
        )
        refused = answer.status_code == 429
        return "" if answer.is_success else f"sending the event was answered {answer.status_code}: {answer.text[:200]}"

    try:
        await _until(once, "the event was not accepted")  # ingest learns of a new key within a second
    except SelfTestError:
        if not refused:
            raise
        return False
    return True


async def _answers(client: httpx.AsyncClient, way: Way, ask: Ask) -> str:
    """Why the API does not say that there is no such event; "" when it does."""
    answer = await client.get(ask.path, headers=ask.headers, extensions=_extensions(way))
    return "" if answer.status_code == 404 else f"it says {answer.status_code}: {answer.text[:200]}"


async def _works(data_dir: Path, accepted: float) -> bool:
    """Whether the core is well and works off what waits, this very moment.

    Args:
        data_dir: of the core.
        accepted: when the event was, on the monotonic clock; 0.0 when none was.
    """
    first = await _progress(data_dir)
    await asyncio.sleep(STEADY_SECONDS)
    then = await _progress(data_dir)
    return is_worked_off(first, then, time.monotonic() - accepted if accepted else 0.0)


def is_worked_off(first: Progress, then: Progress, waited: float) -> bool:
    """Whether an event that cannot be seen yet is only waiting for its turn.

    Args:
        first: how far the core was.
        then: how far it was some seconds later.
        waited: how long ago the event was accepted, in seconds; 0.0 when none was.
    """
    if then.problem:
        return False
    if waited and then.oldest_seconds < waited:
        return False  # what was accepted before it is done, and it should be too
    return then.records == 0 or then.processed > first.processed


async def _progress(data_dir: Path) -> Progress:
    try:
        found = await control.call(data_dir, "system", timeout=CORE_SECONDS)
        return msgspec.convert(found, _System).progress()
    except (control.ControlError, msgspec.ValidationError) as error:
        return Progress(records=0, oldest_seconds=0.0, processed=0, problem=str(error))


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
