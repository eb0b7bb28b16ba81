"""How verbs talk to the running process: JSON lines over a Unix socket in the data directory, for its owner alone.

    → {"verb": "status", "args": {}}                       one line, one request a connection
    ← {"ok": true, "result": {…}}   or   {"ok": false, "error": "…"}
    ← {"ok": true, "stream": true}                           then pieces, each behind its length in 4 bytes, then
                                                             the length 0, then one of the lines above

It knows no verb itself: whoever wires the process says what there is.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, cast

import msgspec
import structlog
from msgspec import Struct, field

from appliance.model import JsonObject

SOCKET_FILE: Final = "control.sock"
MAX_LINE: Final = 1024 * 1024  # of a request or an answer; a whole System answer is 50 KB
MAX_PIECE: Final = 4 * 1024 * 1024
MAX_CONNECTIONS: Final = 16
REQUEST_SECONDS: Final = 5.0  # for a request to arrive
ANSWER_SECONDS: Final = 60.0  # for a verb that streams nothing; a client may wait less
CLOSE_SECONDS: Final = 1.0  # for the last bytes to be taken; a stop does not wait for who does not read
CONNECT_SECONDS: Final = 5.0
PIECE_SECONDS: Final = 120.0  # for the other side to take or bring the next piece: a slow disk, not a dead one
_PIECE: Final = struct.Struct("<I")

log = structlog.stdlib.get_logger(__name__)

Send = Callable[[bytes], Awaitable[None]]
Verb = Callable[[JsonObject], Awaitable[JsonObject]]
StreamingVerb = Callable[[JsonObject, Send], Awaitable[JsonObject]]


class ControlError(Exception):
    """The running process could not do it; the text is its own."""


class NotRunningError(ControlError):
    """Nobody listens: the appliance does not run on this data directory."""


class _Request(Struct, forbid_unknown_fields=True):
    verb: str
    args: JsonObject = field(default_factory=JsonObject)


class _Answer(Struct, omit_defaults=True):
    ok: bool
    result: JsonObject = field(default_factory=JsonObject)
    error: str = ""
    stream: bool = False


class ControlServer:
    """Listens until `stop`."""

    def __init__(
        self, data_dir: Path, verbs: Mapping[str, Verb], streaming: Mapping[str, StreamingVerb] | None = None
    ) -> None:
        """Args: verbs: what can be asked. streaming: verbs that send bytes before they answer."""
        self._data_dir = data_dir
        self._verbs = verbs
        self._streaming = streaming or {}
        self._server: asyncio.Server | None = None
        self._running: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Begin to listen. Raises `ControlError` when another process does on this data directory."""
        listener = await asyncio.to_thread(_listen, self._data_dir)
        self._server = await asyncio.start_unix_server(self._serve, sock=listener, limit=MAX_LINE)

    async def stop(self) -> None:
        """Take nothing more, and end what runs."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        (self._data_dir / SOCKET_FILE).unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = cast("asyncio.Task[None]", asyncio.current_task())  # there is one wherever a coroutine runs
        self._running.add(task)
        try:
            await self._answer(reader, writer)
        except (ConnectionError, TimeoutError):
            log.info("a control connection ended early")
        except asyncio.CancelledError:
            if self._server is not None:
                raise
        finally:
            self._running.discard(task)
            await _close(writer)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._running) > MAX_CONNECTIONS:
            await _write(writer, _Answer(ok=False, error="too many control connections at once: try again"))
            return
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                request = msgspec.json.decode(await reader.readline(), type=_Request)
        except (msgspec.MsgspecError, ValueError) as error:
            await _write(writer, _Answer(ok=False, error=f"not a request: {str(error)[:200]}"))
            return
        await _write(writer, await self._run(request, reader, writer))

    async def _run(self, request: _Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> _Answer:
        verb, streaming = self._verbs.get(request.verb), self._streaming.get(request.verb)
        try:
            if verb is not None:
                async with asyncio.timeout(ANSWER_SECONDS):
                    return _Answer(ok=True, result=await verb(request.args))
            if streaming is not None:
                return await self._stream(streaming, request.args, reader, writer)
        except TimeoutError:
            return _Answer(ok=False, error=f"{request.verb} took too long")
        except Exception as error:  # the one who asked must learn of it, whatever it was
            log.warning("a control verb failed", verb=request.verb, error=str(error), exc_info=not _is_plain(error))
            return _Answer(ok=False, error=str(error) or type(error).__name__)
        known = ", ".join(sorted({*self._verbs, *self._streaming}))
        return _Answer(ok=False, error=f"no verb {request.verb[:40]!r}; there are {known}")

    async def _stream(
        self, verb: StreamingVerb, args: JsonObject, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> _Answer:
        await _write(writer, _Answer(ok=True, stream=True))

        async def send(data: bytes) -> None:
            if reader.at_eof():
                raise ConnectionResetError("nobody takes the stream any more")
            for start in range(0, len(data), MAX_PIECE):
                piece = data[start : start + MAX_PIECE]
                writer.write(_PIECE.pack(len(piece)) + piece)
                async with asyncio.timeout(PIECE_SECONDS):
                    await writer.drain()

        try:
            answer = _Answer(ok=True, result=await verb(args, send))
        except ConnectionError:
            raise
        except Exception as error:  # as above
            log.warning("a control verb failed", error=str(error), exc_info=not _is_plain(error))
            answer = _Answer(ok=False, error=str(error) or type(error).__name__)
        writer.write(_PIECE.pack(0))
        return answer


async def call(data_dir: Path, verb: str, *, timeout: float = ANSWER_SECONDS, **args: object) -> JsonObject:
    """Ask the running process.

    Args:
        data_dir: its.
        verb: what to do.
        timeout: seconds for the answer.
        args: of the verb; JSON values.

    Raises:
        NotRunningError: nobody listens.
        ControlError: it answered with an error, or not in time.
    """
    async with _connected(data_dir) as (reader, writer):
        await _write(writer, _Request(verb, cast("JsonObject", args)))
        return await _read_answer(reader, verb, timeout)


async def stream(data_dir: Path, verb: str, take: Send, **args: object) -> JsonObject:
    """Ask for a verb that sends bytes; `take` gets them in order. Raises as `call`."""
    async with _connected(data_dir) as (reader, writer):
        await _write(writer, _Request(verb, cast("JsonObject", args)))
        await _read_answer(reader, verb, ANSWER_SECONDS)
        try:
            while True:
                async with asyncio.timeout(PIECE_SECONDS):
                    (size,) = _PIECE.unpack(await reader.readexactly(_PIECE.size))
                    if size > MAX_PIECE:
                        raise ControlError("the running process answers in a way that this version does not know")
                    piece = await reader.readexactly(size)
                if not size:
                    break
                await take(piece)
        except (asyncio.IncompleteReadError, ConnectionError):
            raise ControlError(f"the running process ended in the middle of {verb}: see its log") from None
        except TimeoutError:
            raise ControlError(f"the running process sent nothing for {PIECE_SECONDS:g} s: see its log") from None
        return await _read_answer(reader, verb, ANSWER_SECONDS)


@asynccontextmanager
async def _connected(data_dir: Path) -> AsyncGenerator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            connection = await asyncio.to_thread(_connect, data_dir)
            reader, writer = await asyncio.open_unix_connection(sock=connection, limit=MAX_LINE)
    except PermissionError as error:
        raise ControlError(
            f"{data_dir / SOCKET_FILE} belongs to another user: run this as the one that runs the appliance, or as root"
        ) from error
    except (OSError, TimeoutError) as error:
        raise NotRunningError(f"the appliance does not run on {data_dir}: start it with `condev serve`") from error
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _read_answer(reader: asyncio.StreamReader, verb: str, timeout: float) -> JsonObject:
    try:
        async with asyncio.timeout(timeout):
            line = await reader.readline()
            answer = msgspec.json.decode(line, type=_Answer)
    except TimeoutError:
        raise ControlError(f"the running process did not answer {verb} within {timeout:g} s: see its log") from None
    except (ConnectionError, msgspec.MsgspecError, ValueError):
        raise ControlError(f"the running process ended before it answered {verb}: see its log") from None
    if not answer.ok:
        raise ControlError(answer.error)
    return answer.result


async def _write(writer: asyncio.StreamWriter, message: _Request | _Answer) -> None:
    if writer.is_closing():  # uvloop's own error for that is none of a connection
        raise ConnectionResetError("the other side has ended the connection")
    writer.write(msgspec.json.encode(message) + b"\n")
    async with asyncio.timeout(REQUEST_SECONDS):
        await writer.drain()


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await writer.wait_closed()
    except TimeoutError:
        writer.transport.abort()
    except OSError:
        log.debug("a control connection was gone before it was closed")


def _is_plain(error: Exception) -> bool:
    """Errors whose text was written for people need no traceback in the log."""
    return type(error).__module__.startswith(("appliance.", "condev_plugins."))


def _listen(data_dir: Path) -> socket.socket:
    path = data_dir / SOCKET_FILE
    if path.exists():
        with contextlib.suppress(OSError):
            _connect(data_dir).close()
            raise ControlError(f"another process runs the core on {data_dir}: stop it, or take another --data-dir")
        path.unlink()  # of a process that was killed
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _short(data_dir) as folder:
            listener.bind(f"{folder}/{SOCKET_FILE}")
        path.chmod(0o600)  # the directory is 0700 already; where it is shared, this is what counts
        listener.listen(MAX_CONNECTIONS)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def _connect(data_dir: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(CONNECT_SECONDS)
    try:
        with _short(data_dir) as folder:
            connection.connect(f"{folder}/{SOCKET_FILE}")
        connection.setblocking(False)
    except BaseException:
        connection.close()
        raise
    return connection


@contextlib.contextmanager
def _short(data_dir: Path) -> Generator[str]:
    """A short name of the directory: a socket's path has room for 107 bytes, and ours may lie deep."""
    if len(os.fsencode(data_dir / SOCKET_FILE)) < 100 or not Path("/proc/self/fd").is_dir():
        yield str(data_dir)
        return
    descriptor = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
