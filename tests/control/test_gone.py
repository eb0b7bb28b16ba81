"""Whoever asked may be gone before the answer is there."""

from __future__ import annotations

import asyncio
import socket

import pytest
import uvloop

from appliance.control import _Answer, _write


def test_an_answer_to_a_closed_connection_is_a_connection_error_on_the_loop_that_serves() -> None:
    async def answer() -> None:
        ours, theirs = socket.socketpair()
        _, writer = await asyncio.open_connection(sock=ours)
        theirs.close()
        writer.close()
        await writer.wait_closed()
        with pytest.raises(ConnectionError):
            await _write(writer, _Answer(ok=True))

    uvloop.run(answer())
