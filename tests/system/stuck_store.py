"""A plugin for `plugins.d`: an event store whose `write` does not come back while a file says so, and a notifier.

`HOW` in the data directory says how it hangs: "thread" (as an engine that is stuck in native code), "loop" (it blocks
the event loop); "" or no file: it does not.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from appliance.hookspecs import (
    CheckStep,
    EventStoreFactory,
    Notification,
    Notifier,
    PluginContext,
    PluginInfo,
    Receipt,
    hookimpl,
)
from appliance.model import Batch
from appliance.testing.reference_store import MemoryStore


class StuckStore(MemoryStore):
    """Hangs in `write` when told to."""

    answer_seconds = 0.2

    def __init__(self, context: PluginContext) -> None:
        super().__init__(context.clock)
        self._how = context.data_root / "HOW"

    async def write(self, batch: Batch, missing: Mapping[str, frozenset[int]] | None = None) -> None:
        how = self._how.read_text() if self._how.exists() else ""
        if how == "thread":
            finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
            await finished
        if how == "loop":
            time.sleep(600)
        await super().write(batch, missing)


class Paper(Notifier):
    """Appends each subject to a file."""

    name = "paper"

    def __init__(self, context: PluginContext) -> None:
        self._path: Path = context.data_root / "paper.txt"

    def configured(self) -> str:
        return ""

    async def deliver(self, notification: Notification) -> Receipt:
        with self._path.open("a") as file:
            file.write(f"{notification.subject}\n")
        return Receipt(reply="written")

    async def check(self, notification: Notification | None = None) -> list[CheckStep]:
        return [CheckStep(name="config", ok=True, detail="paper")]


plugin = PluginInfo(name="stuck_store", version="1.0", summary="Hangs when told to.")


@hookimpl
def register_storage_backends(context: PluginContext) -> Mapping[str, EventStoreFactory]:
    return {"stuck": lambda: StuckStore(context)}


@hookimpl
def register_notifiers(context: PluginContext) -> Sequence[Notifier]:
    return [Paper(context)]
