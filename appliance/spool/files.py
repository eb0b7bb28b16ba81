"""The few file operations that the spool is built on, behind a seam.

For: letting a test replace the disk by one that forgets what was not synced (`appliance.testing.files`), and keeping
every system call of the spool on one page. Not for general file access.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from typing import Protocol as Interface

MAX_PARTS: Final = 1_000  # of one gathering write; Linux takes 1,024


class OpenFile(Interface):
    """One open file. Every method may raise OSError."""

    def append(self, parts: Sequence[bytes]) -> None:
        """Write all parts at the end, one behind the other, or raise; after an error any of it may be there."""
        ...

    def write_at(self, data: bytes, offset: int) -> None:
        """Overwrite in place."""
        ...

    def read_at(self, size: int, offset: int) -> bytes:
        """Read up to `size` bytes; fewer only at the end of the file."""
        ...

    def sync(self) -> None:
        """Make the content and the length durable (fdatasync)."""
        ...

    def truncate(self, size: int) -> None:
        """Cut the file."""
        ...

    def size(self) -> int:
        """Length in bytes."""
        ...

    def close(self) -> None:
        """Release it; for a lock file, the lock too."""
        ...


class Files(Interface):
    """A file system, as far as the spool needs one."""

    def make_directory(self, path: Path) -> None:
        """Make it, with its parents, for this user alone; fine when it is there."""
        ...

    def create(self, path: Path) -> OpenFile:
        """Make a new file for appending. Raises FileExistsError."""
        ...

    def open(self, path: Path) -> OpenFile:
        """Open for reading, and for writing where permitted. Raises FileNotFoundError."""
        ...

    def link(self, source: Path, target: Path) -> None:
        """Give a file a second name, atomically. Raises FileExistsError."""
        ...

    def remove(self, path: Path) -> None:
        """Unlink; fine when it is gone already."""
        ...

    def names(self, directory: Path) -> list[str]:
        """The names in a directory."""
        ...

    def size(self, path: Path) -> int:
        """Length in bytes; 0 when it is gone."""
        ...

    def sync_directory(self, path: Path) -> None:
        """Make the names in a directory durable."""
        ...

    def free_bytes(self, path: Path) -> int:
        """What an ordinary user may still write to that file system."""
        ...

    def lock(self, path: Path) -> OpenFile:
        """Take the exclusive lock that `path` stands for. Raises BlockingIOError when another holds it."""
        ...


class DiskFile:
    """A file of the operating system."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def append(self, parts: Sequence[bytes]) -> None:
        """One gathering write for up to a thousand parts: nothing is copied in the process."""
        for start in range(0, len(parts), MAX_PARTS):
            group = parts[start : start + MAX_PARTS]
            written = os.writev(self._fd, group)
            if written < sum(map(len, group)):  # a signal or a full disk cut it short; the next call says which
                rest = memoryview(b"".join(group))[written:]
                while rest:
                    rest = rest[os.write(self._fd, rest) :]

    def write_at(self, data: bytes, offset: int) -> None:
        """Overwrite in place."""
        if os.pwrite(self._fd, data, offset) != len(data):
            raise OSError(f"short write of {len(data)} bytes at {offset}")

    def read_at(self, size: int, offset: int) -> bytes:
        """Read up to `size` bytes."""
        data = os.pread(self._fd, size, offset)
        if len(data) == size or not data:
            return data
        parts = [data]
        have = len(data)
        while have < size and (data := os.pread(self._fd, size - have, offset + have)):
            parts.append(data)
            have += len(data)
        return b"".join(parts)

    def sync(self) -> None:
        """fdatasync where the system has it."""
        getattr(os, "fdatasync", os.fsync)(self._fd)

    def truncate(self, size: int) -> None:
        """Cut the file."""
        os.ftruncate(self._fd, size)

    def size(self) -> int:
        """Length in bytes."""
        return os.fstat(self._fd).st_size

    def close(self) -> None:
        """Release it."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class DiskFiles:
    """The operating system's files."""

    def make_directory(self, path: Path) -> None:
        """Make it, mode 0700: the spool holds payloads from before scrubbing."""
        path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def create(self, path: Path) -> OpenFile:
        """Make a new file for appending, mode 0600."""
        return DiskFile(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600))

    def open(self, path: Path) -> OpenFile:
        """Open for reading and, where permitted, writing."""
        try:
            return DiskFile(os.open(path, os.O_RDWR | os.O_CLOEXEC))
        except PermissionError:
            return DiskFile(os.open(path, os.O_RDONLY | os.O_CLOEXEC))

    def link(self, source: Path, target: Path) -> None:
        """Give a file a second name."""
        os.link(source, target)

    def remove(self, path: Path) -> None:
        """Unlink."""
        path.unlink(missing_ok=True)

    def names(self, directory: Path) -> list[str]:
        """The names in a directory."""
        return os.listdir(directory)

    def size(self, path: Path) -> int:
        """Length in bytes."""
        try:
            return path.stat().st_size
        except FileNotFoundError:
            return 0

    def sync_directory(self, path: Path) -> None:
        """fsync the directory itself."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def free_bytes(self, path: Path) -> int:
        """What is free to us; the share reserved for root is not."""
        stats = os.statvfs(path)
        return stats.f_bavail * stats.f_frsize

    def lock(self, path: Path) -> OpenFile:
        """flock: the kernel drops it when the holder dies, so a crash leaves nothing to clean up."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            raise
        return DiskFile(fd)


DISK: Final[Files] = DiskFiles()
