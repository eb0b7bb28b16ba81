"""What stands first in a backup, in clear: where it comes from and how much there must be; and the sums at its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from typing import Final

import msgspec
from msgspec import Struct, field

from appliance.deploy.backup.archive import ArchiveReader, BackupError, Frame, Source, read_beginning
from appliance.model import JsonObject

FORMAT: Final = 1

# Kinds of frames, in the order in which they come.
CONFIG, SECRETS, METADATA, STORE, SPOOL, FILE, BLOB, END = (
    "config", "secrets", "metadata", "store", "spool", "file", "blob", "end",
)  # fmt: skip


class MetadataPart(Struct, frozen=True, kw_only=True):
    """Projects, issues, accounts."""

    backend: str  # sqlite, postgresql; either can be restored into the other
    revision: str
    tables: dict[str, int]  # rows


class StorePart(Struct, frozen=True, kw_only=True):
    """Events."""

    backend: str  # the plugin's name in [storage] backend
    description: JsonObject  # the plugin's own; given back to it
    tables: dict[str, int]  # rows


class SpoolPart(Struct, frozen=True, kw_only=True):
    """What was accepted and not applied yet."""

    epoch: int
    highest: int
    segment: int
    offset: int
    next_sequence: int
    files: list[int] = field(default_factory=list[int])  # numbers of the segments that are here


class Manifest(Struct, frozen=True, kw_only=True):
    """The beginning of a backup."""

    format: int
    version: str  # of the appliance that made it
    created_at: int  # µs; the moment at which everything in it is true
    encrypted: bool
    with_secrets: bool
    pause_seconds: float  # for how long the pipeline stood still
    metadata: MetadataPart
    store: StorePart
    spool: SpoolPart | None  # None: nothing was ever accepted


class Totals(Struct, frozen=True, kw_only=True):
    """The end of a backup: what was really written."""

    rows: dict[str, int]  # by "kind/name", of tables
    things: dict[str, int]  # by kind: blobs, files, segments
    bytes: int  # of content


class Tally:
    """Counts what goes by, on both ways."""

    def __init__(self) -> None:
        self._rows: Counter[str] = Counter()
        self._things: Counter[str] = Counter()
        self._bytes = 0

    def add(self, frame: Frame) -> None:
        """Count a frame."""
        self._bytes += len(frame.data)
        if frame.kind in (METADATA, STORE):
            self._rows[f"{frame.kind}/{frame.name}"] += frame.rows
        elif not frame.more:
            self._things[frame.kind] += 1

    def totals(self) -> Totals:
        """The sums."""
        rows = {name: count for name, count in sorted(self._rows.items()) if count}
        return Totals(rows=rows, things=dict(sorted(self._things.items())), bytes=self._bytes)


def encode(manifest: Manifest) -> bytes:
    """As it stands in the file: people may look at it with `strings`."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=1)


def decode(raw: bytes) -> Manifest:
    """Raises `BackupError` for what a newer version wrote."""
    try:
        manifest = msgspec.json.decode(raw, type=Manifest)
    except msgspec.MsgspecError as error:
        raise BackupError(
            f"the backup's manifest cannot be read by this version ({error}): install a newer one"
        ) from None
    if manifest.format != FORMAT:
        raise BackupError(
            f"the backup has format {manifest.format}, this version reads {FORMAT}: install the version that made it "
            f"({manifest.version}) or a newer one"
        )
    return manifest


async def peek(source: Source) -> Manifest:
    """The manifest alone, without the passphrase; nothing says yet that the rest is whole."""
    return decode((await read_beginning(source))[2])


async def checked(reader: ArchiveReader, manifest: Manifest) -> AsyncIterator[Frame]:
    """All frames but the last, whose sums must be those that went by and those that the manifest promised.

    Raises:
        BackupError: they are not, at the end; or the file is damaged.
    """
    tally = Tally()
    end: Frame | None = None
    async for frame in reader.frames():
        if end is not None:
            raise BackupError("something stands behind the end of the backup; use another")
        if frame.kind == END:
            end = frame
            continue
        tally.add(frame)
        yield frame
    if end is None:
        raise BackupError("the backup was not written to its end; use another")
    totals = tally.totals()
    if totals != msgspec.json.decode(end.data, type=Totals):
        raise BackupError("the sums at the backup's end are not those of what is in it; use another")
    promised = {f"{METADATA}/{name}": rows for name, rows in manifest.metadata.tables.items() if rows}
    promised |= {f"{STORE}/{name}": rows for name, rows in manifest.store.tables.items() if rows}
    if promised != totals.rows:
        wrong = min(promised.items() ^ totals.rows.items())[0]
        raise BackupError(f"the backup has not as many rows of {wrong} as its manifest says; use another")
