"""Blobs (replay segments, uploaded source maps) as files below the data directory, by kind, project and day.

A file appears under its name whole and durable, or not at all. It knows nothing of what the bytes mean.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import hmac
import os
import re
import secrets
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from appliance.hookspecs import (
    BlobInfo,
    BlobStore,
    BlobStoreFactory,
    EventStoreError,
    PluginContext,
    PluginInfo,
    StoreUnavailableError,
    hookimpl,
)

T = TypeVar("T")

plugin = PluginInfo(name="local_blobs", version="1.0.0", summary="Blobs in the data directory.")

_SEGMENT: Final = r"[a-z0-9][a-z0-9._-]*"
# kind/project_id/YYYY-MM-DD/name; no segment begins with a dot, so none is hidden or leads upwards.
_KEY: Final = re.compile(rf"{_SEGMENT}/[0-9]{{1,20}}/[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}/{_SEGMENT}", re.ASCII)
_PREFIX: Final = re.compile(r"([a-z0-9][a-z0-9._-]*/?)*", re.ASCII)
MAX_SEGMENT: Final = 200  # file systems take 255 bytes
MAX_KEY: Final = 500
_INCOMING: Final = ".incoming"  # where files are written before they get their name; no key leads there


class LocalBlobs(BlobStore):
    """A directory as a blob store."""

    def __init__(self, root: Path) -> None:
        """Args: root: made when first written to, mode 0700."""
        self._root = root
        self._sweeping = threading.Lock()
        self._swept = False

    async def put(self, key: str, body: bytes) -> BlobInfo:
        """Store durably and atomically.

        Raises:
            ValueError: the key is not one.
            StoreUnavailableError: the disk is full or fails.
        """
        path = self._path(key)
        return await _in_thread(f"writing {key}", lambda: self._put(key, path, body))

    async def get(self, key: str, sha256: str = "") -> bytes:
        """Read. Raises `KeyError` when absent, `EventStoreError` when the bytes do not match `sha256`."""
        path = self._path(key)
        try:
            body = await _in_thread(f"reading {key}", path.read_bytes)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise KeyError(key) from error
        if sha256:
            found = await asyncio.to_thread(_digest, body)
            if not hmac.compare_digest(found, sha256.lower()):
                raise EventStoreError(
                    f"Blob {key} is not what was stored (SHA-256 {found} instead of {sha256}): "
                    "the disk or somebody changed it. Restore it from a backup, or delete it."
                )
        return body

    async def delete(self, key: str) -> None:
        """Remove; absent is fine."""
        path = self._path(key)
        await _in_thread(f"deleting {key}", lambda: self._delete(path))

    async def list(self, prefix: str) -> AsyncIterator[BlobInfo]:
        """All blobs whose key begins with `prefix`, by key; `sha256` is left "": that would read them all."""
        if len(prefix) > MAX_KEY or not _PREFIX.fullmatch(prefix):
            raise ValueError(f"a prefix of blob keys is made of [a-z0-9._-] segments, not {prefix[:80]!r}")
        start = self._root / prefix.rpartition("/")[0]
        # One directory at a time: a project may have a million segments.
        pending = [start]
        while pending:
            files, folders = await _in_thread(f"listing {prefix}", partial(_entries, pending.pop()))
            pending.extend(reversed(folders))
            for path, size in files:
                key = path.relative_to(self._root).as_posix()
                if key.startswith(prefix) and _KEY.fullmatch(key):
                    yield BlobInfo(key=key, size=size, sha256="")

    def _path(self, key: str) -> Path:
        if len(key) > MAX_KEY or not _KEY.fullmatch(key) or any(len(part) > MAX_SEGMENT for part in key.split("/")):
            raise ValueError(f"a blob's key is kind/project_id/YYYY-MM-DD/name of [a-z0-9._-], not {key[:80]!r}")
        return self._root / key

    def _put(self, key: str, path: Path, body: bytes) -> BlobInfo:
        incoming = self._root / _INCOMING
        _make_durable_directory(incoming, self._root)
        with self._sweeping:  # once, before the first file of ours is in there
            if not self._swept:
                _sweep(incoming)
                self._swept = True
        _make_durable_directory(path.parent, self._root)
        temporary = incoming / secrets.token_hex(16)
        try:
            _write_synced(temporary, body)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_directory(path.parent)
        return BlobInfo(key=key, size=len(body), sha256=_digest(body))

    def _delete(self, path: Path) -> None:
        try:
            path.unlink()
        except (FileNotFoundError, NotADirectoryError):
            return
        for folder in path.parents:
            if folder == self._root:
                break
            try:
                folder.rmdir()
            except OSError:  # not empty
                break


async def _in_thread(doing: str, work: Callable[[], T]) -> T:
    try:
        return await asyncio.to_thread(work)
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        advice = "free some space" if error.errno in {errno.ENOSPC, errno.EDQUOT} else "look at the disk and its rights"
        raise StoreUnavailableError(f"The blob directory failed while {doing} ({error}): {advice}.") from error


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def _entries(folder: Path) -> tuple[list[tuple[Path, int]], list[Path]]:
    """(files with their sizes, folders) in order of names; a folder that went away is empty."""
    files: list[tuple[Path, int]] = []
    folders: list[Path] = []
    try:
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.append(Path(entry.path))
                elif entry.is_file(follow_symlinks=False):
                    files.append((Path(entry.path), entry.stat(follow_symlinks=False).st_size))
    except (FileNotFoundError, NotADirectoryError):
        return [], []
    return files, folders


def _write_synced(path: Path, body: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())


def _make_durable_directory(path: Path, root: Path) -> None:
    """Make a directory so that it is still there after a power cut: each new name is synced in its parent."""
    if path.is_dir():
        return
    if path != root:
        _make_durable_directory(path.parent, root)
        path.mkdir(mode=0o700, exist_ok=True)
    else:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sweep(incoming: Path) -> None:
    """Remove what a crash left half written; only one process writes here."""
    for left in incoming.iterdir():
        left.unlink(missing_ok=True)


@hookimpl
def register_blob_stores(context: PluginContext) -> Mapping[str, BlobStoreFactory]:
    """`[storage] blobs = "local"`."""
    return {"local": lambda: LocalBlobs(context.data_root / "blobs")}
