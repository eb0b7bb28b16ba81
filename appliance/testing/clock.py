"""A clock that stands still until a test moves it."""

from __future__ import annotations

import asyncio
import heapq
import itertools


class FakeClock:
    """Implements `appliance.hookspecs.Clock`; sleepers wake in order when `advance` passes their time."""

    def __init__(self, start: int = 1_800_000_000_000_000) -> None:
        """Args: start: microseconds since the epoch."""
        self._now = start
        self._started = start
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def now(self) -> int:
        """Microseconds since the epoch, UTC."""
        return self._now

    def monotonic(self) -> float:
        """Seconds since this clock was made."""
        return (self._now - self._started) / 1_000_000

    async def sleep(self, seconds: float) -> None:
        """Wait until `advance` has passed so many seconds."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + round(seconds * 1_000_000), next(self._order), future))
        await future

    def advance(self, seconds: float) -> None:
        """Move time on and wake who is due."""
        self._now += round(seconds * 1_000_000)
        while self._sleepers and self._sleepers[0][0] <= self._now:
            _, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                future.set_result(None)
