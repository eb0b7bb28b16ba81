"""A deadline for each body, at a tenth of the price of a timer for each.

All deadlines are equally long, so they fall due in the order in which they were set: one sleeper watches the oldest.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Final

LOOKS_PER_DEADLINE: Final = 8  # a body gets at most an eighth more time than it should
MAX_PAUSE: Final = 1.0  # seconds


class _Deadline:
    """One body's: `async with` it around what must not take longer. Raises TimeoutError when it did."""

    __slots__ = ("_expired", "_owner", "_task", "due")

    def __init__(self, owner: Deadlines) -> None:
        self._owner = owner
        self._expired = False
        self._task: asyncio.Task[object] | None = None
        self.due = 0.0

    async def __aenter__(self) -> None:
        self._task = asyncio.current_task()
        self._owner.begin(self)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._owner.end(self)
        if self._expired and kind is asyncio.CancelledError and self._task is not None and not self._task.uncancel():
            raise TimeoutError from error

    def expire(self) -> None:
        """Break off what it guards."""
        self._expired = True
        if self._task is not None:
            self._task.cancel()


class Deadlines:
    """Makes deadlines of one length."""

    def __init__(self, seconds: float) -> None:
        """Args: seconds: of each."""
        self._seconds = seconds
        self._open: dict[_Deadline, None] = {}
        self._watcher: asyncio.Task[None] | None = None

    def new(self) -> _Deadline:
        """A deadline that begins when it is entered."""
        return _Deadline(self)

    def begin(self, deadline: _Deadline) -> None:
        """For `_Deadline`: it runs from now."""
        loop = asyncio.get_running_loop()
        deadline.due = loop.time() + self._seconds
        self._open[deadline] = None
        if self._watcher is None:
            self._watcher = loop.create_task(self._watch(), name="ingest-deadlines")

    def end(self, deadline: _Deadline) -> None:
        """For `_Deadline`: it was kept."""
        self._open.pop(deadline, None)

    async def _watch(self) -> None:
        """Runs while any deadline is open, and a little longer: requests come in streams."""
        loop = asyncio.get_running_loop()
        try:
            while self._open:
                await asyncio.sleep(min(self._seconds / LOOKS_PER_DEADLINE, MAX_PAUSE))
                now = loop.time()
                for deadline in [deadline for deadline in self._open if deadline.due <= now]:
                    self.end(deadline)
                    deadline.expire()
        finally:
            self._watcher = None
