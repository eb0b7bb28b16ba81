"""The data directory: what lies where, for its owner alone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from appliance.config import Config
from appliance.instance import make_key

ADDRESS_FILE: Final = "address"  # where `condev serve` writes under which URL it answers, when site.url is not set
RESTORE_MARKER: Final = "restore.incomplete"  # there while `condev restore` works, and after it was interrupted
_FOLDERS: Final = ("spool", "dead_letters", "blobs", "plugins", "plugins.d", "tmp")


class DataDirError(Exception):
    """The data directory cannot be used; the text says what to do."""


def prepare_data_dir(data_dir: Path) -> None:
    """Make the data directory, mode 0700, with the folders in it.

    Raises:
        DataDirError: it cannot be made or written.
    """
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in _FOLDERS:
            (data_dir / name).mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise DataDirError(
            f"{data_dir} cannot be used as data directory: {error.strerror}; give user {os.getuid()} write access to it"
        ) from error
    if not os.access(data_dir, os.W_OK):
        raise DataDirError(f"{data_dir} cannot be written by user {os.getuid()}; give it write access")
    try:
        make_key(data_dir)
    except OSError as error:
        raise DataDirError(f"{data_dir} cannot be written: {error.strerror}; make room, or check its disk") from error


def metadata_url(config: Config, data_dir: Path) -> str:
    """`[metadata] url` with the driver that we use, or SQLite in the data directory."""
    if config.metadata.url is None:
        return f"sqlite+aiosqlite:///{data_dir / 'metadata.db'}"
    url = config.metadata.url.reveal()
    for prefix in ("postgresql://", "postgres://"):
        if url.startswith(prefix):
            return f"postgresql+asyncpg://{url.removeprefix(prefix)}"
    return url


def read_address(data_dir: Path) -> str:
    """The URL under which the appliance was last served; "" when it never was."""
    try:
        return (data_dir / ADDRESS_FILE).read_text("utf-8").strip()
    except FileNotFoundError:
        return ""


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
