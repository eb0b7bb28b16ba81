"""Outgoing HTTPS and the clock, against real servers on loopback."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from email.utils import formatdate

import pytest
import trustme

from appliance.deploy.doctor import Probes, knock, network
from appliance.http_client import GuardedHttpClient

from .conftest import MakeContext, codes, configured, free_port, only


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@asynccontextmanager
async def site(authority: trustme.CA, date: str) -> AsyncGenerator[str]:
    """A web server with a certificate and a clock of its own; its address."""
    certificate = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(certificate)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Length: 0\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=certificate)
    yield f"https://localhost:{server.sockets[0].getsockname()[1]}/"
    server.close()
    await server.wait_closed()


def trusting(authority: trustme.CA) -> GuardedHttpClient:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return GuardedHttpClient(tls=context)


@pytest.mark.parametrize(
    ("ahead", "code"), [(0, "clock"), (20, "clock"), (90, "clock-off"), (-90, "clock-off"), (-4000, "clock-wrong")]
)
async def test_a_clock_that_differs_from_others_is_noticed(
    authority: trustme.CA, make_context: MakeContext, ahead: int, code: str
) -> None:
    client = trusting(authority)
    async with site(authority, formatdate(time.time() - ahead, usegmt=True)) as url:
        config = configured(doctor={"https": [url]})
        found = await network.check_https(make_context(config=config, http=client))
    await client.close()
    assert codes(found) == ["https", code]
    if ahead in {90, -90}:
        assert ("ahead" if ahead > 0 else "behind") in only(found, code).fact


async def test_a_certificate_of_a_stranger_is_said(authority: trustme.CA, make_context: MakeContext) -> None:
    async with site(authority, "") as url:
        found = await network.check_https(make_context(config=configured(doctor={"https": [url]})))
    assert only(found, "https-not-trusted").level == "warning"


async def test_a_place_that_tells_no_time_is_reached_all_the_same(
    authority: trustme.CA, make_context: MakeContext
) -> None:
    client = trusting(authority)
    async with site(authority, "yesterday") as url:
        found = await network.check_https(make_context(config=configured(doctor={"https": [url]}), http=client))
    await client.close()
    assert codes(found) == ["https"]


async def test_a_place_that_does_not_answer_is_blocked(make_context: MakeContext) -> None:
    config = configured(doctor={"https": [f"https://127.0.0.1:{free_port()}/"]})
    assert only(await network.check_https(make_context(config=config)), "https-blocked").level == "warning"


async def test_a_name_without_an_address_is_a_matter_of_dns(make_context: MakeContext) -> None:
    config = configured(doctor={"https": ["https://no-such-name.invalid/", "https://nor-this.invalid/"]})
    found = only(await network.check_https(make_context(config=config)), "dns-broken")
    assert "no-such-name.invalid, nor-this.invalid" in found.fact


async def test_a_resolver_that_does_not_answer_is_a_matter_of_dns(
    make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silence(_host: str, _port: int) -> list[str]:
        await asyncio.sleep(60)
        return []

    monkeypatch.setattr(knock, "resolve", silence)
    config = configured(doctor={"https": ["https://slow.example.com/"]})
    context = make_context(config=config, probes=Probes(seconds=0.1))
    assert codes(await network.check_https(context)) == ["dns-broken"]


async def test_no_place_to_ask_is_no_finding(make_context: MakeContext) -> None:
    assert await network.check_https(make_context(config=configured(doctor={"https": []}))) == []
