"""Ways out for mail: real SMTP servers, silent ones and refusing ones on loopback, and what follows for the chain."""

from __future__ import annotations

import asyncio
import itertools
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme
from pytest_httpserver import HTTPServer

from appliance.config import Config
from appliance.deploy.doctor import Probes, mail
from appliance.deploy.doctor.knock import greeting
from appliance.deploy.doctor.mail_advice import PORTS, advise
from appliance.hookspecs import Notifier
from appliance.host_services import host_services
from appliance.plugins import PluginHost
from appliance.testing.mailbox import Mailbox

from .conftest import MakeContext, codes, configured, free_port, only


@asynccontextmanager
async def silent() -> AsyncGenerator[int]:
    """A firewall that takes every connection and says nothing."""

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(wait, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()


def config_for(resend: str = "", smtp_port: int = 0, chain: list[str] | None = None) -> Config:
    config = configured(doctor={"smtp_host": "127.0.0.1"}, mail={"sender": "Monitor <monitor@example.com>"})
    tables: dict[str, dict[str, object]] = {"resend": {"base_url": resend or f"http://127.0.0.1:{free_port()}"}}
    if resend:
        tables["resend"]["api_key"] = "re_123"
    if smtp_port:
        tables["smtp"] = {"host": "127.0.0.1", "port": smtp_port, "security": "none"}
    config.plugin_tables = tables
    config.channels = {"email": chain or ["resend", "smtp"]}
    return config


def notifiers(config: Config, folder: Path) -> dict[str, Notifier]:
    return PluginHost.load(config, host_services(config, folder, "https://monitor.example.com")).notifiers


def ports(**actual: int) -> Probes:
    return Probes(smtp_ports={port: actual.get(f"p{port}", free_port()) for port in (25, 465, 587, 2525)}, seconds=1)


async def test_a_mail_server_is_known_by_its_greeting() -> None:
    with Mailbox() as mailbox:
        assert await greeting("127.0.0.1", mailbox.port, tls=False, seconds=2) == "open"


async def test_a_server_that_speaks_tls_from_the_start_greets_too() -> None:
    certificate = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("mail.example.com").configure_cert(certificate)
    with Mailbox(security="tls", certificate=certificate) as mailbox:
        assert await greeting("127.0.0.1", mailbox.port, tls=True, seconds=2) == "open"


async def test_a_connection_without_a_greeting_is_no_way_out() -> None:
    async with silent() as port:
        assert await greeting("127.0.0.1", port, tls=False, seconds=0.3) == "silent"
        assert await greeting("127.0.0.1", port, tls=True, seconds=0.3) == "silent"
    assert await greeting("127.0.0.1", free_port(), tls=False, seconds=2) == "refused"
    assert await greeting("no-such-name.invalid", 25, tls=False, seconds=2) == "unresolved"


async def test_a_web_server_is_no_mail_server(httpserver: HTTPServer) -> None:
    assert await greeting("127.0.0.1", httpserver.port, tls=True, seconds=2) == "odd"


def test_the_chain_names_every_open_way_and_the_best_port() -> None:
    for resend, opened in itertools.product((True, False), itertools.product((True, False), repeat=4)):
        reached = {port: "open" if is_open else "silent" for port, is_open in zip(PORTS, opened, strict=True)}
        found = advise(reached, resend)  # type: ignore[arg-type]
        assert ("resend" in found.email) is resend
        assert ("smtp" in found.email) is any(opened)
        assert found.smtp_port == next((port for port in PORTS if reached[port] == "open"), None)
        assert found.email[:1] == (("resend",) if resend else ("smtp",) if any(opened) else ())
    assert advise({465: "open"}, False).smtp_security == "tls"
    assert advise({587: "open"}, False).smtp_security == "starttls"


async def test_everything_open_and_configured(
    make_context: MakeContext, httpserver: HTTPServer, tmp_path: Path
) -> None:
    httpserver.expect_request("/").respond_with_data("", status=404)
    httpserver.expect_request("/domains").respond_with_json({"data": []})
    with Mailbox() as mailbox:
        config = config_for(httpserver.url_for("").rstrip("/"), mailbox.port)
        context = make_context(config=config, notifiers=notifiers(config, tmp_path), probes=ports(p587=mailbox.port))
        found = await mail.check_mail(context)
    assert {one.level for one in found} == {"ok"}
    assert codes(found).count("notifier") == 2
    assert '["resend", "smtp"]' in only(found, "mail-chain").fact
    assert context.mail_advice is not None
    assert context.mail_advice.smtp_port == 587
    assert "587 open" in only(found, "smtp").fact


async def test_blocked_smtp_recommends_resend(
    make_context: MakeContext, httpserver: HTTPServer, tmp_path: Path
) -> None:
    httpserver.expect_request("/").respond_with_data("")
    config = config_for(chain=["smtp"], smtp_port=free_port())
    config.plugin_tables["resend"] = {"base_url": httpserver.url_for("").rstrip("/")}
    context = make_context(config=config, notifiers=notifiers(config, tmp_path), probes=ports())
    found = await mail.check_mail(context)
    assert only(found, "smtp-blocked").mend.startswith("Use Resend")
    assert only(found, "notifier-failing").fact.startswith("smtp fails at connect")
    assert '["resend"]' in only(found, "mail-chain").fact
    assert "mail-no-way-out" in codes(found)


async def test_blocked_smtp_is_no_matter_where_resend_works(
    make_context: MakeContext, httpserver: HTTPServer, tmp_path: Path
) -> None:
    httpserver.expect_request("/").respond_with_data("")
    httpserver.expect_request("/domains").respond_with_json({"data": []})
    config = config_for(httpserver.url_for("").rstrip("/"))
    found = await mail.check_mail(make_context(config=config, notifiers=notifiers(config, tmp_path), probes=ports()))
    assert {one.level for one in found} == {"ok"}


async def test_a_wrong_port_is_told_the_right_one(make_context: MakeContext, tmp_path: Path) -> None:
    with Mailbox() as mailbox:
        config = config_for(smtp_port=free_port(), chain=["smtp"])
        probes = ports(p2525=mailbox.port)
        found = await mail.check_mail(make_context(config=config, notifiers=notifiers(config, tmp_path), probes=probes))
    assert "works on port 2525" in only(found, "notifier-failing").mend


async def test_no_way_out_at_all(make_context: MakeContext, tmp_path: Path) -> None:
    config = config_for()
    found = await mail.check_mail(make_context(config=config, notifiers=notifiers(config, tmp_path), probes=ports()))
    assert set(codes(found)) == {"smtp-blocked", "resend-blocked", "mail-no-way-out"}
    assert {one.level for one in found} == {"warning"}  # the appliance itself runs


@pytest.mark.parametrize("chain", [["webhook"], []])
async def test_other_chains_do_not_need_resend(make_context: MakeContext, chain: list[str], tmp_path: Path) -> None:
    config = config_for()
    config.channels = {"email": chain}
    found = await mail.check_mail(make_context(config=config, notifiers=notifiers(config, tmp_path), probes=ports()))
    assert "resend-blocked" not in codes(found)
