"""Does the domain lead here: tried with real connections to addresses of loopback."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme

from appliance.deploy.doctor import DoctorContext, Probes, domain
from appliance.deploy.doctor.engine_api import EngineApi
from appliance.deploy.doctor.knock import PROOF_PATH, ask, listener
from appliance.instance import make_key
from appliance.testing.running import RunningAppliance

from .conftest import ANYWHERE, EngineState, HostTree, MakeContext, codes, configured, free_port, only

Engine = tuple[EngineApi, EngineState]
SITE = configured(deploy={"domain": "monitor.example.com"})


def leads_to(*addresses: str):
    async def resolver(_host: str, _port: int) -> Sequence[str]:
        return addresses

    return resolver


@asynccontextmanager
async def stranger(address: str, port: int, status: str = "200 OK") -> AsyncGenerator[None]:
    """Somebody else's web server."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 5\r\n\r\nhello".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, address, port)
    yield
    server.close()
    await server.wait_closed()


async def test_without_a_domain_nothing_is_asked(make_context: MakeContext) -> None:
    assert await domain.check_domain(make_context()) == []
    assert await domain.check_domain(make_context(config=configured(deploy={"domain": "192.0.2.7"}))) == []


async def test_a_domain_that_leads_here_is_proved_by_a_listener(make_context: MakeContext) -> None:
    context = make_context(config=SITE, resolver=leads_to("127.0.0.1"))
    found = only(await domain.check_domain(context), "domain")
    assert "leads here" in found.fact
    assert "firewall lets others in is not seen" in found.fact


async def test_the_listener_answers_its_own_token_alone() -> None:
    async with listener(["127.0.0.1"], 0, "secret") as port:
        good = await ask("127.0.0.1", port, "x.example.com", f"{PROOF_PATH}secret")
        bad = await ask("127.0.0.1", port, "x.example.com", f"{PROOF_PATH}other")
        assert (good.status, good.body, bad.status, bad.body) == (200, b"secret", 404, b"")
    with pytest.raises(ConnectionRefusedError):
        await ask("127.0.0.1", port, "x.example.com", f"{PROOF_PATH}secret")


async def test_a_name_without_an_address(make_context: MakeContext) -> None:
    config = configured(deploy={"domain": "no-such-name.invalid"})
    found = only(await domain.check_domain(make_context(config=config)), "domain-unresolved")
    assert found.level == "error"
    assert "no-such-name.invalid" in found.mend


async def test_a_name_in_other_letters_is_asked_for_as_dns_has_it(make_context: MakeContext) -> None:
    asked: list[str] = []

    async def resolver(host: str, _port: int) -> Sequence[str]:
        asked.append(host)
        return ["127.0.0.1"]

    for name in ("überwachung.example.com", "a..b.example.com"):
        await domain.check_domain(make_context(config=configured(deploy={"domain": name}), resolver=resolver))
    assert asked == ["xn--berwachung-8db.example.com", "a..b.example.com"]


async def test_a_domain_at_which_another_server_answers(make_context: MakeContext) -> None:
    context = make_context(config=SITE, resolver=leads_to("127.0.0.2"))
    async with stranger("127.0.0.2", context.probes.http_port):
        assert only(await domain.check_domain(context), "domain-answers-elsewhere").level == "error"


async def test_a_cdn_that_sends_to_https_proves_nothing(make_context: MakeContext, host: HostTree) -> None:
    host.write("proc/net/fib_trie", "  |-- 8.8.4.4\n     /32 host LOCAL\n")
    context = make_context(config=SITE, resolver=leads_to("127.0.0.2"))
    async with stranger("127.0.0.2", context.probes.http_port, "301 Moved Permanently"):
        assert codes(await domain.check_domain(context)) == ["domain-not-reached"]


async def test_a_second_record_that_leads_elsewhere(make_context: MakeContext) -> None:
    context = make_context(config=SITE, resolver=leads_to("127.0.0.1", "127.0.0.3"))
    found = only(await domain.check_domain(context), "domain-partly-elsewhere")
    assert "not at 127.0.0.3" in found.fact


async def test_silence_at_an_address_that_is_not_ours(make_context: MakeContext, host: HostTree) -> None:
    context = make_context(config=SITE, resolver=leads_to("127.0.0.3"))
    assert only(await domain.check_domain(context), "domain-not-reached").level == "warning"
    host.write("proc/net/fib_trie", "  |-- 8.8.4.4\n     /32 host LOCAL\n")
    assert only(await domain.check_domain(context), "domain-points-elsewhere").level == "error"


async def test_what_may_not_be_listened_on_is_judged_by_addresses(make_context: MakeContext, host: HostTree) -> None:
    host.write("proc/net/if_inet6", "2a0104f8000000000000000000000001 02 40 00 80 eth0\n")
    here = make_context(config=SITE, resolver=leads_to("2a01:4f8::1"))
    host.listen(here.probes.http_port)
    assert "this machine's own" in only(await domain.check_domain(here), "domain").fact
    there = make_context(config=SITE, resolver=leads_to("2a01:4f8::2"), probes=here.probes)
    assert codes(await domain.check_domain(there)) == ["domain-points-elsewhere"]


def test_addresses_of_interfaces_are_read(make_context: MakeContext, host: HostTree) -> None:
    host.write("proc/net/fib_trie", FIB)
    host.write("proc/net/if_inet6", "00000000000000000000000000000001 01 80 10 80 lo\n")
    assert domain.own_addresses(make_context()) == {"127.0.0.1", "203.0.113.9", "::1"}


FIB = """Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 127.0.0.0/8 2 0 2
        |-- 127.0.0.1
           /32 host LOCAL
     +-- 203.0.113.0/24 2 0 2
        |-- 203.0.113.0
           /24 link UNICAST
        |-- 203.0.113.9
           /32 host LOCAL
        |-- 203.0.113.255
           /32 link BROADCAST
"""


def of_a_stack(make: MakeContext, engine: Engine, data_dir: Path, http: int, https: int) -> DoctorContext:
    """A context for a host on which our own proxy has the ports."""
    engine[1].add("condev-caddy-1", service="caddy", project="condev", ports={http: ANYWHERE, https: ANYWHERE})
    probes = Probes(http_port=http, https_port=https, listen=("127.0.0.1",), seconds=4)
    return make(config=SITE, resolver=leads_to("127.0.0.1"), data_dir=data_dir, probes=probes)


async def test_a_running_stack_proves_itself_at_healthz(
    make_context: MakeContext, engine: Engine, tmp_path: Path
) -> None:
    running = RunningAppliance(tmp_path / "running", role="ingest")
    running.start(ready=False)  # without a core it lives, and accepts nothing
    try:
        context = of_a_stack(make_context, engine, running.data_dir, running.port, free_port())
        assert only(await domain.check_domain(context), "domain").level == "ok"
        other = of_a_stack(make_context, engine, tmp_path / "other", running.port, free_port())
        (tmp_path / "other").mkdir()
        make_key(tmp_path / "other")
        assert codes(await domain.check_domain(other)) == ["domain-not-reached"]  # an appliance, but which one?
    finally:
        running.stop()


async def test_a_stack_at_whose_address_another_server_answers(
    make_context: MakeContext, engine: Engine, tmp_path: Path
) -> None:
    context = of_a_stack(make_context, engine, tmp_path, free_port(), free_port())
    make_key(tmp_path)
    async with stranger("127.0.0.1", context.probes.http_port):
        assert codes(await domain.check_domain(context)) == ["domain-answers-elsewhere"]


@pytest.mark.parametrize("status", ["503 Service Unavailable", "308 Permanent Redirect"])
async def test_our_own_proxy_before_a_service_that_is_down_is_no_stranger(
    make_context: MakeContext, engine: Engine, tmp_path: Path, status: str
) -> None:
    context = of_a_stack(make_context, engine, tmp_path, free_port(), free_port())
    make_key(tmp_path)
    async with stranger("127.0.0.1", context.probes.http_port, status):
        assert codes(await domain.check_domain(context)) == ["domain-not-reached"]


async def test_a_certificate_that_browsers_do_not_trust_is_said(
    make_context: MakeContext, engine: Engine, tmp_path: Path
) -> None:
    authority, context_of_server = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("monitor.example.com").configure_cert(context_of_server)
    data_dir, https = tmp_path / "data", free_port()
    data_dir.mkdir()
    make_key(data_dir)
    context = of_a_stack(make_context, engine, data_dir, free_port(), https)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1].decode()
        body = domain.prove(data_dir, line.partition("nonce=")[2]).encode()
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", https, ssl=context_of_server)
    assert codes(await domain.check_domain(context)) == ["domain", "certificate-not-trusted"]
    server.close()
    await server.wait_closed()
