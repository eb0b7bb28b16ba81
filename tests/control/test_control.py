"""The control socket: for its owner alone, bounded, and honest about what went wrong."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from appliance import control
from appliance.control import ControlError, ControlServer, NotRunningError, Send
from appliance.model import JsonObject


async def echo(args: JsonObject) -> JsonObject:
    return {"args": args}


async def break_it(_args: JsonObject) -> JsonObject:
    raise ControlError("it is broken: mend it")


async def count(args: JsonObject, send: Send) -> JsonObject:
    """Sends so many bytes, then fails if asked to."""
    size = args["size"]
    assert isinstance(size, int)
    for start in range(0, size, 1 << 20):
        await send(b"x" * min(1 << 20, size - start))
    if args.get("fail"):
        raise ControlError("in the middle")
    return {"sent": size}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ControlServer]:
    server = ControlServer(tmp_path, {"echo": echo, "break": break_it}, {"count": count})
    await server.start()
    yield server
    await server.stop()


async def test_a_verb_gets_its_arguments_and_answers(server: ControlServer, tmp_path: Path):
    assert await control.call(tmp_path, "echo", name="é\n", number=1) == {"args": {"name": "é\n", "number": 1}}


async def test_the_socket_is_for_its_owner_and_goes_with_the_process(server: ControlServer, tmp_path: Path):
    path = tmp_path / control.SOCKET_FILE
    assert path.stat().st_mode & 0o777 == 0o600
    await server.stop()
    assert not path.exists()
    with pytest.raises(NotRunningError, match="does not run on"):
        await control.call(tmp_path, "echo")


async def test_a_deep_directory_has_a_socket_too(tmp_path: Path):
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    server = ControlServer(deep, {"echo": echo})
    await server.start()
    assert await control.call(deep, "echo") == {"args": {}}
    await server.stop()


async def test_what_a_killed_process_left_is_taken_over_and_a_living_one_is_not(server: ControlServer, tmp_path: Path):
    with pytest.raises(ControlError, match="another process runs the core"):
        await ControlServer(tmp_path, {}).start()
    left = tmp_path / "other"
    left.mkdir()
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(left / control.SOCKET_FILE))
    dead.close()
    again = ControlServer(left, {"echo": echo})
    await again.start()
    assert await control.call(left, "echo") == {"args": {}}
    await again.stop()


async def test_an_error_is_told_in_the_verbs_own_words(server: ControlServer, tmp_path: Path):
    with pytest.raises(ControlError, match=r"^it is broken: mend it$"):
        await control.call(tmp_path, "break")
    with pytest.raises(ControlError, match="no verb 'nothing'; there are break, count, echo"):
        await control.call(tmp_path, "nothing")


async def test_a_stream_comes_whole_and_in_order(server: ControlServer, tmp_path: Path):
    got = 0

    async def take(data: bytes) -> None:
        nonlocal got
        got += len(data)

    size = (10 << 20) + 7
    assert await control.stream(tmp_path, "count", take, size=size) == {"sent": size}
    assert got == size
    with pytest.raises(ControlError, match="in the middle"):
        await control.stream(tmp_path, "count", take, size=5, fail=True)


async def test_a_stream_that_nobody_takes_any_more_ends(server: ControlServer, tmp_path: Path):
    class EnoughError(Exception):
        pass

    async def take(_data: bytes) -> None:
        raise EnoughError

    with pytest.raises(EnoughError):
        await control.stream(tmp_path, "count", take, size=1 << 30)
    assert await control.call(tmp_path, "echo") == {"args": {}}


async def test_a_process_that_ends_in_the_middle_is_noticed(tmp_path: Path):
    async def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b'{"ok":true,"stream":true}\n' + (100).to_bytes(4, "little") + b"only this")
        await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(begin, str(tmp_path / control.SOCKET_FILE))

    async def take(_data: bytes) -> None:
        raise AssertionError("nothing whole came")

    async with server:
        with pytest.raises(ControlError, match="ended in the middle of count"):
            await control.stream(tmp_path, "count", take, size=1)


@pytest.mark.parametrize(
    "line", [b"nonsense\n", b'{"verb":1}\n', b'{"verb":"echo","more":1}\n', b"\xff\xfe\n", b"[" * 9_000 + b"\n"]
)
async def test_what_is_not_a_request_is_refused(server: ControlServer, tmp_path: Path, line: bytes):
    reader, writer = await asyncio.open_unix_connection(str(tmp_path / control.SOCKET_FILE))
    writer.write(line)
    answer = json.loads(await reader.readline())
    assert not answer["ok"]
    assert "not a request" in answer["error"]
    writer.close()


async def test_a_request_without_end_is_cut_off(server: ControlServer, tmp_path: Path):
    reader, writer = await asyncio.open_unix_connection(str(tmp_path / control.SOCKET_FILE))
    for _ in range(3):
        writer.write(b"x" * control.MAX_LINE)
    answer = await reader.readline()
    assert b"not a request" in answer
    writer.close()


async def test_a_stop_does_not_wait_for_one_who_does_not_read(server: ControlServer, tmp_path: Path):
    reader, writer = await asyncio.open_unix_connection(str(tmp_path / control.SOCKET_FILE), limit=1024)
    writer.write(b'{"verb":"count","args":{"size":1073741824}}\n')
    assert b"stream" in await reader.readline()
    async with asyncio.timeout(20):
        await server.stop()
    writer.transport.abort()
