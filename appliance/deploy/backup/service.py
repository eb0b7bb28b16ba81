"""Backups of the running appliance: on request, and by `[backup] schedule`, with the old ones pruned."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
import structlog
from msgspec import Struct, field

from appliance.config import Config
from appliance.deploy.backup.archive import BackupError, Sink
from appliance.deploy.backup.create import Parts, create, verify, write
from appliance.deploy.backup.manifest import Manifest
from appliance.model import MICROSECONDS
from appliance.pipeline.boundary import PauseError
from appliance.schedule import Job
from appliance.secret import Secret
from appliance.system.schemas import BackupState

STATE_FILE: Final = "backup.json"
# A day's backup may take as long as a night: 100 GB at 10 MB/s are under three hours.
MAX_SECONDS: Final = 6 * 3_600.0
RETRY_SECONDS: Final = 3_600  # it reads and writes everything, and what it fails of (a full disk) lasts
EVERY_SECONDS: Final = {"hourly": 3_600, "daily": 24 * 3_600, "weekly": 7 * 24 * 3_600}
_NAME: Final = re.compile(r"condev-\d{8}T\d{6}Z\.backup")

log = structlog.stdlib.get_logger(__name__)


class ScheduledState(Struct, kw_only=True):
    """What is remembered of scheduled backups, in a file beside them all: it must outlive a restore."""

    last_good_at: int | None = None
    last_file: str = ""
    last_bytes: int = 0
    last_seconds: float = 0.0
    last_pause_seconds: float = 0.0
    last_error: str = ""
    failed_at: int | None = field(default=None)


def backup_directory(config: Config, data_dir: Path) -> Path:
    """Where scheduled backups go."""
    return Path(config.backup.directory) if config.backup.directory else data_dir / "backups"


def backups_in(directory: Path) -> list[Path]:
    """Those that we made by schedule, the oldest first; what a person put there is not ours."""
    if not directory.is_dir():
        return []
    return sorted(path for path in directory.iterdir() if _NAME.fullmatch(path.name) and path.is_file())


class Backups:
    """One for the process that has the pipeline."""

    def __init__(self, parts: Parts) -> None:
        """Args: parts: of the running appliance."""
        self._parts = parts
        self._settings = parts.config.backup
        self._directory = backup_directory(parts.config, parts.data_dir)

    async def send(self, sink: Sink, passphrase: Secret | None) -> Manifest:
        """Make one for somebody who asks. Raises `BackupError`."""
        try:
            return await write(self._parts, sink, passphrase or self._settings.passphrase)
        except PauseError as error:
            raise BackupError(str(error)) from error

    def jobs(self) -> list[Job]:
        """What the schedule runs."""
        if self._settings.schedule == "off":
            return []
        # Longer than its own limit, which is written down as the reason.
        limit = MAX_SECONDS + 60.0
        return [Job("backup", EVERY_SECONDS[self._settings.schedule], self.scheduled, limit, RETRY_SECONDS)]

    async def scheduled(self) -> Path:
        """Make one, read it back, then remove those that are too many. Raises `BackupError` and others."""
        state = await self._read_state()
        began = self._parts.clock.now()
        try:
            path, manifest = await self._make_in_time(state)
        except Exception as error:
            is_plain = isinstance(error, BackupError | PauseError)  # written for people
            state.last_error = str(error) if is_plain else f"{type(error).__name__}: {error}"[:2_000]
            state.failed_at = began
            try:
                await asyncio.to_thread(self._write_state, state)
            except OSError as unwritten:
                log.warning("cannot write down why the backup failed", error=str(unwritten))
            raise
        state.last_good_at, state.last_error, state.failed_at = manifest.created_at, "", None
        state.last_file, state.last_bytes = path.name, path.stat().st_size
        state.last_seconds = round((self._parts.clock.now() - began) / MICROSECONDS, 1)
        state.last_pause_seconds = manifest.pause_seconds
        await asyncio.to_thread(self._write_state, state)
        for old in (await asyncio.to_thread(backups_in, self._directory))[: -self._settings.keep]:
            await asyncio.to_thread(old.unlink, missing_ok=True)
        log.info("backup made", file=str(path), bytes=state.last_bytes, seconds=state.last_seconds)
        return path

    async def state(self) -> BackupState:
        """For the System page and its alerts."""
        state = await self._read_state()
        return BackupState(
            scheduled=self._settings.schedule != "off",
            last_good_at=state.last_good_at,
            last_error=state.last_error,
            bytes=state.last_bytes,
        )

    async def _make_in_time(self, state: ScheduledState) -> tuple[Path, Manifest]:
        deadline = asyncio.timeout(MAX_SECONDS)
        try:
            async with deadline:
                return await self._make(state)
        except TimeoutError as error:
            if not deadline.expired():
                raise
            raise BackupError(
                f"it was not done after {MAX_SECONDS / 3_600:g} hours: see whether {self._directory} is slow, "
                "or set [backup] directory"
            ) from error

    async def _make(self, state: ScheduledState) -> tuple[Path, Manifest]:
        try:
            await asyncio.to_thread(self._directory.mkdir, mode=0o700, parents=True, exist_ok=True)
            await asyncio.to_thread(self._check_room, state)
        except OSError as error:
            raise BackupError(
                f"{self._directory} cannot be used for backups ({error.strerror}): make it writable, "
                "or set [backup] directory"
            ) from error
        now = datetime.fromtimestamp(self._parts.clock.now() / MICROSECONDS, UTC)
        path = self._directory / f"condev-{now:%Y%m%dT%H%M%SZ}.backup"
        manifest = await create(self._parts, path, self._settings.passphrase)
        try:
            await verify(path, self._settings.passphrase)
        except BackupError:
            path.unlink(missing_ok=True)  # the disk did not keep what it was given; the older ones stay
            raise
        return path, manifest

    def _check_room(self, state: ScheduledState) -> None:
        """A backup must not take from ingest the room that it needs to accept."""
        for left in self._directory.glob("condev-*.backup.part"):  # of one that was killed
            left.unlink(missing_ok=True)
        wanted = state.last_bytes * 5 // 4 + self._parts.config.ingest.spool_min_free_bytes
        free = shutil.disk_usage(self._directory).free
        if free < wanted:
            raise BackupError(
                f"{self._directory} has {free >> 20:,} MiB free, and a backup needs about {wanted >> 20:,} MiB "
                "with what ingest must be left: free some space, keep fewer ([backup] keep), or set [backup] directory"
            )

    async def _read_state(self) -> ScheduledState:
        def read() -> ScheduledState:
            with contextlib.suppress(FileNotFoundError, msgspec.MsgspecError):
                raw = (self._parts.data_dir / STATE_FILE).read_bytes()
                return msgspec.json.decode(raw, type=ScheduledState)
            return ScheduledState()

        return await asyncio.to_thread(read)

    def _write_state(self, state: ScheduledState) -> None:
        path = self._parts.data_dir / STATE_FILE
        temporary = path.with_suffix(".tmp")
        temporary.write_bytes(msgspec.json.encode(state))
        temporary.replace(path)
