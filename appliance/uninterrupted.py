"""Work that a cancelled caller does not leave half-way: a query that is cancelled costs its connection."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

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
