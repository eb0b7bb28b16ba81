"""A form or an API call whose body trickles in is answered with 408, in its own form; what is whole is not touched."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import uvicorn
from litestar import Litestar, Request, get, post

from appliance.testing.clock import FakeClock
from appliance.web.deadline import BodyDeadline
from appliance.web.setup import WebPlugin


@post("/api/v1/echo", status_code=200)
async def echo(request: Request) -> bytes:  # type: ignore[type-arg]
    return await request.body()


@get("/api/v1/slow")
async def slow() -> str:
    await asyncio.sleep(0.6)
    return "done"


@pytest.fixture
async def address() -> AsyncIterator[tuple[str, int]]:
    app = Litestar([echo, slow], plugins=[WebPlugin(FakeClock())], openapi_config=None, logging_config=None)
    config = uvicorn.Config(
        BodyDeadline(app, 0.3),
        port=0,
        loop="none",
        lifespan="off",
        log_level="error",  # type: ignore[arg-type]
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.005)
    yield "127.0.0.1", server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await task


async def talk(address: tuple[str, int], *parts: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*address)
    for part in parts:
        writer.write(part)
        await writer.drain()
    answer = await asyncio.wait_for(reader.read(-1), 10)
    writer.close()
    return answer


async def test_a_body_that_stays_away_is_answered_with_408_and_the_connection_ends(address: tuple[str, int]) -> None:
    answer = await talk(address, b"POST /api/v1/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n", b"half")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408")
    assert b"connection: close" in head.lower()
    assert b"did not arrive in time" in body
    assert b"request_id" in body


async def test_a_body_in_two_parts_is_taken(address: tuple[str, int]) -> None:
    head = b"POST /api/v1/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\nConnection: close\r\n\r\n"
    assert (await talk(address, head, b"half", b" and.")).endswith(b"half and.")


async def test_an_answer_may_take_longer_than_a_body(address: tuple[str, int]) -> None:
    answer = await talk(address, b"GET /api/v1/slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.endswith(b"done")
