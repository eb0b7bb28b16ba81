"""Releases and their journals: what was put in place when, how far it came, and which one is the last good.

A line is on disk before the step it announces begins. After a kill the journal therefore says at least as much as was
done, and `fate` tells what is left to do.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct, field

from appliance.data_dir import sync_directory
from appliance.deploy.apply.layout import ApplyError, Installation, write_file

KEPT_RELEASES: Final = 5  # good ones to go back to; each is a few hundred kilobytes and the plugins
KEPT_BACKUPS: Final = 2  # the newest: of what runs and of the one before; each is as large as the data
MAX_JOURNAL_BYTES: Final = 1024 * 1024  # a journal has some thirty lines; more is not a journal of ours
_STAGING: Final = ".new"


class Step(StrEnum):
    """What an apply does, in this order."""

    CHECK = "check"
    PLUGINS = "plugins"
    PLAN = "plan"
    IMAGES = "images"
    BACKUP = "backup"
    SWITCH = "switch"
    MIGRATE = "migrate"
    START = "start"
    HEALTH = "health"
    SELF_TEST = "self_test"
    GOOD = "good"
    ROLLBACK = "rollback"
    ABANDON = "abandon"  # it ended before it changed anything that runs


class Entry(Struct, frozen=True, omit_defaults=True):
    """One line."""

    at: float  # s since 1970
    step: Step
    state: str  # "begun", "done", "failed"
    note: str = ""
    seconds: float = 0.0  # how long it took, on "done" and "failed"


class Fate(StrEnum):
    """What became of a release."""

    GOOD = "good"
    ROLLED_BACK = "rolled back"
    ABANDONED = "abandoned"
    UNTOUCHED = "untouched"  # unfinished, and nothing that runs was changed
    HALF = "half"  # unfinished, and something was: to be finished or rolled back


class Record(Struct, frozen=True, kw_only=True):
    """release.json: what a release is made of, beside its rendered files. Holds no secret."""

    version: str  # of the appliance that made it
    previous: str = ""  # the name of the release that it replaced
    images: dict[str, str] = field(default_factory=dict[str, str])  # service → the pinned reference
    image_names: dict[str, str] = field(default_factory=dict[str, str])  # service → what it was pulled as
    image_ids: dict[str, str] = field(default_factory=dict[str, str])
    hashes: dict[str, str] = field(default_factory=dict[str, str])  # service → Compose's hash of its configuration
    plugins: str = ""  # key of the plugins' requirements
    backup: str = ""  # file name in backups/
    readable_by_previous: bool = True  # whether the previous version works with the schemas of this one


class Release:
    """One directory in releases/."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.name = directory.name

    @property
    def files(self) -> Path:
        """The rendered files, as they are put into the installation's directory."""
        return self.directory / "files"

    @property
    def plugins(self) -> Path:
        """What is put there as plugins/."""
        return self.directory / "plugins"

    @property
    def journal(self) -> Path:
        """One JSON document a line."""
        return self.directory / "journal.jsonl"

    def record(self) -> Record:
        """What it is made of.

        Raises:
            ApplyError: the file is not there or not whole.
        """
        path = self.directory / "release.json"
        try:
            return msgspec.json.decode(path.read_bytes(), type=Record)
        except (OSError, msgspec.DecodeError) as error:
            raise ApplyError(f"{path} cannot be read ({error}): this release cannot be gone back to") from error

    def write_record(self, record: Record) -> None:
        """Say what it is made of."""
        write_file(self.directory / "release.json", msgspec.json.format(msgspec.json.encode(record)), 0o600)

    def entries(self) -> list[Entry]:
        """The journal's whole lines; a torn last one is left out."""
        try:
            with self.journal.open("rb") as file:
                lines = file.read(MAX_JOURNAL_BYTES).split(b"\n")
        except FileNotFoundError:
            return []
        found: list[Entry] = []
        for line in lines:
            with contextlib.suppress(msgspec.DecodeError):
                found.append(msgspec.json.decode(line, type=Entry))
        return found

    def note(self, step: Step, state: str, note: str = "", seconds: float = 0.0) -> None:
        """Add a line and wait until it is on disk."""
        line = msgspec.json.encode(Entry(round(time.time(), 3), step, state, note, round(seconds, 3))) + b"\n"
        fresh = not self.journal.exists()
        descriptor = os.open(self.journal, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            torn = size and os.pread(descriptor, 1, size - 1) != b"\n"  # of a kill in the middle of a line
            os.write(descriptor, (b"\n" if torn else b"") + line)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if fresh:
            sync_directory(self.directory)

    def has(self, step: Step, state: str) -> bool:
        """Whether the journal has such a line."""
        return any(entry.step is step and entry.state == state for entry in self.entries())

    @contextmanager
    def step(self, step: Step, say: Callable[[str], None]) -> Generator[dict[str, str]]:
        """One step between its two lines; what the body puts under "note" stands in the second."""
        said: dict[str, str] = {}
        self.note(step, "begun")
        began = time.monotonic()
        try:
            yield said
        except Exception as error:
            self.note(step, "failed", str(error)[:2000], time.monotonic() - began)
            raise
        seconds = time.monotonic() - began
        self.note(step, "done", said.get("note", ""), seconds)
        say(f"{step.value}: {said.get('note') or 'done'} ({seconds:.1f} s)")


class Releases:
    """All of an installation's."""

    def __init__(self, installation: Installation) -> None:
        self._root = installation.releases
        self._backups = installation.backups

    @property
    def current(self) -> Release | None:
        """The last good one."""
        try:
            name = (self._root / "current").read_text("utf-8").strip()
        except FileNotFoundError:
            return None
        release = Release(self._root / name)
        return release if name and "/" not in name and release.directory.is_dir() else None

    def set_current(self, release: Release) -> None:
        """From this moment on it is the one to go back to."""
        write_file(self._root / "current", f"{release.name}\n".encode(), 0o644)

    def all(self) -> list[Release]:
        """By time, the oldest first."""
        if not self._root.is_dir():
            return []
        names = sorted(path.name for path in self._root.iterdir() if path.is_dir() and not path.name.startswith("."))
        return [Release(self._root / name) for name in names]

    def stage(self) -> Release:
        """A place to prepare a release in, before it is one."""
        place = self._root / _STAGING
        shutil.rmtree(place, ignore_errors=True)
        (place / "files").mkdir(mode=0o700, parents=True)
        return Release(place)

    def unstage(self) -> None:
        """Remove what was prepared and not published."""
        shutil.rmtree(self._root / _STAGING, ignore_errors=True)

    def publish(self, staged: Release) -> Release:
        """Make what was prepared a release, named by the time."""
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        # Behind all of the same second, not into a gap that pruning left: names are in the order of time.
        same = [release.name.partition("-") for release in self.all() if release.name.startswith(stamp)]
        number = max((int(suffix or 1) for _, _, suffix in same), default=0) + 1
        name = stamp if number == 1 else f"{stamp}-{number:03}"
        place = self._root / name
        staged.directory.rename(place)
        sync_directory(self._root)
        return Release(place)

    def fate(self, release: Release) -> Fate:
        """What became of it, by its journal and by what is current."""
        done = {entry.step for entry in release.entries() if entry.state == "done"}
        if Step.ROLLBACK in done:
            return Fate.ROLLED_BACK
        if release.has(Step.ROLLBACK, "begun"):
            return Fate.HALF
        if Step.GOOD in done:
            return Fate.GOOD
        if Step.ABANDON in done:
            return Fate.ABANDONED
        return Fate.HALF if release.has(Step.SWITCH, "begun") else Fate.UNTOUCHED

    def good(self) -> list[Release]:
        """Those that were good and that nobody went back from, the newest first."""
        return [release for release in reversed(self.all()) if self.fate(release) is Fate.GOOD]

    def unfinished(self) -> list[Release]:
        """Those that a kill left, the newest first."""
        return [release for release in reversed(self.all()) if self.fate(release) in (Fate.HALF, Fate.UNTOUCHED)]

    def prune(self) -> list[Release]:
        """Remove what nobody will go back to, and its backups; returns what was removed, its directory gone."""
        current = self.current
        keep = {release.name for release in self.good()[:KEPT_RELEASES]} | {current.name if current else ""}
        recent = {release.name for release in self.all()[-KEPT_RELEASES:]}  # failed ones too: to see why
        gone = [release for release in self.all() if release.name not in keep | recent]
        for release in gone:
            (self._backups / backup_name(release)).unlink(missing_ok=True)
            shutil.rmtree(release.directory, ignore_errors=True)
        self.drop_backups()
        return gone

    def drop_backups(self) -> None:
        """Keep the newest backups of good releases; those of failed ones have done what they were made for."""
        made = [one for one in self.good() if (self._backups / backup_name(one)).exists()]
        keep = {one.name for one in made[:KEPT_BACKUPS]}
        for release in self.all():
            if release.name not in keep and self.fate(release) is not Fate.HALF:
                (self._backups / backup_name(release)).unlink(missing_ok=True)


def backup_name(release: Release) -> str:
    """What the backup from before a release is called in backups/."""
    return f"before-{release.name}.condev"


def durations(releases: Releases) -> Mapping[Step, float]:
    """How long each step took when it was last done here, in seconds: what the next one is told to take."""
    found: dict[Step, float] = {}
    for release in releases.all():
        found.update({entry.step: entry.seconds for entry in release.entries() if entry.state == "done"})
    return found
