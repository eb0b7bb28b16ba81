"""What lies where in the installation's directory on the host, and writing there so that a kill leaves old or new."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from msgspec import Struct

from appliance.data_dir import sync_directory

DEFAULT_DIR: Final = Path("/opt/condev")
CONFIG_FILE: Final = "config.toml"
COMPOSE_FILE: Final = "compose.yaml"
# The name that `docker compose` adds by itself: typed by hand in the directory, it means the same stack as ours does.
OVERRIDE_FILE: Final = "compose.override.yaml"
PLUGINS: Final = "plugins"


class ApplyError(Exception):
    """A step could not be done; the text says what and what to do next."""


class BusyError(ApplyError):
    """Another `condev apply` is at work on this directory."""


class Installation(Struct, frozen=True):
    """One directory with a stack in it."""

    root: Path

    @property
    def config(self) -> Path:
        """The person's file."""
        return self.root / CONFIG_FILE

    @property
    def env(self) -> Path:
        """Secrets and the person's own variables; written once."""
        return self.root / ".env"

    @property
    def compose(self) -> Path:
        """What runs."""
        return self.root / COMPOSE_FILE

    @property
    def plugins(self) -> Path:
        """Third-party plugins, mounted into the services."""
        return self.root / PLUGINS

    @property
    def releases(self) -> Path:
        """A directory a release, with its journal."""
        return self.root / "releases"

    @property
    def backups(self) -> Path:
        """Where backups before an upgrade go."""
        return self.root / "backups"

    @property
    def data(self) -> Path:
        """The appliance's data directory."""
        return self.root / "data"

    @property
    def keep_spool(self) -> Path:
        """While it is there, the pipeline keeps finished segments (`appliance.pipeline.pipeline.KEEP_SPOOL_FILE`)."""
        return self.data / "keep-spool"

    @contextmanager
    def locked(self) -> Generator[None]:
        """For one `apply`, `upgrade` or `rollback` at a time; the kernel gives the lock back when the holder dies.

        Raises:
            BusyError: another holds it.
        """
        self.releases.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(self.releases / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise BusyError(f"another `condev apply` is at work in {self.root}: wait until it has ended") from error
            yield
        finally:
            os.close(lock)


def write_file(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Put a whole, durable file in place of whatever is there. Its draft has one name, so that a kill leaves one."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def replace_tree(source: Path, target: Path) -> None:
    """Make `target` the same as the directory `source`, by names for the same files: it takes no room.

    A kill may leave `target` missing, never mixed; the journal says that it has to be put again.

    Args:
        source: a directory on the same file system; None of its files is ever written again.
        target: replaced.
    """
    fresh, old = tidy_tree(target)
    shutil.copytree(source, fresh, copy_function=_link_or_copy, symlinks=True)
    with contextlib.suppress(FileNotFoundError):
        target.rename(old)
    fresh.rename(target)
    sync_directory(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def tidy_tree(target: Path) -> tuple[Path, Path]:
    """Remove what a killed `replace_tree` left beside `target`; the two names that it uses there."""
    fresh, old = target.with_name(f".{target.name}.new"), target.with_name(f".{target.name}.old")
    for left in (fresh, old):
        shutil.rmtree(left, ignore_errors=True)
    return fresh, old


def size_of(place: Path) -> int:
    """Bytes of a file, or of all files below a directory; 0 when there is none."""
    total = place.lstat().st_size if place.is_file() else 0
    for folder, _, names in os.walk(place):
        for name in names:
            try:
                total += (Path(folder) / name).lstat().st_size
            except OSError:  # gone meanwhile: stores merge and drop
                continue
    return total


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:  # another file system, or one without hard links
        shutil.copy2(source, target, follow_symlinks=False)
