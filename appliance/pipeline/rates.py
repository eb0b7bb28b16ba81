"""How much happened in the last minute, for the System page."""

from __future__ import annotations

from collections import deque
from typing import Final

from appliance.hookspecs import Clock

WINDOW_SECONDS: Final = 60


class Rates:
    """Sums per second of the last minute, by name."""

    def __init__(self, clock: Clock) -> None:
        """Args: clock: whose monotonic seconds are counted in."""
        self._clock = clock
        self._started = clock.monotonic()
        self._seconds: deque[tuple[int, dict[str, int]]] = deque(maxlen=WINDOW_SECONDS)

    def add(self, name: str, quantity: int) -> None:
        """So many now."""
        second = int(self._clock.monotonic())
        if not self._seconds or self._seconds[-1][0] != second:
            self._seconds.append((second, {}))
        sums = self._seconds[-1][1]
        sums[name] = sums.get(name, 0) + quantity

    def per_second(self, name: str) -> float:
        """The mean of the last minute, or since the start when that is shorter."""
        now = self._clock.monotonic()
        first = now - WINDOW_SECONDS
        total = sum(sums.get(name, 0) for second, sums in self._seconds if second >= first)
        return total / max(1.0, min(WINDOW_SECONDS, now - self._started))
