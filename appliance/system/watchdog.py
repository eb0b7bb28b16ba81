"""A watchdog for the event store: notices a call that does not come back, says so, and ends the process if it stays so.

It is a thread, since what hangs may be the event loop itself. Only the end of the process frees an engine's thread that
is stuck in native code; whoever started the process starts it again, and what was accepted lies in the spool.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import os
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, NoReturn, cast

import msgspec
import structlog

from appliance.hookspecs import EventStore
from appliance.system.readings import MARK_FILE, Stuck, WatchdogMark

EXIT_CODE: Final = 75  # sysexits' EX_TEMPFAIL: try again; no other end of the process has it
# Times `EventStore.answer_seconds`. An insert may wait for memory for half a minute, so six times are a hang worth
# saying; thirty times are longer than any call that the store itself would still end.
STUCK_FACTOR: Final = 6
RESTART_FACTOR: Final = 30
MAINTENANCE_SECONDS: Final = 1_800.0  # summaries, retention, an export: as long as the schedule lets a job run
PROBE_FACTOR: Final = 3  # a small question is asked so often, since nobody may have another one
MAINTENANCE: Final = frozenset({"summarise", "drop_before", "drop_oldest", "export", "load"})
UNWATCHED: Final = frozenset({"open", "close"})
LOOP: Final = "the event loop"
SUPERVISED: Final = "CONDEV_SUPERVISED"  # "1" where something starts an ended process anew: in our compose.yaml

log = structlog.stdlib.get_logger(__name__)


class Calls:
    """What is under way in the store. Noted on the event loop, looked at from the watchdog's thread."""

    def __init__(self) -> None:
        """Nothing is under way."""
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._open: dict[int, tuple[str, float]] = {}

    def begin(self, name: str) -> int:
        """A call starts; its number is for `end`."""
        with self._lock:
            number = next(self._numbers)
            self._open[number] = (name, time.monotonic())
        return number

    def end(self, number: int, *, came_back: bool = True) -> None:
        """It is over.

        Later calls may have waited behind it for a thread, so that theirs counts from now on. Earlier ones did not:
        one that hangs is found while others go on.

        Args:
            number: from `begin`.
            came_back: False when nobody waits for it any more: then its thread may still be busy.
        """
        with self._lock:
            name, _ = self._open.pop(number, ("", 0.0))
            if not name or not came_back:
                return
            now = time.monotonic()
            for later, (other, _) in self._open.items():
                if later > number and (other in MAINTENANCE) == (name in MAINTENANCE):  # these have their own threads
                    self._open[later] = (other, now)

    def forgive(self, seconds: float) -> None:
        """The whole process stood still for so long: that is no fault of the store."""
        with self._lock:
            now = time.monotonic()
            for number, (name, began) in self._open.items():
                self._open[number] = (name, min(now, began + seconds))

    def oldest(self) -> tuple[str, float] | None:
        """The call that has been under way for the longest time, and for how many seconds.

        Maintenance counts from where its own limit ends: a summary of a big day takes minutes.
        """
        with self._lock:
            now = time.monotonic()
            ages = [
                (name, now - began - (MAINTENANCE_SECONDS if name in MAINTENANCE else 0.0))
                for name, began in self._open.values()
            ]
        return max(ages, key=lambda age: age[1], default=None)


class _Watched:
    """A store whose calls are noted down; everything else goes through."""

    def __init__(self, store: EventStore, calls: Calls) -> None:
        self._store = store
        self._calls = calls

    def __getattr__(self, name: str) -> object:
        found: object = getattr(self._store, name)
        if name in UNWATCHED or not inspect.iscoroutinefunction(found):
            return found
        return _noting(cast("Callable[..., Awaitable[object]]", found), name, self._calls)


def _noting(method: Callable[..., Awaitable[object]], name: str, calls: Calls) -> Callable[..., Awaitable[object]]:
    async def noted(*args: object, **kwargs: object) -> object:
        number = calls.begin(name)
        came_back = True
        try:
            return await method(*args, **kwargs)
        except asyncio.CancelledError:
            came_back = False
            raise
        finally:
            calls.end(number, came_back=came_back)

    return noted


def watched(store: EventStore, calls: Calls) -> EventStore:
    """The same store, with its calls noted down in `calls`."""
    return cast("EventStore", _Watched(store, calls))


class Watchdog:
    """Looks from a thread of its own. `start` and `stop` on the event loop."""

    def __init__(
        self,
        store: EventStore,
        calls: Calls,
        data_dir: Path,
        *,
        may_end: bool,
        supervised: bool | None = None,
        on_change: Callable[[], None] = lambda: None,
        end: Callable[[int], NoReturn] = os._exit,
    ) -> None:
        """Make it; nothing runs yet.

        Args:
            store: from `watched`: the probe's calls are noted, too.
            calls: what it is noted down in.
            data_dir: where the mark for the next start goes.
            may_end: whether the process may be ended; else it is only said.
            supervised: whether something starts it anew then: without, it stays. None: as `CONDEV_SUPERVISED` says.
            on_change: called on the event loop when something hangs, or no longer does.
            end: ends the process without waiting for anything, least of all for the thread that hangs.
        """
        self._store = store
        self._calls = calls
        self._data_dir = data_dir
        self._supervised = os.environ.get(SUPERVISED) == "1" if supervised is None else supervised
        self._wanted = may_end
        self._may_end = may_end and self._supervised
        self._said_that_it_stays = False
        self._on_change = on_change
        self._end = end
        self._answer = max(store.answer_seconds, 0.05)
        self._stuck: Stuck | None = None
        self._beat = time.monotonic()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def stuck(self) -> Stuck | None:
        """What hangs now; None when nothing does."""
        return self._stuck

    def start(self) -> None:
        """Begin to watch. Call it on the event loop, with the store open."""
        self._loop = asyncio.get_running_loop()
        self._beat = time.monotonic()
        self._tasks = [
            asyncio.create_task(self._beat_on(), name="watchdog-beat"),
            asyncio.create_task(self._probe(), name="watchdog-probe"),
        ]
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Look no more. A probe that hangs is left behind."""
        self._stopping.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    # ── on the event loop ──

    async def _beat_on(self) -> None:
        while True:
            self._beat = time.monotonic()
            await asyncio.sleep(min(1.0, self._answer))

    async def _probe(self) -> None:
        """Ask for something small again and again: a store that nobody asks may hang unseen."""
        while True:
            await asyncio.sleep(self._answer * PROBE_FACTOR)
            with suppress(Exception):  # it answers; what it says is the System page's matter
                await self._store.stats()

    # ── in the thread ──

    def _watch(self) -> None:
        pause = min(1.0, self._answer / 2)
        looked = time.monotonic()
        while not self._stopping.wait(pause):
            now = time.monotonic()
            stood = now - looked - pause
            if stood > 5.0 + pause:  # a suspended machine, a paused container
                self._beat += stood
                self._calls.forgive(stood)
            looked = now
            self._look()

    def _look(self) -> None:
        call, seconds = self._calls.oldest() or ("", 0.0)
        blocked = time.monotonic() - self._beat
        if blocked > seconds:
            call, seconds = LOOP, blocked
        limit = RESTART_FACTOR * self._answer
        if seconds < STUCK_FACTOR * self._answer:
            if self._stuck is not None:
                log.warning("the event store answers again", call=self._stuck.call)
                self._say(None)
            self._said_that_it_stays = False
            return
        is_new = self._stuck is None
        stuck = Stuck(call=call, seconds=seconds, restart_in=max(0.0, limit - seconds) if self._may_end else None)
        if is_new:
            log.error("the event store hangs", call=call, seconds=round(seconds, 1), restart_in=stuck.restart_in)
            self._say(stuck)
        self._stuck = stuck
        if self._may_end and seconds >= limit:
            self._finish(call, seconds)
        elif self._wanted and seconds >= limit and not self._said_that_it_stays:
            self._said_that_it_stays = True
            log.critical(
                "the process should be ended and is not, since nothing is known to start it anew: restart it",
                call=call,
                seconds=round(seconds, 1),
                set=f"{SUPERVISED}=1 where something does",
            )

    def _say(self, stuck: Stuck | None) -> None:
        self._stuck = stuck
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop was closed a moment ago
                self._loop.call_soon_threadsafe(self._on_change)

    def _finish(self, call: str, seconds: float) -> None:
        """Leave a mark for the next start, and go: what would be closed in good order is what hangs."""
        why = f"{call} of the event store did not come back within {seconds:.0f} s."
        if call == LOOP:
            why = f"The process did nothing else for {seconds:.0f} s: something blocked its event loop."
        log.critical("ending the process, to be started anew", why=why, exit_code=EXIT_CODE)
        mark = WatchdogMark(at=time.time_ns() // 1_000, why=why)
        part = self._data_dir / f"{MARK_FILE}.part"
        with suppress(OSError):  # a full disk must not keep the process from ending
            part.write_bytes(msgspec.json.encode(mark))
            part.replace(self._data_dir / MARK_FILE)
        self._end(EXIT_CODE)
