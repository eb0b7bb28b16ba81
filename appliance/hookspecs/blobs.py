"""Where blobs live: replay segments and artifacts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable

from msgspec import Struct


class BlobInfo(Struct, frozen=True, kw_only=True):
    """A stored blob."""

    key: str
    size: int
    sha256: str  # hex


class BlobStore(ABC):
    """Bytes by key. A key is `kind/project_id/YYYY-MM-DD/name`, of [a-z0-9._-] segments, and chosen by the core."""

    @abstractmethod
    async def put(self, key: str, body: bytes) -> BlobInfo:
        """Store durably and atomically; the same key twice replaces."""

    @abstractmethod
    async def get(self, key: str, sha256: str = "") -> bytes:
        """Read; raises KeyError when absent and `EventStoreError` when the bytes do not match `sha256`."""

    @abstractmethod
    async def delete(self, key: str) -> None:
        """Remove; absent is fine."""

    @abstractmethod
    def list(self, prefix: str) -> AsyncIterator[BlobInfo]:
        """All blobs below a prefix; `sha256` may be "" here."""


BlobStoreFactory = Callable[[], BlobStore]
