"""What the stack's host has: memory, processors, disk, and which stores hold data on it already.

Nothing is decided here: `appliance.deploy.sizing` makes a plan of it, `appliance.deploy.doctor` judges the rest of the
host.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final, Literal

from msgspec import Struct

from appliance import host

Stores = Literal["", "embedded", "servers"]

# Below the directory of the appliance: what lies there tells which stores it was run with.
_EMBEDDED_SIGNS: Final = ("data/metadata.db", "data/clickhouse")
_SERVER_SIGNS: Final = ("postgres/pgdata", "clickhouse-data/data")


class HostFacts(Struct, frozen=True, kw_only=True):
    """A host, as far as sizes follow from it."""

    memory: int  # bytes; the least of the machine's and the cgroup's
    cpus: float  # cores, a fraction where a quota says so
    disk: int  # bytes of the file system that holds the appliance's directory, used ones included
    stores: Stores = ""  # which stores hold data already; "" = none, or not known


def detect(root: Path = Path("/"), directory: Path = Path("/opt/condev")) -> HostFacts:
    """Read the facts of the machine this runs on.

    Args:
        root: where /proc and /sys are found; another directory in tests.
        directory: where the appliance lies or will lie; the nearest parent that exists is looked at.
    """
    place = directory
    while not place.exists() and place != place.parent:
        place = place.parent
    return HostFacts(
        memory=host.memory_bytes(root),
        cpus=host.cpus(root),
        # In all, not what is free: a plan made again on a disk that the appliance has filled must be the same plan.
        disk=shutil.disk_usage(place).total,
        stores=_stores(directory),
    )


def _stores(directory: Path) -> Stores:
    """Data of servers counts first: whoever changed over may have left the old files where they were."""
    if any(_is_there(directory / sign) for sign in _SERVER_SIGNS):
        return "servers"
    if any(_is_there(directory / sign) for sign in _EMBEDDED_SIGNS):
        return "embedded"
    return ""


def _is_there(path: Path) -> bool:
    """A folder that is closed to us was closed by the store that lives in it."""
    try:
        return path.exists()
    except PermissionError:
        return True
