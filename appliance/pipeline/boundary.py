"""The place between two batches, where both stores say the same. A backup stands there for a moment.

Ingest goes on meanwhile: what it accepts waits in the spool.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

WAIT_SECONDS: Final = 60.0  # for the batch under way: a full one takes 1 s, a store that restarts longer
# For what is done in between. Measured: 0.2 s with 20 parts, 2 s with 1,000 on a slow disk. Events are promised within
# 2 s; for one backup a day they may take this long, and no longer.
PAUSE_SECONDS: Final = 20.0


class PauseError(Exception):
    """The pipeline could not be held, or not for so long; it goes on."""


class Boundary:
    """Held by the pipeline while it applies a batch, or by who wants none applied."""

    def __init__(self) -> None:
        self.batch: Final = asyncio.Lock()  # fair: who waits for it comes before the next batch
        self.is_paused = False

    @asynccontextmanager
    async def paused(self, wait: float = WAIT_SECONDS, limit: float = PAUSE_SECONDS) -> AsyncGenerator[None]:
        """Keep the pipeline between two batches while the block runs.

        Args:
            wait: seconds for the batch under way to end.
            limit: seconds for the block, which is cancelled then.

        Raises:
            PauseError: either took longer. The pipeline goes on.
        """
        try:
            async with asyncio.timeout(wait):
                await self.batch.acquire()
        except TimeoutError:
            raise PauseError(
                f"the pipeline did not end its batch within {wait:g} s: see on the System page what it waits for"
            ) from None
        self.is_paused = True
        deadline = asyncio.timeout(limit)
        try:
            async with deadline:
                yield
        except TimeoutError:
            if not deadline.expired():
                raise  # the block's own
            raise PauseError(
                f"what should have taken a moment took more than {limit:g} s, and the pipeline does not wait longer: "
                "see whether the disk or the event store is overloaded, and try again"
            ) from None
        finally:
            self.is_paused = False
            self.batch.release()
