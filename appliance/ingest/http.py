"""The server's HTTP protocol with bounds on what comes before a body: uvicorn's own has none with httptools.

Give it to uvicorn as `http=BoundedHttpProtocol`. The bounds on bodies are `bodies`; this is for heads that never end,
by size or by slowness, which would otherwise hold memory and a connection for as long as their sender likes. And an
answer leaves in one piece.
"""

from __future__ import annotations

import asyncio
from typing import Final, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES: Final = 64 * 1024  # request line and headers; a proxy in front of us lets less through
HEAD_SECONDS: Final = 15.0  # for a head to arrive; a phone on a bad line takes one
# For a body, wherever it goes: ingest and the dashboard have deadlines of their own, which answer; this one ends what
# they no longer read. `serve` sets it to more than ingest's when that was raised.
BODY_SECONDS: Final = 60.0
_ANSWER: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\n"
    b"access-control-allow-origin: *\r\nconnection: close\r\n\r\n"
)


_HEAD: Final = b"HTTP/1.1 "
MAX_JOINED: Final = 64 * 1024  # bytes of a body that is copied behind its head; the buffer of a socket holds more


class JoiningTransport:
    """Sends the head of an answer with what follows at once: uvicorn's two writes are two system calls and two packets.

    A head that nothing follows, as where a stream begins, goes out in the next turn of the event loop.
    """

    __slots__ = ("_head", "_loop", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        """Args: transport: the connection's. loop: the one it belongs to."""
        self._transport = transport
        self._loop = loop
        self._head = b""

    def __getattr__(self, name: str) -> object:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send bytes, a head a moment later."""
        head = self._head
        if head and len(data) <= MAX_JOINED:
            self._head = b""
            self._transport.write(head + data)
        elif data.startswith(_HEAD):
            self.flush()
            self._head = data
            self._loop.call_soon(self.flush)
        else:
            self.flush()
            self._transport.write(data)

    def flush(self) -> None:
        """Send the head that waits."""
        head, self._head = self._head, b""
        if head:
            self._transport.write(head)

    def close(self) -> None:
        """Send what waits, then close."""
        self.flush()
        self._transport.close()


class BoundedHttpProtocol(HttpToolsProtocol):
    """One connection."""

    head_seconds: float = HEAD_SECONDS
    body_seconds: float = BODY_SECONDS
    _head_bytes = 0
    _in_head = True
    _head_timer: asyncio.TimerHandle | None = None
    _in_body = False
    _body_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """A client is there; its first head may take so long."""
        super().connection_made(transport)
        self.transport = cast("asyncio.Transport", JoiningTransport(transport, self.loop))
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._disarm()
        self._end_body()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what belongs to an unfinished head; time a body that did not come whole."""
        super().data_received(data)
        if self._in_body and self._body_timer is None and not self.transport.is_closing():
            self._body_timer = self.loop.call_later(self.body_seconds, self._body_too_slow)
        if not self._in_head or self.transport.is_closing():
            return
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES:
            self.transport.write(_ANSWER)
            self.transport.close()
        elif self._head_timer is None:
            self._arm()

    def on_message_begin(self) -> None:
        """The parser met the first byte of a request."""
        self._in_head = True
        self._head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The parser met the empty line."""
        self._in_head = False
        self._in_body = True
        self._disarm()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The parser met the end of the body."""
        self._in_body = False
        self._end_body()
        super().on_message_complete()

    def _arm(self) -> None:
        self._head_timer = self.loop.call_later(self.head_seconds, self._too_slow)

    def _disarm(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _end_body(self) -> None:
        if self._body_timer is not None:
            self._body_timer.cancel()
            self._body_timer = None

    def _body_too_slow(self) -> None:
        self._body_timer = None
        if self._in_body and not self.transport.is_closing():
            self.transport.close()

    def _too_slow(self) -> None:
        self._head_timer = None
        if self._in_head and not self.transport.is_closing():
            self.transport.close()
