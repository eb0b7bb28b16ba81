"""Blobs in a directory: the common suite, and what is particular to files."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from appliance.hookspecs import StoreUnavailableError
from appliance.testing.blob_store import KEY, BlobStoreSuite
from condev_plugins.local_blobs import LocalBlobs


@pytest.fixture
def blobs(tmp_path: Path) -> LocalBlobs:
    return LocalBlobs(tmp_path / "data" / "blobs")


class TestLocalBlobs(BlobStoreSuite):
    pass


async def test_only_the_owner_can_read_them(blobs: LocalBlobs, tmp_path: Path) -> None:
    await blobs.put(KEY, b"x")
    path = tmp_path / "data" / "blobs" / KEY
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert all(stat.S_IMODE(folder.stat().st_mode) == 0o700 for folder in path.parents[:4])


async def test_what_a_crash_left_half_written_is_swept_and_never_listed(blobs: LocalBlobs, tmp_path: Path) -> None:
    incoming = tmp_path / "data" / "blobs" / ".incoming"
    incoming.mkdir(parents=True)
    (incoming / "left").write_bytes(b"half")
    assert [info async for info in blobs.list("")] == []
    await blobs.put(KEY, b"x")
    assert list(incoming.iterdir()) == []


async def test_a_write_that_fails_leaves_the_old_blob(
    blobs: LocalBlobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await blobs.put(KEY, b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StoreUnavailableError, match="free some space"):
            await blobs.put(KEY, b"new")
    assert await blobs.get(KEY) == b"old"
    assert list((tmp_path / "data" / "blobs" / ".incoming").iterdir()) == []


async def test_every_new_name_is_synced_before_put_returns(
    blobs: LocalBlobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    real = os.fsync

    def record(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    await blobs.put(KEY, b"x")
    root = tmp_path / "data" / "blobs"
    file, folder = (
        next(i for i, name in enumerate(synced) if ".incoming/" in name),
        synced.index(str((root / KEY).parent)),
    )
    assert file < folder
    assert {str(root), str(root / "replays"), str(root / "replays/1")} <= set(synced)


async def test_deleting_the_last_blob_of_a_day_removes_its_directory(blobs: LocalBlobs, tmp_path: Path) -> None:
    await blobs.put(KEY, b"x")
    await blobs.delete(KEY)
    assert [path.name for path in (tmp_path / "data" / "blobs").iterdir()] == [".incoming"]
