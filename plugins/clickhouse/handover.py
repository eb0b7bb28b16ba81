"""The file through which the embedded engine takes a block. It has no other way in but SQL text.

A file in memory that is written over again and again: with a new one on disk for each insert, as clickhouse-connect
does it, making and freeing pages was half of what an insert of events cost.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

KEPT_BYTES: Final = 16 * 1024 * 1024  # a full batch of events; what is larger is given back at once
MAX_PIECES: Final = 1_000  # of one writev; Linux takes 1,024


class Handover:
    """One file, for one writing thread."""

    def __init__(self) -> None:
        if hasattr(os, "memfd_create") and Path("/proc/self/fd").is_dir():
            self._fd = os.memfd_create("condev-insert")
            self.path = f"/proc/self/fd/{self._fd}"
            self._named = ""
        else:
            self._fd, self.path = tempfile.mkstemp(".native", "condev-insert-")
            self._named = self.path

    def write(self, pieces: Sequence[bytes]) -> None:
        """Replace what is in it."""
        os.lseek(self._fd, 0, os.SEEK_SET)
        total = 0
        for start in range(0, len(pieces), MAX_PIECES):
            total += self._write_some(pieces[start : start + MAX_PIECES])
        os.ftruncate(self._fd, total)

    def release(self) -> None:
        """The engine has it: keep only so much memory as the next block will want."""
        if os.fstat(self._fd).st_size > KEPT_BYTES:
            os.ftruncate(self._fd, 0)

    def close(self) -> None:
        """Give it back."""
        os.close(self._fd)
        if self._named:
            Path(self._named).unlink(missing_ok=True)

    def _write_some(self, pieces: Sequence[bytes]) -> int:
        wanted = sum(map(len, pieces))
        written = os.writev(self._fd, pieces)
        if written < wanted:  # a disk that is nearly full; memory takes it whole
            rest = b"".join(pieces)[written:]
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        return wanted
