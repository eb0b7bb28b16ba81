"""What this process may use: memory and processors of the machine, or of the cgroup it runs in."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

# A v1 group without a limit says a number near 2^63; no machine has an exbibyte.
_NO_LIMIT: Final = 1 << 60
_FALLBACK_MEMORY: Final = 2 << 30  # where nothing can be read: the smallest machine we expect


def memory_bytes(root: Path = Path("/")) -> int:
    """The memory this process may use, in bytes: the least of the machine's and its cgroup's."""
    found = [_meminfo(root), *(_number(root / path) for path in _memory_limits(root))]
    limits = [limit for limit in found if limit is not None and 0 < limit < _NO_LIMIT]
    return min(limits, default=_FALLBACK_MEMORY)


def cpus(root: Path = Path("/")) -> float:
    """The processors this process may use: those it may run on, less what a quota takes."""
    own = float(len(os.sched_getaffinity(0)))
    quota = _text(root / "sys/fs/cgroup/cpu.max").split()
    if len(quota) == 2 and quota[0].isdigit() and quota[1].isdigit():
        return min(own, int(quota[0]) / int(quota[1]))
    v1 = root / "sys/fs/cgroup/cpu"
    micros, period = _number(v1 / "cpu.cfs_quota_us"), _number(v1 / "cpu.cfs_period_us")
    return min(own, micros / period) if micros and period and micros > 0 else own


def _memory_limits(root: Path) -> list[str]:
    """The limit files of this process's own groups: v2's unified tree, or v1's memory controller."""
    limits = ["sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"]
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers == "":
            limits.append(f"sys/fs/cgroup{path}/memory.max")
        elif "memory" in controllers.split(","):
            limits.append(f"sys/fs/cgroup/memory{path}/memory.limit_in_bytes")
    return limits


def _meminfo(root: Path) -> int | None:
    for line in _text(root / "proc/meminfo").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return None


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.lstrip("-").isdigit() else None


def _text(path: Path) -> str:
    try:
        return path.read_text("ascii")
    except OSError:
        return ""
