"""Work that a cancelled caller does not leave half-way: a query that is cancelled costs its connection."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")


async def uninterrupted(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` to its end, also when the caller is cancelled meanwhile; then that is what the caller gets to know.

    For short work of bounded time, such as a query: the cancellation waits for it.

    Args:
        work: a coroutine that nothing else awaits.

    Raises:
        asyncio.CancelledError: the caller was cancelled; what `work` raised is dropped then.
    """
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # looked at, so that asyncio does not log it
        raise


class KeptAnswer(Generic[T]):
    """What strangers may ask for as often as they like: one query at a time, whose answer is kept for a moment."""

    def __init__(
        self, ask: Callable[[], Awaitable[T]], *, fresh: float, wait: float, monotonic: Callable[[], float]
    ) -> None:
        """Args: ask: the query. fresh, wait: s, for which an answer is good, and waited for. monotonic: time, s."""
        self._ask = ask
        self._fresh = fresh
        self._wait = wait
        self._monotonic = monotonic
        self._kept: tuple[float, T] | None = None
        self._asking: asyncio.Task[T] | None = None

    async def get(self) -> T:
        """The answer, at most `fresh` old.

        A query that takes longer goes on for those who ask next: neither they nor a caller who goes away cost it.

        Raises:
            TimeoutError: it took too long.
            Exception: what the query raised.
        """
        if self._kept is not None and self._monotonic() - self._kept[0] < self._fresh:
            return self._kept[1]
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._run(), name="kept-answer")
            self._asking.add_done_callback(_look_at)
        task = self._asking
        done, _ = await asyncio.wait({task}, timeout=self._wait)
        if not done:
            raise TimeoutError(f"no answer within {self._wait:g} s")
        return task.result()

    async def _run(self) -> T:
        answer = await self._ask()
        self._kept = (self._monotonic(), answer)
        return answer


def _look_at(task: asyncio.Task[Any]) -> None:
    """An error that nobody waited for any more is no news: the next one who asks gets his own."""
    if not task.cancelled():
        task.exception()
