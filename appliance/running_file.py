"""`DATA_DIR/running.json`: what the core that started last is, for `condev upgrade`, which may not open its stores."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

RUNNING_FILE: Final = "running.json"


class Running(Struct, frozen=True, kw_only=True):
    """Written after both stores were opened, so that the schemas are the ones they have."""

    version: str
    started_at: int  # µs
    revision: str  # of the metadata
    event_store: int  # schema version; 0: the backend has none


def write_running(data_dir: Path, running: Running) -> None:
    """Replace the file."""
    temporary = data_dir / f".{RUNNING_FILE}.{os.getpid()}"
    temporary.write_bytes(msgspec.json.encode(running))
    temporary.replace(data_dir / RUNNING_FILE)


def read_running(data_dir: Path) -> Running | None:
    """What it says; None when nothing ever ran here.

    Raises:
        msgspec.DecodeError: it is not what we wrote.
    """
    try:
        return msgspec.json.decode((data_dir / RUNNING_FILE).read_bytes(), type=Running)
    except FileNotFoundError:
        return None
