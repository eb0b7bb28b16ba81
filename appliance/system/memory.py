"""What our processes hold, as Linux counts it, and how near their group is to the limit at which the kernel kills."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from msgspec import Struct

_NO_LIMIT: Final = 1 << 60  # what a v1 group without a limit says is near 2^63


class ProcessMemory(Struct, frozen=True, kw_only=True):
    """Memory of one process, in bytes; 0 where the system does not say."""

    name: str
    pid: int
    resident: int
    anonymous: int  # what cannot be given back: the figure that limits are about
    peak: int


class MemoryUse(Struct, frozen=True, kw_only=True):
    """What is used of a limit, in bytes, without file pages that the kernel takes back at once."""

    of: str  # "this container" or "this machine"
    used: int
    limit: int


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


def memory_use(root: Path = Path("/")) -> MemoryUse | None:
    """How near we are to where the kernel kills: in our group when it has a limit, else on the whole machine.

    Args:
        root: where /proc and /sys lie; tests have their own.

    Returns:
        None where the system does not say.
    """
    machine = _machine(root)
    groups = [group for directory in _group_directories(root) if (group := _group(directory)) is not None]
    if groups:
        tightest = min(groups, key=lambda group: group.limit - group.used)
        if machine is None or tightest.limit < machine.limit:
            return tightest
    return machine


def _group_directories(root: Path) -> list[Path]:
    """Our own groups: v2's unified tree, or v1's memory controller; in a container both are the root of the mount."""
    base = root / "sys/fs/cgroup"
    found = [base, base / "memory"]
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers == "":
            found.append(base / path.lstrip("/"))
        elif "memory" in controllers.split(","):
            found.append(base / "memory" / path.lstrip("/"))
    return found


def _group(directory: Path) -> MemoryUse | None:
    for limit_file, used_file, inactive in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        limit, used = _number(directory / limit_file), _number(directory / used_file)
        if limit is None or used is None or not 0 < limit < _NO_LIMIT:
            continue
        stat = dict(line.split(maxsplit=1) for line in _text(directory / "memory.stat").splitlines() if " " in line)
        given_back = int(stat.get(inactive, "0")) if stat.get(inactive, "0").isdigit() else 0
        return MemoryUse(of="this container", used=max(0, used - given_back), limit=limit)
    return None


def _machine(root: Path) -> MemoryUse | None:
    fields = dict(line.split(":", 1) for line in _text(root / "proc/meminfo").splitlines() if ":" in line)
    total, available = (fields.get(name, "").split() for name in ("MemTotal", "MemAvailable"))
    if not total or not available:
        return None
    limit = int(total[0]) * 1024
    return MemoryUse(of="this machine", used=limit - int(available[0]) * 1024, limit=limit)


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdigit() else None


def _text(path: Path) -> str:
    try:
        return path.read_text("ascii", "replace")
    except OSError:
        return ""
