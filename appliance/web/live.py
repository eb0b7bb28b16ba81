"""Server-sent events for pages: bounded connections, heartbeats, an end when the session ends or the process stops.

What is said comes from the noun's own feed; this only carries it. Every stream costs one socket and a few KB.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from typing import Any, Final

import msgspec
from litestar.response import Stream
from msgspec import Struct

from appliance.uninterrupted import uninterrupted

MAX_STREAMS: Final = 200  # in all; a page holds one, so this is 200 open tabs
MAX_STREAMS_PER_USER: Final = 8  # tabs of one person; HTTP/1.1 browsers allow 6 connections to a host anyway
HEARTBEAT_SECONDS: Final = 20.0  # under the 30 s after which small proxies close an idle connection
LIFETIME_SECONDS: Final = 1_800.0  # then the browser connects again, and is checked again
RECONNECT_MS: Final = 5_000


class Message(Struct, frozen=True, kw_only=True):
    """One event for the page."""

    event: str
    data: Any  # becomes one line of JSON


class TooManyStreamsError(Exception):
    """All places are taken; the page goes on without live updates."""

    status = 429
    retry_after = 60


class LiveStreams:
    """All open streams of the process."""

    def __init__(self, per_user: int = MAX_STREAMS_PER_USER, total: int = MAX_STREAMS) -> None:
        """Args: per_user, total: how many streams may be open at once."""
        self._open: Counter[int] = Counter()
        self._limits = (per_user, total)
        self._stopping = asyncio.Event()

    @property
    def open(self) -> int:
        """How many are open now."""
        return self._open.total()

    def stop(self) -> None:
        """End all streams: called before the server waits for its connections to close."""
        self._stopping.set()

    def stream(
        self,
        user_id: int,
        messages: AsyncIterator[Message],
        still_allowed: Callable[[], Coroutine[Any, Any, bool]],
        *,
        heartbeat: float = HEARTBEAT_SECONDS,
        lifetime: float = LIFETIME_SECONDS,
    ) -> Stream:
        """Answer a request with a stream.

        Args:
            user_id: whose place it takes.
            messages: what to say; closed when the stream ends.
            still_allowed: asked at each heartbeat; False ends the stream (signed out, disabled, no longer a member).
            heartbeat: seconds between heartbeats.
            lifetime: seconds until the browser has to connect again.

        Raises:
            TooManyStreamsError: a bound is reached.
        """
        per_user, total = self._limits
        if self._open[user_id] >= per_user or self.open >= total:
            raise TooManyStreamsError("Too many live pages are open: load this one again to see what is new.")
        self._open[user_id] += 1  # here and not in the generator: requests that wait to start count too
        return Stream(
            self._run(user_id, messages, still_allowed, heartbeat, lifetime),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    async def _run(
        self,
        user_id: int,
        messages: AsyncIterator[Message],
        still_allowed: Callable[[], Coroutine[Any, Any, bool]],
        heartbeat: float,
        lifetime: float,
    ) -> AsyncIterator[bytes]:
        ends = asyncio.get_running_loop().time() + lifetime
        asked = asyncio.get_running_loop().time()
        stopping = asyncio.ensure_future(self._stopping.wait())
        following: asyncio.Future[Message] | None = None
        try:
            yield f"retry: {RECONNECT_MS}\n\n".encode()
            while (now := asyncio.get_running_loop().time()) < ends:
                following = following or asyncio.ensure_future(anext(messages))
                done, _ = await asyncio.wait(
                    {following, stopping}, timeout=heartbeat, return_when=asyncio.FIRST_COMPLETED
                )
                if stopping in done:
                    return
                # Asked at least at each heartbeat: where messages come without a pause there is no silence to ask in.
                if following not in done or now - asked >= heartbeat:
                    asked = now
                    if not await uninterrupted(still_allowed()):
                        yield _encode(Message(event="ended", data={}))
                        return
                if following in done:
                    message, following = following.result(), None
                    yield _encode(message)
                else:
                    yield b": still here\n\n"
        except StopAsyncIteration:
            return
        finally:
            self._open[user_id] -= 1
            stopping.cancel()
            if following is not None:
                following.cancel()
                with suppress(asyncio.CancelledError, StopAsyncIteration):
                    await following
            close = getattr(messages, "aclose", None)
            if close is not None:
                await close()


def _encode(message: Message) -> bytes:
    return b"event: " + message.event.encode() + b"\ndata: " + msgspec.json.encode(message.data) + b"\n\n"
