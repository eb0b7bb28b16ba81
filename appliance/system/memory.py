"""What our processes hold, as Linux counts it."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct


class ProcessMemory(Struct, frozen=True, kw_only=True):
    """Memory of one process, in bytes; 0 where the system does not say."""

    name: str
    pid: int
    resident: int
    anonymous: int  # what cannot be given back: the figure that limits are about
    peak: int


def process_memory(name: str, pid: int) -> ProcessMemory | None:
    """Read /proc; None when the process is gone or this is not Linux."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text("ascii", "replace").splitlines()
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in lines if ":" in line)

    def read(key: str) -> int:
        words = fields.get(key, "").split()
        return int(words[0]) * 1024 if words and words[0].isdigit() else 0

    return ProcessMemory(name=name, pid=pid, resident=read("VmRSS"), anonymous=read("RssAnon"), peak=read("VmHWM"))
