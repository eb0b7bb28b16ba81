"""Short conversations to find out who answers: one HTTP request to one address, one greeting of a mail server.

For facts about the network only: certificates are looked at but not relied on, and nothing secret is sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final, Literal, TypeAlias

from msgspec import Struct

MAX_ANSWER: Final = 16 * 1024  # head and the few bytes of proof; a stranger's page may be longer
MAX_REQUEST: Final = 8 * 1024  # head of a request to our listener
PROOF_PATH: Final = "/.well-known/condev-doctor/"

Resolver: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]  # (host, port) → addresses
Knocked = Literal["open", "refused", "silent", "unresolved", "unreachable", "odd"]


class Answered(Struct, frozen=True, kw_only=True):
    """What came back from one address."""

    status: int
    body: bytes
    trusted: bool  # the certificate is valid for the name; True without TLS


async def resolve(host: str, port: int) -> list[str]:
    """Every address of a name, as this machine sees it. Raises `OSError`."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


async def is_known(host: str, seconds: float) -> bool:
    """Whether a name has an address, found out within some seconds: a resolver that is away answers after twenty."""
    try:
        async with asyncio.timeout(seconds):
            return bool(await resolve(host, 0))
    except OSError:
        return False


async def ask(address: str, port: int, host: str, path: str, *, tls: bool = False, seconds: float = 5.0) -> Answered:
    """One GET to one address, under a name.

    Args:
        address: where to connect to.
        port: there.
        host: the name that is asked for, also in TLS.
        path: with the query.
        tls: whether to speak TLS; an invalid certificate is noted, not refused.
        seconds: for everything.

    Raises:
        OSError: nobody answered. `TimeoutError` is one.
    """
    async with asyncio.timeout(seconds):
        if not tls:
            return await _converse(address, port, host, path, None)
        try:
            return await _converse(address, port, host, path, ssl.create_default_context())
        except ssl.SSLCertVerificationError:
            answer = await _converse(address, port, host, path, _unchecked())
            return Answered(status=answer.status, body=answer.body, trusted=False)


async def greeting(host: str, port: int, *, tls: bool, seconds: float) -> Knocked:
    """Whether a mail server greets there: a connection alone may be a firewall that takes everything."""
    try:
        async with asyncio.timeout(seconds):
            context = _unchecked() if tls else None
            reader, writer = await asyncio.open_connection(
                host, port, ssl=context, server_hostname=host if tls else None, limit=MAX_ANSWER
            )
            try:
                line = await reader.readline()
            finally:
                await _close(writer)
    except TimeoutError:
        return "silent"
    except ConnectionRefusedError:
        return "refused"
    except socket.gaierror:
        return "unresolved"
    except (OSError, ValueError) as error:
        return "odd" if isinstance(error, (ssl.SSLError, ValueError, ConnectionError)) else "unreachable"
    return "open" if re.match(rb"\d{3}[ -]", line) else "odd"


@asynccontextmanager
async def listener(addresses: Sequence[str], port: int, token: str) -> AsyncGenerator[int]:
    """Answer `PROOF_PATH` + token with the token, and nothing else, while the context lasts.

    Yields:
        The port that is listened on: `port`, or the chosen one when that is 0.

    Raises:
        OSError: none of the addresses can be listened on.
    """

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            async with asyncio.timeout(3):  # a request of one line is there at once
                head = await reader.readuntil(b"\r\n\r\n")
            good = head.split(b" ")[1:2] == [f"{PROOF_PATH}{token}".encode()]
            status, body = ("200 OK", token.encode()) if good else ("404 Not Found", b"")
            writer.write(
                f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body
            )
            await writer.drain()
        await _close(writer)

    servers: list[asyncio.Server] = []
    failure: OSError | None = None
    for address in addresses:
        try:
            servers.append(await asyncio.start_server(answer, address, port, limit=MAX_REQUEST))
        except OSError as error:  # a host without IPv6 is none the worse
            failure = error
    if not servers:
        raise failure or OSError("no address to listen on")
    try:
        yield int(servers[0].sockets[0].getsockname()[1])
    finally:
        for server in servers:
            server.close()


async def _converse(address: str, port: int, host: str, path: str, context: ssl.SSLContext | None) -> Answered:
    reader, writer = await asyncio.open_connection(
        address, port, ssl=context, server_hostname=host if context is not None else None, limit=MAX_ANSWER
    )
    try:
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: condev-doctor\r\nAccept: */*\r\n"
            "Connection: close\r\n\r\n".encode("ascii")
        )
        await writer.drain()
        received = bytearray()
        while len(received) < MAX_ANSWER and (part := await reader.read(MAX_ANSWER - len(received))):
            received += part
    finally:
        await _close(writer)
    head, _, body = bytes(received).partition(b"\r\n\r\n")
    match = re.match(rb"HTTP/1\.[01] (\d{3})", head)
    if match is None:
        raise ConnectionError(f"{address} port {port} does not answer as a web server does")
    return Answered(status=int(match[1]), body=body, trusted=True)


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(1):  # TLS waits for the other side's goodbye; some never say it
            await writer.wait_closed()


def _unchecked() -> ssl.SSLContext:
    """For reachability: who answers is proved by what it answers, not by a certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
