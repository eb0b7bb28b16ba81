"""Putting a backup back: onto an empty data directory, or over what is there; on a host of any size.

The whole file is read and checked before anything is touched. While a restore is under way a marker lies in the data
directory, and `condev serve` refuses to start on it: half a restore must not look like an appliance.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from msgspec import Struct, field

from appliance.config import Config
from appliance.data_dir import RESTORE_MARKER
from appliance.deploy.backup import manifest as manifests
from appliance.deploy.backup import own_secrets
from appliance.deploy.backup.archive import ArchiveReader, BackupError, Frame, file_source
from appliance.deploy.backup.create import open_backup, take_lock, verify
from appliance.deploy.backup.files import FilePutter, holds_files, remove_files, spool_is_used, sweep
from appliance.deploy.backup.manifest import BLOB, CONFIG, FILE, METADATA, SECRETS, SPOOL, STORE, Manifest
from appliance.deploy.backup.metadata_rows import MetadataLoader, check_revision, holds_anything
from appliance.hookspecs import BlobStore, EventStore, EventStoreError, StoreChunk
from appliance.metadata.database import Database
from appliance.metadata.migrate import migrate, tell_older_versions
from appliance.secret import Secret

MAX_THING_BYTES: Final = 128 * 1024 * 1024  # of a chunk or a blob, put together; the largest that we write is 20 MiB


class Target(Struct, kw_only=True):
    """Where a backup is put; nothing open yet."""

    config: Config
    data_dir: Path
    database: Database
    store: EventStore
    blobs: BlobStore


class Restored(Struct, frozen=True, kw_only=True):
    """What was done."""

    manifest: Manifest
    left: list[Path] = field(default_factory=list[Path])  # config.toml and secrets of the backup, to be looked at


async def restore(path: Path, target: Target, passphrase: Secret | None, *, replace: bool = False) -> Restored:
    """Put a backup back.

    Args:
        path: the backup.
        target: where; no process uses it.
        passphrase: of the backup.
        replace: put it over what is there.

    Raises:
        BackupError: it cannot be restored here; before the checks are done, nothing has changed. Interrupted later,
            it must be done again with `replace`.
    """
    manifest = await verify(path, passphrase)
    check_revision(manifest.metadata.revision)
    if manifest.store.backend != target.config.storage.backend:
        raise BackupError(
            f"the backup's events are of the storage backend {manifest.store.backend!r}, this appliance has "
            f"{target.config.storage.backend!r}: set [storage] backend to the former"
        )
    marker = target.data_dir / RESTORE_MARKER
    async with AsyncExitStack() as stack:
        stack.callback(take_lock(target.data_dir).close)
        if spool_is_used(target.data_dir):
            raise BackupError("an ingest process uses this data directory: stop it first")
        try:
            stack.push_async_callback(target.store.close)
            await target.store.open()
            await _check_room(target, replace=replace or marker.exists())
            marker.write_text(f"{path}\n", "utf-8")
            left = await _put_back(path, target, passphrase)
            await migrate(target.database, target.data_dir)  # from the backup's schema to this version's
            tell_older_versions(target.data_dir)
            marker.unlink()
        except (EventStoreError, OSError) as error:
            raise BackupError(f"the backup could not be restored: {error}") from error
    return Restored(manifest=manifest, left=left)


async def _check_room(target: Target, *, replace: bool) -> None:
    """Raise unless nothing is there, or it may go."""
    if replace:
        return
    stats = await target.store.stats()
    found = [
        name
        for name, there in (
            ("metadata", await holds_anything(target.database)),
            ("events", any(table.rows for table in stats.tables)),
            ("files", holds_files(target.data_dir)),
            ("blobs", await anext(aiter(target.blobs.list("")), None) is not None),
        )
        if there
    ]
    if found:
        raise BackupError(
            f"there is something here already ({', '.join(found)}): restore into an empty data directory, "
            "or say --replace to lose what is here"
        )


async def _put_back(path: Path, target: Target, passphrase: Secret | None) -> list[Path]:
    await asyncio.to_thread(sweep, target.data_dir)
    await asyncio.to_thread(remove_files, target.data_dir)
    async for blob in target.blobs.list(""):
        await target.blobs.delete(blob.key)
    with open_backup(path) as file:
        reader = await ArchiveReader.open(file_source(file), passphrase)
        manifest = manifests.decode(reader.manifest)
        return await _Restoring(target, manifest, manifests.checked(reader, manifest)).run()


class _Restoring:
    """Goes through the frames in their order."""

    def __init__(self, target: Target, manifest: Manifest, frames: AsyncIterator[Frame]) -> None:
        self._target = target
        self._manifest = manifest
        self._frames = frames
        self._next: Frame | None = None  # looked at, and not of the kind that was wanted
        self._config = b""
        self._secrets = b""

    async def run(self) -> list[Path]:
        async for whole in self._of(CONFIG, SECRETS):
            if whole.kind == CONFIG:
                self._config = whole.data
            else:
                self._secrets = whole.data
        async with MetadataLoader(self._target.database, self._manifest.metadata.revision) as loader:
            async for whole in self._of(METADATA):
                await loader.add(whole.name, whole.data)
        await self._target.store.load(self._manifest.store.description, self._chunks())
        putter = FilePutter(self._target.data_dir, self._manifest.spool)
        async for frame in self._pieces(SPOOL, FILE):
            await asyncio.to_thread(putter.put, frame)
        await asyncio.to_thread(putter.finish)
        async for whole in self._of(BLOB):
            await self._target.blobs.put(whole.name, whole.data)
        async for frame in self._frames:  # its end compares the sums
            raise BackupError(f"the backup has something that this version does not know ({frame.kind!r})")
        if self._next is not None:
            raise BackupError(f"the backup has something that this version does not know ({self._next.kind!r})")
        return await asyncio.to_thread(own_secrets.leave, self._target.data_dir, self._config, self._secrets)

    async def _chunks(self) -> AsyncIterator[StoreChunk]:
        async for whole in self._of(STORE):
            yield StoreChunk(table=whole.name, rows=whole.rows, body=whole.data)

    async def _pieces(self, *kinds: str) -> AsyncIterator[Frame]:
        while True:
            frame, self._next = self._next, None
            if frame is None:
                frame = await anext(self._frames, None)
            if frame is None:
                return
            if frame.kind not in kinds:
                self._next = frame
                return
            yield frame

    async def _of(self, *kinds: str) -> AsyncIterator[Frame]:
        """Whole things of some kinds, put together from their pieces."""
        pieces: list[bytes] = []
        async for frame in self._pieces(*kinds):
            pieces.append(frame.data)
            if sum(map(len, pieces)) > MAX_THING_BYTES:
                raise BackupError(f"the backup has a {frame.kind} larger than any that we write: do not trust it")
            if not frame.more:
                yield Frame(frame.kind, frame.name, b"".join(pieces), frame.rows)
                pieces.clear()
