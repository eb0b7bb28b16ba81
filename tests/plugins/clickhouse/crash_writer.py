"""Writes batches one after the other until it is killed; each acknowledged batch's number goes to standard output.

`python crash_writer.py DIRECTORY FIRST_NUMBER`. A batch follows from its number alone.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from pathlib import Path

from appliance.model import Batch
from appliance.testing.clock import FakeClock
from appliance.testing.rows import DAY, NOW, event_row, hex_id, measurement_row, outcome_row
from condev_plugins.clickhouse.testing import embedded_store

EPOCH = 0xABCD_EF01_2345_6789 << 64


def batch_of(number: int) -> Batch:
    """A batch of several tables; every fifth lies across midnight, every third brings an hour of the day before."""
    base = NOW // DAY * DAY if number % 5 == 0 else NOW
    shift = DAY if number % 3 == 0 else 0
    body = random.Random(number).randbytes(300).hex().encode()
    events = [
        event_row(
            n, event_id=hex_id(number * 1_000 + n), group_hash=n % 7 + 1, payload=body, timestamp=base - 5 + n - shift,
            received_at=base - 5 + n,
        )
        for n in range(40)
    ]  # fmt: skip
    measurements = [
        measurement_row(100 + n, measurement_id=hex_id(number * 1_000 + n), received_at=base, timestamp=base - n)
        for n in range(10)
    ]
    return Batch(
        batch_id=EPOCH + number,
        events=events,
        measurements=measurements,
        outcomes=[outcome_row(200, received_at=base)],
    )


async def main(directory: Path, first: int) -> None:
    store = embedded_store(directory, FakeClock(NOW))
    await store.open()

    async def tidy() -> None:
        while True:
            await store.summarise(NOW + DAY)
            await store.engine.maintain("merging", "OPTIMIZE TABLE events FINAL")

    tidying = asyncio.create_task(tidy())
    number = first
    while not tidying.done():
        await store.write(batch_of(number))
        os.write(1, f"{number}\n".encode())
        number += 1
    await tidying


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
