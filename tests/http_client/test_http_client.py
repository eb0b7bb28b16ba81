"""The guarded HTTP client against real servers on loopback."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
import trustme
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from appliance.hookspecs import DeliveryError
from appliance.http_client import MAX_RESPONSE_BYTES, GuardedHttpClient, is_public


@asynccontextmanager
async def a_client(**settings: object) -> AsyncIterator[GuardedHttpClient]:
    client = GuardedHttpClient(**settings)  # type: ignore[arg-type]
    try:
        yield client
    finally:
        await client.close()


def resolves_to(*addresses: str) -> Callable[[str, int], object]:
    async def resolver(_host: str, _port: int) -> Sequence[str]:
        return addresses

    return resolver


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.9.1", "10.0.0.1", "172.16.5.4", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",  # noqa: S104
        "224.0.0.1", "255.255.255.255", "240.0.0.1", "192.0.0.192", "198.18.0.1", "::1", "::", "fe80::1",
        "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1",
        "64:ff9b::7f00:1", "2002:7f00:1::", "2001::1", "fec0::1", "100::1", "not an address",
    ],
)  # fmt: skip
def test_addresses_that_are_not_of_the_public_internet_are_told(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "93.184.215.14", "2606:4700:4700::1111"])
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "2130706433", "0x7f000001", "127.1", "[::1]", "[::ffff:7f00:1]"]
)
async def test_an_untrusted_url_never_reaches_loopback_however_it_is_written(httpserver: HTTPServer, host: str) -> None:
    httpserver.expect_request("/").respond_with_data("secret")
    async with a_client() as client:
        with pytest.raises(DeliveryError) as raised:
            await client.request("GET", f"http://{host}:{httpserver.port}/")
    assert "secret" not in str(raised.value)
    assert raised.value.stage == "dns"
    assert not httpserver.log


async def test_one_private_address_among_public_ones_is_enough_to_refuse(httpserver: HTTPServer) -> None:
    async with a_client(resolver=resolves_to("93.184.215.14", "10.0.0.7")) as client:
        with pytest.raises(DeliveryError, match=r"10\.0\.0\.7, which is not a public address"):
            await client.request("GET", "http://rebind.example/")


async def test_an_untrusted_connection_goes_to_the_address_that_was_checked_and_looks_nothing_up_again(
    httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: the second answer would be another one. 'rebind.test' resolves nowhere but in our resolver."""
    httpserver.expect_request("/hook").respond_with_handler(lambda request: Response(request.host))
    asked: list[str] = []

    async def resolver(host: str, _port: int) -> Sequence[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["10.6.6.6"]

    async with a_client(resolver=resolver, allow_private=["127.0.0.0/8"]) as client:
        answer = await client.request("GET", f"http://rebind.test:{httpserver.port}/hook")
    assert answer.status == 200
    assert answer.body.decode() == f"rebind.test:{httpserver.port}"
    assert asked == ["rebind.test"]


async def test_the_certificate_is_verified_for_the_name_although_the_connection_goes_to_an_address() -> None:
    authority = trustme.CA()
    good, other = authority.issue_cert("hooks.test"), authority.issue_cert("elsewhere.test")
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    for certificate, works in ((good, True), (other, False)):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        server = HTTPServer("127.0.0.1", 0, ssl_context=context)
        server.start()
        try:
            server.expect_request("/").respond_with_data("taken")
            url = f"https://hooks.test:{server.port}/"
            settings = {"resolver": resolves_to("127.0.0.1"), "allow_private": ["127.0.0.1/32"], "tls": trusting}
            async with a_client(**settings) as client:
                if works:
                    assert (await client.request("POST", url, body=b"{}")).body == b"taken"
                else:
                    with pytest.raises(DeliveryError, match="certificate") as raised:
                        await client.request("POST", url, body=b"{}")
                    assert raised.value.stage == "tls"
                    assert not raised.value.ambiguous
        finally:
            server.stop()


async def test_redirects_on_the_same_server_are_followed_and_others_are_not(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/old", method="POST").respond_with_response(
        Response(status=308, headers={"Location": "/new"})
    )
    httpserver.expect_request("/new", method="POST").respond_with_handler(lambda request: Response(request.get_data()))
    httpserver.expect_request("/away").respond_with_response(
        Response(status=307, headers={"Location": "http://169.254.169.254/latest/meta-data"})
    )
    httpserver.expect_request("/loop").respond_with_response(Response(status=302, headers={"Location": "/loop"}))
    async with a_client() as client:
        base = f"http://127.0.0.1:{httpserver.port}"
        assert (await client.request("POST", f"{base}/old", body=b"kept", trusted=True)).body == b"kept"
        with pytest.raises(DeliveryError, match=r"redirects to another server \(http://169\.254\.169\.254\)"):
            await client.request("GET", f"{base}/away", trusted=True)
        with pytest.raises(DeliveryError, match="redirected more than"):
            await client.request("GET", f"{base}/loop", trusted=True)


async def test_a_post_is_never_turned_into_a_get_by_a_redirect(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/form", method="POST").respond_with_response(
        Response(status=302, headers={"Location": "/"})
    )
    async with a_client() as client:
        answer = await client.request("POST", f"http://127.0.0.1:{httpserver.port}/form", trusted=True)
    assert answer.status == 302


async def test_a_reply_is_cut_at_the_limit(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/").respond_with_data(b"x" * (MAX_RESPONSE_BYTES + 100_000))
    async with a_client() as client:
        answer = await client.request("GET", f"http://127.0.0.1:{httpserver.port}/", trusted=True)
    assert len(answer.body) == MAX_RESPONSE_BYTES


async def test_a_server_that_never_answers_is_left_after_the_timeout_and_may_have_acted() -> None:
    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)
        writer.close()

    server = await asyncio.start_server(swallow, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, a_client() as client:
        with pytest.raises(DeliveryError, match=r"did not answer within 0\.2 s") as raised:
            await client.request("POST", f"http://127.0.0.1:{port}/", body=b"{}", timeout=0.2, trusted=True)
        assert raised.value.ambiguous
        assert raised.value.retryable


async def test_a_server_that_hangs_up_after_the_request_may_have_acted() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, a_client() as client:
        with pytest.raises(DeliveryError, match="ended the connection") as raised:
            await client.request("POST", f"http://127.0.0.1:{port}/", body=b"{}", trusted=True)
        assert raised.value.ambiguous


async def test_a_refused_connection_says_so_and_is_not_ambiguous() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    async with a_client() as client:
        with pytest.raises(DeliveryError, match="could not be reached") as raised:
            await client.request("GET", f"http://127.0.0.1:{port}/", trusted=True)
    assert raised.value.stage == "connect"
    assert not raised.value.ambiguous


async def test_a_name_that_does_not_exist_is_said_in_words() -> None:
    async with a_client() as client:
        for trusted in (True, False):
            with pytest.raises(DeliveryError, match="could not be resolved") as raised:
                await client.request("GET", "http://no-such-host.invalid/", trusted=trusted)
            assert raised.value.stage == "dns"


@pytest.mark.parametrize(
    "url",
    ["ftp://example.com/", "file:///etc/passwd", "http://", "nonsense", "http://user:pw@example.com/", "http://[::1"],
)
async def test_what_is_no_http_address_is_refused_for_good(url: str) -> None:
    async with a_client() as client:
        with pytest.raises(DeliveryError) as raised:
            await client.request("GET", url, trusted=True)
    assert not raised.value.retryable
    assert raised.value.stage == "config"


async def test_a_header_with_a_line_break_is_refused_for_good(httpserver: HTTPServer) -> None:
    url = f"http://127.0.0.1:{httpserver.port}/"
    async with a_client() as client:
        with pytest.raises(DeliveryError) as raised:
            await client.request("GET", url, headers={"X": "a\r\nInjected: yes"}, trusted=True)
    assert not raised.value.retryable
    assert not httpserver.log


async def test_proxies_in_the_environment_are_ignored_and_the_configured_one_is_used(
    httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    seen: list[str] = []

    def handler(request: Request) -> Response:
        seen.append(request.headers["Host"])
        return Response("direct")

    httpserver.expect_request("/").respond_with_handler(handler)
    async with a_client() as client:
        answer = await client.request("GET", f"http://127.0.0.1:{httpserver.port}/", trusted=True)
        assert answer.body == b"direct"
    async with a_client(proxy=f"http://127.0.0.1:{httpserver.port}") as client:
        await client.request("GET", "http://far.example/", trusted=True)
    assert seen[-1] == "far.example"
