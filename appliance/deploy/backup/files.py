"""Files in a backup: the spool's unprocessed records, dead letters, plugins' own files; and where they may be put."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Final

from msgspec import Struct

from appliance.data_dir import sync_directory
from appliance.deploy.backup.archive import ArchiveWriter, BackupError, Frame
from appliance.deploy.backup.manifest import FILE, SPOOL, SpoolPart
from appliance.metadata.database import Database
from appliance.pipeline import intents
from appliance.spool.files import DISK
from appliance.spool.framing import Position, SpoolState, pack_state, segment_name
from appliance.spool.layout import (
    EPOCH_FILE,
    LOCK_FILE,
    STATE_FILE,
    Chain,
    StateFile,
    ensure_epoch,
    segment_numbers,
    segment_path,
)

DEAD_LETTERS: Final = "dead_letters"
# Folders of the data directory that are backed up as they are. Blobs, spool and stores have ways of their own.
SDK_VERSIONS: Final = "sdk"  # each that was ever served: pages pin them
TREES: Final = (DEAD_LETTERS, "plugins", "plugins.d", SDK_VERSIONS)
MAX_NAME: Final = 1_000  # characters of a path in a backup
_LEFT_OUT: Final = frozenset({"__pycache__", ".cache"})


class Segment(Struct):
    """A segment of the spool: open, so that it stays readable when the pipeline is done with it and unlinks it."""

    number: int
    file: IO[bytes]
    end: int  # bytes that count


class Held:
    """The files as they were at one moment: spool segments as open files, dead letters as hard links."""

    def __init__(self, data_dir: Path) -> None:
        """Args: data_dir: the appliance's; nothing is held yet."""
        self._data_dir = data_dir
        self._staging = data_dir / "tmp" / f"backup-{secrets.token_hex(6)}"
        self.segments: list[Segment] = []
        self.spool: SpoolPart | None = None

    def take(self, epoch: int, after: Position | None) -> None:
        """Take hold, within milliseconds.

        Args:
            epoch: the spool's.
            after: the end of what is applied.
        """
        sweep(self._data_dir, keep=self._staging)
        letters = self._staging / DEAD_LETTERS
        letters.mkdir(mode=0o700, parents=True)
        with contextlib.suppress(FileNotFoundError):
            for entry in os.scandir(self._data_dir / DEAD_LETTERS):
                if entry.name.endswith(".record") and entry.is_file(follow_symlinks=False):
                    with contextlib.suppress(FileNotFoundError):  # tried again and gone in this very moment
                        os.link(entry.path, letters / entry.name, follow_symlinks=False)
        self._take_spool(epoch, after)

    def close(self) -> None:
        """Let go."""
        for segment in self.segments:
            segment.file.close()
        self.segments.clear()
        shutil.rmtree(self._staging, ignore_errors=True)

    async def write(self, writer: ArchiveWriter) -> None:
        """Put everything into a backup."""
        for segment in self.segments:
            done = await writer.file(SPOOL, str(segment.number), segment.file, segment.end)
            if done < segment.end:
                raise BackupError(f"segment {segment.number} of the spool is shorter than it was: look at the disk")
        for tree in TREES:
            root = self._staging if tree == DEAD_LETTERS else self._data_dir
            for path, name in _walk(root, tree):
                try:
                    file = path.open("rb")
                except FileNotFoundError:  # a plugin's own file that it removed meanwhile
                    continue
                with file:
                    await writer.file(FILE, name, file, os.fstat(file.fileno()).st_size)

    def _take_spool(self, epoch: int, after: Position | None) -> None:
        directory = self._data_dir / "spool"
        try:
            state_file = StateFile.open(DISK, directory)
        except FileNotFoundError:
            return
        try:
            state = state_file.read() or SpoolState(epoch)
        finally:
            state_file.close()
        for sealed in Chain(DISK, directory, epoch).segments(state):
            if after is None or Position(sealed.number, sealed.end) > after:
                file = segment_path(directory, sealed.number).open("rb")
                self.segments.append(Segment(sealed.number, file, sealed.end))
        self.spool = SpoolPart(
            epoch=epoch, highest=state.highest, segment=state.segment, offset=state.offset,
            next_sequence=state.next_sequence, files=[segment.number for segment in self.segments],
        )  # fmt: skip


async def cursor(database: Database, data_dir: Path) -> tuple[int, Position | None]:
    """The spool's epoch, and the end of what is applied of it."""
    epoch = ensure_epoch(DISK, data_dir / "spool")
    progress = await intents.load(database, epoch)
    first = progress.unfinished[0] if progress.unfinished else None
    return epoch, Position(first.segment, first.start) if first is not None else progress.after


def sweep(data_dir: Path, keep: Path | None = None) -> None:
    """Remove what a killed backup held."""
    for left in (data_dir / "tmp").glob("backup-*"):
        if left != keep:
            shutil.rmtree(left, ignore_errors=True)


class FilePutter:
    """Writes a backup's files into a data directory, one after the other."""

    def __init__(self, data_dir: Path, spool: SpoolPart | None) -> None:
        """Args: data_dir: without any of these files. spool: what its segments are."""
        self._data_dir = data_dir
        self._spool = spool
        self._name = ""
        self._file: IO[bytes] | None = None

    def put(self, frame: Frame) -> None:
        """Take the next piece. Raises `BackupError` for a name that leads elsewhere or is not expected."""
        name = f"{frame.kind}/{frame.name}"
        if self._file is None:
            path = self._segment(frame.name) if frame.kind == SPOOL else place(self._data_dir, frame.name)
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            self._file, self._name = os.fdopen(os.open(path, flags, 0o600), "wb"), name
        elif name != self._name:
            raise BackupError(f"the backup goes on with {name} in the middle of {self._name}; use another")
        self._file.write(frame.data)
        if not frame.more:
            file, self._file = self._file, None
            with file:
                file.flush()
                os.fsync(file.fileno())

    def finish(self) -> None:
        """Name the spool, so that what waits in it is applied under the same batch ids; its writer does the rest."""
        if self._file is not None:
            self._file.close()
        if self._spool is None:
            return
        directory, spool = self._data_dir / "spool", self._spool
        directory.mkdir(mode=0o700, exist_ok=True)
        state = SpoolState(spool.epoch, spool.highest, spool.segment, spool.offset, spool.next_sequence)
        _write_synced(directory / STATE_FILE, pack_state(state))
        _write_synced(directory / EPOCH_FILE, b"%016x\n" % spool.epoch)
        sync_directory(directory)
        sync_directory(self._data_dir)

    def _segment(self, name: str) -> Path:
        if self._spool is None or not name.isdecimal() or int(name) not in self._spool.files:
            raise BackupError(
                f"the backup has a spool segment {name[:40]!r} that its manifest does not name; use another"
            )
        return self._data_dir / "spool" / segment_name(int(name))


def place(data_dir: Path, name: str) -> Path:
    """Where a file of a backup belongs. Raises `BackupError` for anything but a path below one of `TREES`."""
    path = PurePosixPath(name)
    parts = path.parts
    if (
        len(name) > MAX_NAME or "\0" in name or "\\" in name or path.is_absolute() or len(parts) < 2
        or parts[0] not in TREES or ".." in parts or str(path) != name
    ):  # fmt: skip
        raise BackupError(f"the backup has a file whose name leads elsewhere: {name[:80]!r}; do not trust it")
    return data_dir.joinpath(*parts)


def spool_is_used(data_dir: Path) -> bool:
    """Whether an ingest process has the spool open."""
    directory = data_dir / "spool"
    if not (directory / LOCK_FILE).exists():
        return False
    try:
        DISK.lock(directory / LOCK_FILE).close()
    except BlockingIOError:
        return True
    return False


def holds_files(data_dir: Path) -> bool:
    """Whether there is anything that a restore would put elsewhere or over."""
    spool = data_dir / "spool"
    if spool.is_dir() and segment_numbers(DISK, spool):
        return True
    # Each start puts its own version of the SDK there: that is nobody's data.
    return any(True for tree in TREES if tree != SDK_VERSIONS for _ in _walk(data_dir, tree))


def remove_files(data_dir: Path) -> None:
    """Make room: the spool but its lock, dead letters, plugins' files."""
    spool = data_dir / "spool"
    if spool.is_dir():
        for path in spool.iterdir():
            if path.name != LOCK_FILE and path.is_file():
                path.unlink()
    for tree in TREES:
        for path in (data_dir / tree).glob("*"):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def _walk(root: Path, tree: str) -> Iterator[tuple[Path, str]]:
    """Regular files below a folder with their names relative to its parent, in order. Links are not followed."""
    for folder, folders, files in os.walk(root / tree):
        folders[:] = sorted(name for name in folders if name not in _LEFT_OUT)
        for name in _plain(Path(folder), files):
            path = Path(folder, name)
            yield path, path.relative_to(root).as_posix()


def _plain(folder: Path, names: Sequence[str]) -> list[str]:
    return sorted(name for name in names if not (folder / name).is_symlink() and (folder / name).is_file())


def _write_synced(path: Path, data: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
