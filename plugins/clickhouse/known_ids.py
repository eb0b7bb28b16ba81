"""Which ids are certainly not stored, told from memory: looking up a batch of new ones cost as much as decoding a third
of it, and nearly all are new.

A Bloom filter of what `event_ids` has, one 64-bit word an id, made from the table beside the first batches. Only for a
store that nobody else writes to.
"""

from __future__ import annotations

import asyncio
import struct
from array import array
from collections.abc import Iterable, Sequence
from typing import Final

import structlog

from .engine import Client, Engine

FEWEST_BITS: Final = 19  # of a word's number: 4 MiB, a million ids are told apart with 3 mistakes in 1,000
MOST_BITS: Final = 22  # 32 MiB; beyond 50 million ids more and more are looked up again
CROWDED: Final = 12  # ids a word; then a fifth of new ids would be looked up
READ_AT_ONCE: Final = 1 << 16  # ids, about; at most as many words, of 12 bytes each
MOST_STEPS: Final = 256
_ROW: Final = struct.Struct("<IQ")

log = structlog.get_logger(__name__)


class KnownIds:
    """The filter of one store."""

    def __init__(self, engine: Engine) -> None:
        """Args: engine: of which this process is the only writer."""
        self._engine = engine
        self._words: array[int] | None = None
        self._bits = FEWEST_BITS
        self._since = 0  # µs; rows received before are not in it
        self._count = 0
        self._coming: list[int] | None = None  # while it is made: ids written meanwhile
        self._making: asyncio.Task[None] | None = None

    def unsure(self, hashes: Sequence[int], since: int) -> list[int]:
        """Those that may have been stored since a time (µs); the others have not."""
        if self._words is not None and self._count > CROWDED << self._bits and self._bits < MOST_BITS:
            self.forget()
        words, shift = self._words, 64 - self._bits
        if words is None:
            self._begin(since)
            return list(hashes)
        if since < self._since:  # asked about times before it begins
            return list(hashes)
        return [key for key in hashes if not _marks(key) & ~words[key >> shift]]

    def add(self, hashes: Iterable[int]) -> None:
        """These are being stored. Called before and again after: the table may be read in between."""
        words, shift = self._words, 64 - self._bits
        if words is None:
            if self._coming is not None:
                self._coming += hashes
            return
        for key in hashes:
            words[key >> shift] |= _marks(key)
            self._count += 1

    def forget(self) -> None:
        """The table is another now."""
        self._words = self._coming = None

    async def close(self) -> None:
        """Stop making it."""
        task, self._making = self._making, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    def _begin(self, since: int) -> None:
        if self._making is None or self._making.done():
            self._making = asyncio.create_task(self._make(since), name="clickhouse-known-ids")
            self._making.add_done_callback(_look_at)

    async def _make(self, since: int) -> None:
        coming: list[int] = []
        self._coming = coming
        ids = "SELECT count() FROM event_ids WHERE received_at >= fromUnixTimestamp64Micro({since:Int64}, 'UTC')"
        ((count,),) = await self._engine.query("counting ids", ids, {"since": since})
        bits = FEWEST_BITS
        while bits < MOST_BITS and count * 2 > CROWDED << bits:  # with room for as many again
            bits += 1
        words = array("Q", bytes(8 << bits))
        steps = 1
        while steps < MOST_STEPS and steps * READ_AT_ONCE < count:
            steps *= 2
        for step in range(steps):
            part = (step * (1 << 64) // steps, (step + 1) * (1 << 64) // steps - 1)
            body = await self._engine.run("read", "reading ids", lambda c, p=part: _read(c, bits, p, since))
            for place, marks in _ROW.iter_unpack(body):
                words[place] = marks
        if self._coming is coming:  # not forgotten meanwhile
            self._coming = None
            self._words, self._bits, self._since, self._count = words, bits, since, count
            self.add(coming)


def _look_at(task: asyncio.Task[None]) -> None:
    """Without it the table is asked, and the next batch begins it anew."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.warning("ids could not be read into memory", error=str(error))


def _marks(key: int) -> int:
    """Three of a word's 64 bits, by the low bits of the hash; its high bits choose the word."""
    return 1 << (key & 63) | 1 << (key >> 6 & 63) | 1 << (key >> 12 & 63)


def _read(client: Client, bits: int, part: tuple[int, int], since: int) -> bytes:
    """The words of the ids from one hash to another, each with its number."""
    mark = "bitShiftLeft(toUInt64(1), bitAnd(bitShiftRight(id_hash, {}), 63))"
    marks = f"bitOr(bitOr({mark.format(0)}, {mark.format(6)}), {mark.format(12)})"
    sql = f"""
        SELECT toUInt32(bitShiftRight(id_hash, {64 - bits})) AS place, groupBitOr({marks}) FROM event_ids
        WHERE id_hash >= {{low:UInt64}} AND id_hash <= {{high:UInt64}}
        AND received_at >= fromUnixTimestamp64Micro({{since:Int64}}, 'UTC') GROUP BY place
    """
    return client.raw_query(sql, {"low": part[0], "high": part[1], "since": since}, fmt="RowBinary")
