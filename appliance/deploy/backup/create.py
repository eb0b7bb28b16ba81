"""Making a backup while everything runs, and reading one to see that it is whole.

The pipeline stands still only while both stores are taken hold of: a read transaction of the metadata, hard links of
the events' files, open files of the spool. It goes on before the first byte is written.
"""

from __future__ import annotations

import asyncio
import fcntl
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import IO, Final

import msgspec
from msgspec import Struct

from appliance import __version__
from appliance.config import Config
from appliance.deploy.backup import manifest as manifests
from appliance.deploy.backup import own_secrets
from appliance.deploy.backup.archive import (
    ArchiveReader,
    ArchiveWriter,
    BackupError,
    Frame,
    PartFile,
    Sink,
    file_source,
)
from appliance.deploy.backup.files import Held, cursor
from appliance.deploy.backup.manifest import (
    BLOB,
    CONFIG,
    END,
    METADATA,
    SECRETS,
    STORE,
    Manifest,
    MetadataPart,
    StorePart,
    Tally,
)
from appliance.deploy.backup.metadata_rows import MetadataSnapshot
from appliance.hookspecs import BlobStore, Clock, EventStore, EventStoreError, StoreExport
from appliance.metadata.database import Database
from appliance.secret import Secret

LOCK_FILE: Final = "backup.lock"


class Parts(Struct, kw_only=True):
    """What is backed up, open."""

    config: Config
    data_dir: Path
    database: Database
    store: EventStore
    blobs: BlobStore
    clock: Clock
    # Entered, the pipeline stands between two batches; raises an error whose text says why it could not.
    pause: Callable[[], AbstractAsyncContextManager[object]]


async def create(parts: Parts, target: Path, passphrase: Secret | None) -> Manifest:
    """Write a backup to a file, which gets its name only when it is whole and on disk.

    Args:
        parts: what to back up.
        target: must not exist.
        passphrase: seals it; without one the secrets are left out, and whoever has the file can read it.

    Raises:
        BackupError: it could not be made; nothing is left of it.
    """
    async with PartFile(target) as file:
        manifest = await write(parts, file.write, passphrase)
        await file.keep()
    return manifest


async def write(parts: Parts, sink: Sink, passphrase: Secret | None) -> Manifest:
    """Write a backup to a sink, front to back, with a few MiB in memory.

    Raises:
        BackupError: as `create`; what the sink got is no backup then.
    """
    async with AsyncExitStack() as stack:
        stack.callback(take_lock(parts.data_dir).close)
        try:
            snapshot, export, held, pause_seconds = await stack.enter_async_context(_taken(parts))
            manifest = Manifest(
                format=manifests.FORMAT,
                version=__version__,
                created_at=parts.clock.now(),
                encrypted=passphrase is not None,
                with_secrets=passphrase is not None,
                pause_seconds=round(pause_seconds, 3),
                metadata=MetadataPart(
                    backend=snapshot.backend, revision=snapshot.revision, tables=await snapshot.count()
                ),
                store=StorePart(
                    backend=parts.config.storage.backend, description=export.description, tables=dict(export.rows)
                ),
                spool=held.spool,
            )
            tally = Tally()
            writer = await ArchiveWriter.begin(sink, manifests.encode(manifest), passphrase, tally.add)
            await _write_parts(writer, parts, snapshot, export, held, with_secrets=passphrase is not None)
            await writer.finish(Frame(END, "", msgspec.json.encode(tally.totals())))
        except (EventStoreError, OSError) as error:
            raise BackupError(f"the backup could not be made: {error}") from error
    return manifest


async def verify(path: Path, passphrase: Secret | None) -> Manifest:
    """Read a whole backup and compare every sum and count.

    Raises:
        BackupError: it is not whole, or cannot be read with this passphrase.
    """
    with open_backup(path) as file:
        reader = await ArchiveReader.open(file_source(file), passphrase)
        manifest = manifests.decode(reader.manifest)
        async for _ in manifests.checked(reader, manifest):
            pass
    return manifest


def open_backup(path: Path) -> IO[bytes]:
    """Raises `BackupError` instead of `OSError`."""
    try:
        return path.open("rb")
    except OSError as error:
        raise BackupError(f"{path} cannot be read: {error.strerror}") from error


@asynccontextmanager
async def _taken(parts: Parts) -> AsyncGenerator[tuple[MetadataSnapshot, StoreExport, Held, float]]:
    """Both stores and the files at one moment; the pipeline goes on as soon as they are held."""
    async with AsyncExitStack() as stack:
        held = Held(parts.data_dir)
        stack.callback(held.close)
        async with parts.pause():
            began = time.monotonic()
            snapshot = await stack.enter_async_context(MetadataSnapshot(parts.database))
            export = await parts.store.export()
            stack.push_async_callback(export.close)
            epoch, after = await cursor(parts.database, parts.data_dir)
            await asyncio.to_thread(held.take, epoch, after)
            pause_seconds = time.monotonic() - began
        yield snapshot, export, held, pause_seconds


async def _write_parts(
    writer: ArchiveWriter,
    parts: Parts,
    snapshot: MetadataSnapshot,
    export: StoreExport,
    held: Held,
    *,
    with_secrets: bool,
) -> None:
    await writer.put(CONFIG, "config.toml", own_secrets.config_text(parts.config))
    if with_secrets:
        await writer.put(SECRETS, "secrets", own_secrets.collect(parts.config))
    async for table, rows, data in snapshot.rows():
        await writer.put(METADATA, table, data, rows)
    await snapshot.close()  # while it is held, a write-ahead log only grows, and what follows may take hours
    async for chunk in export.chunks():
        await writer.put(STORE, chunk.table, chunk.body, chunk.rows)
    await export.close()  # what it holds on disk is given back before the blobs, which may be many
    await held.write(writer)
    async for blob in parts.blobs.list(""):
        try:
            body = await parts.blobs.get(blob.key)
        except KeyError:  # its day was dropped meanwhile
            continue
        await writer.put(BLOB, blob.key, body)


def take_lock(data_dir: Path) -> IO[bytes]:
    """One backup or restore of a data directory at a time; closing the file gives it back."""
    file = (data_dir / LOCK_FILE).open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise BackupError("another backup or restore of this data directory runs: wait until it is done") from None
    return file
