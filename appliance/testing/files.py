"""A disk that forgets: files in memory, of which a power cut keeps only what was synced and chance's share of the rest.

For testing what `appliance.spool` promises. A SIGKILL cannot show a missing fsync, because the kernel still has the
pages. Here every write since the last sync is kept, lost or torn, sector by sector, and every name since the last
directory sync is kept or lost, as a seeded random number decides. After a failed sync the pages count as clean although
they never reached the disk, as Linux has it.
"""

from __future__ import annotations

import errno
import random
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

SECTOR: Final = 512  # what a disk writes whole


class PowerCutError(OSError):
    """The machine is off: this handle belongs to the time before."""


class _Inode:
    """Content as programs see it, and as the platter has it."""

    def __init__(self) -> None:
        self.seen = bytearray()
        self.durable = b""
        self.dirty: set[int] = set()  # sectors that a sync would write

    def write(self, data: bytes, offset: int) -> None:
        if len(self.seen) < offset:
            self.seen.extend(bytes(offset - len(self.seen)))
        self.seen[offset : offset + len(data)] = data
        self.dirty.update(range(offset // SECTOR, (offset + max(len(data), 1) - 1) // SECTOR + 1))

    def truncate(self, size: int) -> None:
        del self.seen[size:]
        self.dirty.add(size // SECTOR)

    def sync(self) -> None:
        self.durable = self._with(self.dirty, len(self.seen))
        self.dirty.clear()

    def lose_dirty(self) -> None:
        """After a failed sync the kernel takes them for clean: no later sync writes them."""
        self.dirty.clear()

    def after_cut(self, chance: random.Random) -> _Inode:
        kept = {sector for sector in self.dirty if chance.random() < 0.5}
        size = len(self.seen) if self.dirty and chance.random() < 0.5 else len(self.durable)
        if self.dirty and chance.random() < 0.3:  # the length got half way
            low, high = sorted((len(self.durable), len(self.seen)))
            size = chance.randint(low, high)
        inode = _Inode()
        inode.durable = self._with(kept, size)
        inode.seen = bytearray(inode.durable)
        return inode

    def _with(self, sectors: set[int], size: int) -> bytes:
        """The durable content with these sectors brought up to date; what never reached the disk reads as zeros."""
        content = bytearray(self.durable[:size].ljust(size, b"\0"))
        for sector in sectors:
            start = sector * SECTOR
            part = bytes(self.seen[start : min(start + SECTOR, size)])
            content[start : start + len(part)] = part
        return bytes(content[:size])


class _Handle:
    """An open file."""

    def __init__(self, files: PowerCutFiles, inode: _Inode, lock_path: Path | None = None) -> None:
        self._files = files
        self._inode = inode
        self._lock_path = lock_path

    def append(self, parts: Sequence[bytes]) -> None:
        """Write at the end; short, then ENOSPC, when the disk is full."""
        data = b"".join(parts)
        with self._files.operation("append"):
            room = self._files.room()
            self._inode.write(data[:room], len(self._inode.seen))
            if room < len(data):
                raise OSError(errno.ENOSPC, "No space left on device")

    def write_at(self, data: bytes, offset: int) -> None:
        """Overwrite in place."""
        with self._files.operation("write_at"):
            self._inode.write(data, offset)

    def read_at(self, size: int, offset: int) -> bytes:
        """What programs see."""
        with self._files.operation("read_at"):
            return bytes(self._inode.seen[offset : offset + size])

    def sync(self) -> None:
        """Make it durable."""
        try:
            with self._files.operation("sync"):
                self._inode.sync()
        except PowerCutError:
            raise
        except OSError:
            self._inode.lose_dirty()
            raise

    def truncate(self, size: int) -> None:
        """Cut the file."""
        with self._files.operation("truncate"):
            self._inode.truncate(size)

    def size(self) -> int:
        """Length in bytes."""
        return len(self._inode.seen)

    def close(self) -> None:
        """Release it."""
        if self._lock_path is not None:
            self._files.unlock(self._lock_path)


class PowerCutFiles:
    """Implements `appliance.spool.files.Files` in memory."""

    def __init__(self, seed: int = 0, *, capacity: int = 1 << 40) -> None:
        """Args:
        seed: decides what a power cut keeps.
        capacity: bytes of the disk; may be changed at any time.
        """
        self.capacity = capacity
        self.log: list[str] = []  # operations in their order, for asserting that syncs happen
        self._chance = random.Random(seed)  # noqa: S311 - a test's dice
        self._seen: dict[Path, _Inode] = {}
        self._durable: dict[Path, _Inode] = {}
        self._locked: set[Path] = set()
        self._failures: dict[str, list[OSError]] = {}
        self._off = False
        self._mutex = threading.RLock()
        self._cut_in: int | None = None

    # ── what a test does ──

    def fail_next(self, operation: str, number: int = errno.EIO, times: int = 1) -> None:
        """Let the next `operation` ("append", "sync", "create", "sync_directory", "write_at", …) raise this errno."""
        with self._mutex:
            self._failures.setdefault(operation, []).extend(OSError(number, "injected") for _ in range(times))

    def cut_power_in(self, operations: int) -> None:
        """Cut the power by itself when so many more operations have been done."""
        with self._mutex:
            self._cut_in = operations

    @property
    def off(self) -> bool:
        """Whether the power has been cut."""
        return self._off

    def process_killed(self) -> PowerCutFiles:
        """Kill the process, not the machine: every open handle is dead, the kernel still has all that was written."""
        with self._mutex:
            self._off = True
            after = PowerCutFiles(self._chance.randrange(1 << 30), capacity=self.capacity)
            after._seen, after._durable = dict(self._seen), dict(self._durable)
            return after

    def power_cut(self) -> PowerCutFiles:
        """Switch off; every open handle is dead. Returns the disk as it is found when the power is back."""
        with self._mutex:
            self._off = True
            after = PowerCutFiles(self._chance.randrange(1 << 30), capacity=self.capacity)
            inodes: dict[int, _Inode] = {}
            for path in sorted({*self._seen, *self._durable}):
                seen, durable = self._seen.get(path), self._durable.get(path)
                inode = durable if seen is durable or self._chance.random() < 0.5 else seen
                if inode is not None:
                    found = inodes.setdefault(id(inode), inode.after_cut(self._chance))
                    after._seen[path] = after._durable[path] = found
            return after

    # ── Files ──

    def make_directory(self, path: Path) -> None:
        """Directories need no making here."""

    def create(self, path: Path) -> _Handle:
        """Make a file."""
        with self.operation("create"):
            if path in self._seen:
                raise FileExistsError(errno.EEXIST, "File exists", str(path))
            inode = self._seen[path] = _Inode()
            return _Handle(self, inode)

    def open(self, path: Path) -> _Handle:
        """Open a file."""
        with self.operation("open"):
            if path not in self._seen:
                raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))
            return _Handle(self, self._seen[path])

    def link(self, source: Path, target: Path) -> None:
        """Give a file a second name."""
        with self.operation("link"):
            if target in self._seen:
                raise FileExistsError(errno.EEXIST, "File exists", str(target))
            self._seen[target] = self._seen[source]

    def remove(self, path: Path) -> None:
        """Unlink."""
        with self.operation("remove"):
            self._seen.pop(path, None)

    def names(self, directory: Path) -> list[str]:
        """The names in a directory."""
        with self.operation("names"):
            return [path.name for path in self._seen if path.parent == directory]

    def size(self, path: Path) -> int:
        """Length in bytes; 0 when it is gone."""
        with self.operation("size"):
            return len(self._seen[path].seen) if path in self._seen else 0

    def sync_directory(self, path: Path) -> None:
        """Make the names durable."""
        with self.operation("sync_directory"):
            self._durable = {p: i for p, i in self._durable.items() if p.parent != path}
            self._durable.update({p: i for p, i in self._seen.items() if p.parent == path})

    def free_bytes(self, path: Path) -> int:
        """What is left of `capacity`."""
        with self.operation("free_bytes"):
            return self.room()

    def lock(self, path: Path) -> _Handle:
        """Take the lock."""
        with self.operation("lock"):
            if path in self._locked:
                raise BlockingIOError(errno.EWOULDBLOCK, "locked", str(path))
            self._locked.add(path)
            return _Handle(self, self._seen.setdefault(path, _Inode()), path)

    # ── for the handles ──

    def unlock(self, path: Path) -> None:
        """Give the lock back."""
        self._locked.discard(path)

    def room(self) -> int:
        """Bytes that may still be written."""
        used = sum(len(inode.seen) for inode in {id(i): i for i in self._seen.values()}.values())
        return max(0, self.capacity - used)

    def operation(self, name: str) -> threading.RLock:
        """Note one operation; raise what is due. The result is the lock under which it is done."""
        with self._mutex:
            if self._cut_in is not None:
                self._cut_in -= 1
                if self._cut_in < 0:
                    self._off = True
            if self._off:
                raise PowerCutError(errno.EIO, "the power is off")
            self.log.append(name)
            waiting = self._failures.get(name)
            if waiting:
                raise waiting.pop(0)
            return self._mutex
