"""The conformance suite for blob stores: subclass `BlobStoreSuite`, give it a fixture `blobs`, and pytest runs it."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Final

import pytest

from appliance.hookspecs import BlobStore, EventStoreError

KEY: Final = "replays/1/2027-01-15/0a1b-000001"
# Keys that lead elsewhere, or that some file system or object store reads in its own way.
BAD_KEYS: Final = (
    "", "/", "name", "replays/1/2027-01-15", f"{KEY}/more", f"/{KEY}", f"{KEY}/", f"../{KEY}",
    "replays/../../etc/passwd", "replays/1/2027-01-15/..", "replays/1/2027-01-15/.", "replays/1/../x",
    "./1/2027-01-15/x",
    "replays/1/2027-01-15/.hidden", "replays/one/2027-01-15/x", "replays/1/yesterday/x", "replays//2027-01-15/x",
    "Replays/1/2027-01-15/x", "replays/1/2027-01-15/x y", "replays/1/2027-01-15/x\x00", "replays/1/2027-01-15/x\n",
    "replays\\1\\2027-01-15\\x", "replays/1/2027-01-15/\u00e9", "replays/\u0661/2027-01-15/x",
    "replays/1/2027-01-15/" + "x" * 400,
)  # fmt: skip
BAD_PREFIXES: Final = ("../", "replays/../", "/etc", "replays/.hidden", "replays//1", "replays/1\x00")


async def keys(blobs: BlobStore, prefix: str) -> list[str]:
    """The keys below a prefix."""
    return [info.key async for info in blobs.list(prefix)]


class BlobStoreSuite:
    """All of the contract. Each test begins with an empty store."""

    async def test_bytes_come_back_as_they_were_put(self, blobs: BlobStore) -> None:
        body = bytes(range(256)) * 1_000
        info = await blobs.put(KEY, body)
        assert (info.key, info.size, info.sha256) == (KEY, 256_000, hashlib.sha256(body).hexdigest())
        assert await blobs.get(KEY) == body
        assert await blobs.get(KEY, info.sha256) == body

    async def test_an_empty_blob_is_a_blob(self, blobs: BlobStore) -> None:
        await blobs.put(KEY, b"")
        assert await blobs.get(KEY) == b""
        assert await keys(blobs, "") == [KEY]

    async def test_the_same_key_again_replaces(self, blobs: BlobStore) -> None:
        await blobs.put(KEY, b"first, and longer")
        await blobs.put(KEY, b"second")
        assert await blobs.get(KEY) == b"second"
        assert await keys(blobs, "") == [KEY]

    async def test_an_absent_blob_is_a_key_error(self, blobs: BlobStore) -> None:
        with pytest.raises(KeyError):
            await blobs.get(KEY)
        await blobs.put(KEY, b"x")
        with pytest.raises(KeyError):
            await blobs.get("replays/2/2027-01-15/0a1b-000001")

    async def test_bytes_that_do_not_match_their_checksum_are_not_given(self, blobs: BlobStore) -> None:
        await blobs.put(KEY, b"x")
        with pytest.raises(EventStoreError, match="SHA-256"):
            await blobs.get(KEY, hashlib.sha256(b"y").hexdigest())
        with pytest.raises(EventStoreError, match="SHA-256"):
            await blobs.get(KEY, "short")

    async def test_deleting_removes_and_may_be_done_twice(self, blobs: BlobStore) -> None:
        await blobs.put(KEY, b"x")
        await blobs.delete(KEY)
        await blobs.delete(KEY)
        with pytest.raises(KeyError):
            await blobs.get(KEY)
        assert await keys(blobs, "") == []
        await blobs.put(KEY, b"again")
        assert await blobs.get(KEY) == b"again"

    async def test_blobs_are_listed_by_prefix_in_order(self, blobs: BlobStore) -> None:
        names = [
            "artifacts/1/2027-01-15/a", "replays/1/2027-01-14/b", "replays/1/2027-01-15/a", "replays/1/2027-01-15/b",
            "replays/10/2027-01-15/c",
        ]  # fmt: skip
        for name in reversed(names):
            await blobs.put(name, name.encode())
        assert await keys(blobs, "") == names
        assert await keys(blobs, "replays/1/") == names[1:4]
        assert await keys(blobs, "replays/1") == names[1:]
        assert await keys(blobs, "replays/1/2027-01-15/b") == names[3:4]
        assert await keys(blobs, "none/") == []
        assert [info.size async for info in blobs.list("artifacts/")] == [len(names[0])]

    @pytest.mark.parametrize("key", BAD_KEYS)
    async def test_a_key_that_could_lead_elsewhere_is_a_mistake(self, blobs: BlobStore, key: str) -> None:
        for call in (blobs.put(key, b"x"), blobs.get(key), blobs.delete(key)):
            with pytest.raises(ValueError, match="key"):
                await call
        assert await keys(blobs, "") == []

    @pytest.mark.parametrize("prefix", BAD_PREFIXES)
    async def test_a_prefix_that_could_lead_elsewhere_is_a_mistake(self, blobs: BlobStore, prefix: str) -> None:
        with pytest.raises(ValueError, match="prefix"):
            await keys(blobs, prefix)

    async def test_many_at_once_do_not_disturb_each_other(self, blobs: BlobStore) -> None:
        names = [f"replays/1/2027-01-15/{n:04d}" for n in range(50)]
        await asyncio.gather(*(blobs.put(name, name.encode()) for name in names))
        await asyncio.gather(*(blobs.put(names[0], bytes([n]) * 1_000) for n in range(20)))
        assert len(set(await blobs.get(names[0]))) == 1
        found = await asyncio.gather(*(blobs.get(name) for name in names[1:]))
        assert found == [name.encode() for name in names[1:]]
