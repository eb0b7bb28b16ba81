"""What can be asked of the running core over its control socket."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Mapping
from typing import Final, cast

import msgspec

from appliance import __version__
from appliance.accounts.access import COMMAND_LINE
from appliance.control import ControlError, Send, StreamingVerb, Verb
from appliance.deploy.backup.manifest import encode
from appliance.deploy.backup.service import Backups
from appliance.model import JsonObject
from appliance.pipeline.boundary import Boundary, PauseError
from appliance.recent_log import RECENT
from appliance.secret import Secret
from appliance.system.service import SystemService

MAX_PAUSE_SECONDS: Final = 60.0  # events wait in the spool meanwhile; longer, and SDKs would be told to wait
MAX_LOG_BYTES: Final = 512 * 1024  # of JSON: half of what an answer may have
MAX_PASSPHRASE: Final = 4_096  # characters


class ControlVerbs:
    """Verbs of the process that has the pipeline."""

    def __init__(self, boundary: Boundary, backups: Backups, system: SystemService) -> None:
        """Args: boundary: of the pipeline. backups, system: of this appliance."""
        self._system = system
        self._boundary = boundary
        self._backups = backups
        self._pausing: asyncio.Task[None] | None = None

    @property
    def plain(self) -> Mapping[str, Verb]:
        """Verbs that answer."""
        return {
            "status": self.status,
            "pause": self.pause,
            "resume": self.resume,
            "system": self.system,
            "logs": self.logs,
        }

    @property
    def streaming(self) -> Mapping[str, StreamingVerb]:
        """Verbs that send bytes."""
        return {"backup": self.backup}

    async def status(self, _args: JsonObject) -> JsonObject:
        """That it runs, and whether the pipeline stands."""
        return {"version": __version__, "pid": os.getpid(), "paused": self._boundary.is_paused}

    async def system(self, _args: JsonObject) -> JsonObject:
        """As `GET /api/v1/system`: who can open the socket is the operator."""
        return msgspec.to_builtins(await self._system.answer(COMMAND_LINE))

    async def logs(self, _args: JsonObject) -> JsonObject:
        """The last lines, as many as an answer has room for, without anything that others said."""
        lines, room = RECENT.lines(), MAX_LOG_BYTES
        first = len(lines)
        while first and (room := room - len(msgspec.json.encode(lines[first - 1])) - 1) >= 0:
            first -= 1
        return cast("JsonObject", {"lines": lines[first:]})

    async def pause(self, args: JsonObject) -> JsonObject:
        """Hold the pipeline between two batches for at most `seconds`, or until `resume`. Ingest goes on."""
        seconds = args.get("seconds", 10)
        if not isinstance(seconds, int | float) or not 0 < seconds <= MAX_PAUSE_SECONDS:
            raise ControlError(f"pause takes seconds, more than 0 and at most {MAX_PAUSE_SECONDS:g}")
        if self._pausing is not None and not self._pausing.done():
            raise ControlError("the pipeline is paused already: resume it first")
        paused: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pausing = asyncio.create_task(self._hold(float(seconds), paused), name="pause")
        await asyncio.wait({self._pausing, paused}, return_when=asyncio.FIRST_COMPLETED)
        if not paused.done():
            await self._pausing  # raises why it could not
        return {"paused": True, "seconds": seconds}

    async def resume(self, _args: JsonObject) -> JsonObject:
        """Let the pipeline go on."""
        task, self._pausing = self._pausing, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, PauseError):  # who asked for the pause was told
                await task
        return {"paused": self._boundary.is_paused}

    async def backup(self, args: JsonObject, send: Send) -> JsonObject:
        """Send a whole backup; the answer is its manifest."""
        passphrase = args.get("passphrase", "")
        if not isinstance(passphrase, str) or len(passphrase) > MAX_PASSPHRASE:
            raise ControlError(f"a passphrase is a text of at most {MAX_PASSPHRASE} characters")
        manifest = await self._backups.send(send, Secret(passphrase) if passphrase else None)
        return msgspec.json.decode(encode(manifest), type=JsonObject)

    async def stop(self) -> None:
        """Let go of the pipeline."""
        await self.resume({})

    async def _hold(self, seconds: float, paused: asyncio.Future[None]) -> None:
        async with self._boundary.paused(limit=seconds + 1.0):
            paused.set_result(None)
            await asyncio.sleep(seconds)
