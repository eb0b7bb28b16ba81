"""Rates: token buckets, one per project and one per address, in requests per second. Bounded in number."""

from __future__ import annotations

from typing import Final

MAX_BUCKETS: Final = 50_000  # about 10 MB; beyond it the ones that say least are forgotten
EVICT_SHARE: Final = 10  # a tenth at a time, so that the sweep is paid rarely


class _Bucket:
    __slots__ = ("debt_allowed", "time", "tokens")

    def __init__(self, tokens: float, time: float) -> None:
        self.tokens = tokens
        self.time = time
        self.debt_allowed = True


class Buckets:
    """Token buckets by key.

    A bucket holds `burst` tokens and fills at `rate` a second. Once, it may go into debt by another `burst`: what piled
    up while a client was offline comes at once and must be deliverable. It may do so again after it has been full.
    """

    def __init__(self, max_buckets: int = MAX_BUCKETS) -> None:
        self._buckets: dict[object, _Bucket] = {}
        self._max = max_buckets

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, key: object, rate: float, burst: float, now: float) -> float:
        """Take one token.

        Args:
            key: whose bucket.
            rate: tokens a second, above 0.
            burst: how many it holds; at least 1.
            now: seconds on a monotonic clock.

        Returns:
            0.0 when it was taken, else the seconds until one is there; then nothing was taken.
        """
        bucket = self._buckets.get(key)
        if bucket is None:
            if len(self._buckets) >= self._max:
                self._evict(rate, burst, now)
            self._buckets[key] = _Bucket(burst - 1.0, now)
            return 0.0
        tokens = bucket.tokens + (now - bucket.time) * rate
        bucket.time = now
        if tokens >= burst:
            tokens = burst
            bucket.debt_allowed = True
        if tokens >= 1.0 or (bucket.debt_allowed and tokens >= 1.0 - burst):
            bucket.tokens = tokens - 1.0
            return 0.0
        bucket.tokens = tokens
        bucket.debt_allowed = False
        return (1.0 - tokens) / rate

    def _evict(self, rate: float, burst: float, now: float) -> None:
        """Forget a tenth: first those that have filled up again, which costs nothing, then the longest idle."""
        wanted = max(1, self._max // EVICT_SHARE)
        full = [key for key, b in self._buckets.items() if b.tokens + (now - b.time) * rate >= burst]
        for key in full:
            del self._buckets[key]
        if len(full) < wanted:
            idle = sorted(self._buckets, key=lambda key: self._buckets[key].time)
            for key in idle[: wanted - len(full)]:
                del self._buckets[key]
