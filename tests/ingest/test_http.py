"""Heads that never end are given up; ordinary connections notice nothing."""

from __future__ import annotations

import asyncio

import pytest

from appliance.ingest.http import MAX_HEAD_BYTES, MAX_JOINED, BoundedHttpProtocol, JoiningTransport


@pytest.fixture
async def address():
    """A server that answers every request with its path's length."""
    import uvicorn

    async def app(scope, receive, send):
        while (await receive()).get("more_body"):
            pass
        body = b"%d" % len(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})

    class Impatient(BoundedHttpProtocol):
        head_seconds = 0.3
        body_seconds = 1.5

    config = uvicorn.Config(app, port=0, http=Impatient, loop="none", lifespan="off", log_level="error")
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.005)
    yield "127.0.0.1", server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await task


async def read_until_closed(reader: asyncio.StreamReader) -> bytes:
    try:
        return await asyncio.wait_for(reader.read(-1), 10)
    except ConnectionError:
        return b""


async def test_a_head_that_is_too_large_is_refused_with_431(address):
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nX-Filler: " + b"x" * MAX_HEAD_BYTES)
    await writer.drain()
    assert (await reader.readline()).startswith(b"HTTP/1.1 431")
    await read_until_closed(reader)
    writer.close()


async def test_a_head_that_drips_in_or_never_comes_is_given_up(address):
    for first in (b"", b"GET / HTTP/1.1\r\nHost: x\r\nX-"):
        reader, writer = await asyncio.open_connection(*address)
        writer.write(first)
        assert await read_until_closed(reader) == b""
        writer.close()


async def test_a_second_head_on_the_same_connection_is_bounded_too(address):
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"GET /abc HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"\r\n\r\n4" in await reader.read(4_096)
    writer.write(b"GET / HTTP/1.1\r\nX-")
    assert await read_until_closed(reader) == b""
    writer.close()


async def test_pipelined_and_slowly_sent_bodies_are_not_touched(address):
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n1")
    await asyncio.sleep(0.6)  # longer than a head may take
    writer.write(b"2GET /ab HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    answer = await read_until_closed(reader)
    assert answer.count(b"HTTP/1.1 200") == 2
    writer.close()


async def test_a_body_that_nobody_reads_or_that_never_ends_is_given_up(address):
    for begun in (b"", b"1"):
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n" + begun)
        assert await read_until_closed(reader) == b""
        writer.close()


async def test_a_kept_connection_is_not_ended_by_the_body_before(address):
    reader, writer = await asyncio.open_connection(*address)
    for _ in range(3):
        writer.write(b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n1")
        await asyncio.sleep(0.05)
        writer.write(b"2")
        assert b"200" in await reader.read(4_096)
        await asyncio.sleep(0.1)
    await asyncio.sleep(1.6)
    writer.write(b"GET /ab HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert b"HTTP/1.1 200" in await read_until_closed(reader)
    writer.close()


class Wire(asyncio.Transport):
    """A transport that notes what it is told to send."""

    def __init__(self) -> None:
        super().__init__({"peername": ("192.0.2.1", 5)})
        self.sent: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        self.sent.append(data)

    def close(self) -> None:
        self.closed = True


HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"


async def test_an_answer_leaves_in_one_piece() -> None:
    wire = Wire()
    transport = JoiningTransport(wire, asyncio.get_running_loop())
    transport.write(HEAD)
    transport.write(b"ok")
    transport.write(HEAD)  # of a second request on the connection
    transport.write(b"")
    transport.write(b"more of a stream")
    assert wire.sent == [HEAD + b"ok", HEAD, b"more of a stream"]
    await asyncio.sleep(0.01)
    assert len(wire.sent) == 3
    assert transport.get_extra_info("peername") == ("192.0.2.1", 5)


async def test_a_head_that_nothing_follows_goes_out_by_itself() -> None:
    wire = Wire()
    transport = JoiningTransport(wire, asyncio.get_running_loop())
    transport.write(HEAD)
    assert wire.sent == []
    await asyncio.sleep(0.01)
    assert wire.sent == [HEAD]
    transport.write(HEAD)
    transport.close()
    assert (wire.sent, wire.closed) == ([HEAD, HEAD], True)


async def test_large_bodies_are_not_copied_behind_their_heads() -> None:
    wire, body = Wire(), b"x" * (MAX_JOINED + 1)
    transport = JoiningTransport(wire, asyncio.get_running_loop())
    transport.write(HEAD)
    transport.write(body)
    transport.write(b"rest")
    assert wire.sent == [HEAD, body, b"rest"]
