"""The backup file's own format: one stream of sealed frames, written and read front to back in bounded memory.

    magic | salt | key | length and text of the manifest | frames, each: length and sealed bytes

Every frame is compressed and sealed with AES-GCM. The nonce counts frames and marks the last one, and the whole
beginning of the file is authenticated with each: a frame that is changed, moved, left out or cut off is noticed. With a
passphrase the key comes from it (scrypt); without one a random key stands in the file, and the seal is only a checksum.
The format knows nothing of what the frames mean.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Final

import msgspec
from backports import zstd
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import Struct

from appliance.data_dir import sync_directory
from appliance.secret import Secret

MIB: Final = 1024 * 1024
MAGIC: Final = b"CNDVBAK1"
SALT_BYTES: Final = 16
KEY_BYTES: Final = 32
PIECE_BYTES: Final = MIB  # of one frame, before compression; a few of these are all that is in memory
MAX_FRAME_BYTES: Final = 2 * MIB  # sealed; text that does not compress grows a little
MAX_MANIFEST_BYTES: Final = MIB
LEVEL: Final = 3  # zstd's own default: 300 MB/s on a small VPS; 9 saved 4 % and took four times as long
# 32 MB and 0.3 s: OWASP's parameters for machines on which 128 MB would be felt. Never read from a file.
SCRYPT_N, SCRYPT_R, SCRYPT_P = 2**15, 8, 3
SCRYPT_MEMORY: Final = 64 * MIB
_LENGTH: Final = struct.Struct("<I")
_NONCE: Final = struct.Struct("<QHB?")

Sink = Callable[[bytes], Awaitable[None]]
Source = Callable[[int], Awaitable[bytes]]


class BackupError(Exception):
    """It cannot be done; the text says why, and what to do."""


class Frame(Struct, array_like=True, frozen=True):
    """A piece of something: `kind` and `name` say of what, `more` that its next piece follows."""

    kind: str
    name: str
    data: bytes
    rows: int = 0  # that the whole thing has; said with its last piece
    more: bool = False


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Frame)


class _Seal:
    """Seals or opens frames in their order."""

    def __init__(self, key: bytes, beginning: bytes) -> None:
        self._cipher = AESGCM(key)
        self._context = hashlib.sha256(beginning).digest()
        self._count = 0

    def close(self, frame: bytes, last: bool) -> bytes:
        return self._cipher.encrypt(self._nonce(last), zstd.compress(frame, LEVEL), self._context)

    def open(self, sealed: bytes, last: bool) -> bytes:
        plain = self._cipher.decrypt(self._nonce(last), sealed, self._context)
        out = zstd.ZstdDecompressor().decompress(plain, MAX_FRAME_BYTES + 1)
        if len(out) > MAX_FRAME_BYTES:
            raise BackupError("a frame is larger than any that we write: this is no backup of ours")
        return out

    def _nonce(self, last: bool) -> bytes:
        self._count += 1
        return _NONCE.pack(self._count, 0, 0, last)


class ArchiveWriter:
    """Writes one backup to a sink. `put` in order, then `finish`; nothing before `finish` is a whole backup."""

    def __init__(self, sink: Sink, seal: _Seal, observe: Callable[[Frame], None]) -> None:
        """Not for callers: `begin` writes what comes first."""
        self._sink = sink
        self._seal = seal
        self._observe = observe
        self.bytes = 0

    @classmethod
    async def begin(
        cls, sink: Sink, manifest: bytes, passphrase: Secret | None, observe: Callable[[Frame], None] = lambda _: None
    ) -> ArchiveWriter:
        """Write the beginning.

        Args:
            sink: takes bytes in order; what it raises ends the backup.
            manifest: stands in the file in clear.
            passphrase: seals everything else; None leaves it readable to whoever has the file.
            observe: told of each frame but the last.
        """
        salt = secrets.token_bytes(SALT_BYTES)
        key = bytes(KEY_BYTES) if passphrase is not None else secrets.token_bytes(KEY_BYTES)
        beginning = b"".join((MAGIC, salt, key, _LENGTH.pack(len(manifest)), manifest))
        seal = await asyncio.to_thread(_seal_of, passphrase, salt, key, beginning)
        writer = cls(sink, seal, observe)
        await writer._write(beginning)
        return writer

    async def put(self, kind: str, name: str, data: bytes, rows: int = 0) -> None:
        """Write something that is in memory, in pieces if it is large."""
        view = memoryview(data)
        for start in range(0, max(1, len(view)), PIECE_BYTES):
            more = start + PIECE_BYTES < len(view)
            piece = bytes(view[start : start + PIECE_BYTES])
            await self.frame(Frame(kind, name, piece, 0 if more else rows, more))

    async def file(self, kind: str, name: str, file: IO[bytes], size: int) -> int:
        """Write the first `size` bytes of a file, or fewer where it ends sooner; how many there were."""
        done = 0
        while True:
            piece = await asyncio.to_thread(file.read, min(PIECE_BYTES, size - done))
            done += len(piece)
            more = bool(piece) and done < size
            await self.frame(Frame(kind, name, piece, 0, more))
            if not more:
                return done

    async def frame(self, frame: Frame, *, last: bool = False) -> None:
        """Write one frame."""
        if not last:
            self._observe(frame)
        sealed = await asyncio.to_thread(self._seal.close, _encoder.encode(frame), last)
        await self._write(_LENGTH.pack(len(sealed)) + sealed)

    async def finish(self, frame: Frame) -> None:
        """Write the last frame: without it the file is not a backup."""
        await self.frame(frame, last=True)

    async def _write(self, data: bytes) -> None:
        self.bytes += len(data)
        await self._sink(data)


class ArchiveReader:
    """Reads a backup. `open`, then `frames` once."""

    def __init__(self, source: Source, seal: _Seal, manifest: bytes) -> None:
        """Not for callers: `open` reads what comes first."""
        self._source = source
        self._seal = seal
        self.manifest = manifest

    @classmethod
    async def open(cls, source: Source, passphrase: Secret | None) -> ArchiveReader:
        """Read the beginning.

        Raises:
            BackupError: it is no backup of ours, or it needs a passphrase and none was given.
        """
        salt, key, manifest, beginning = await read_beginning(source)
        is_encrypted = key == bytes(KEY_BYTES)
        if is_encrypted and passphrase is None:
            raise BackupError("the backup is encrypted: give its passphrase with --passphrase-file")
        seal = await asyncio.to_thread(_seal_of, passphrase if is_encrypted else None, salt, key, beginning)
        return cls(source, seal, manifest)

    async def frames(self) -> AsyncIterator[Frame]:
        """All frames; the last is the one that `finish` wrote.

        Raises:
            BackupError: the file is damaged or cut off, or the passphrase is wrong.
        """
        number = 0
        sealed = await self._sealed()
        while sealed is not None:
            number += 1
            following = await self._sealed()
            try:
                plain = await asyncio.to_thread(self._seal.open, sealed, following is None)
                frame = _decoder.decode(plain)
            except InvalidTag:
                raise BackupError(_damaged(number)) from None
            except (msgspec.MsgspecError, zstd.ZstdError) as error:
                raise BackupError(f"frame {number} of the backup is not one that this version writes") from error
            yield frame
            sealed = following
        if not number:
            raise BackupError("the backup ends after its beginning: it was cut off; use another")

    async def _sealed(self) -> bytes | None:
        raw = await self._source(_LENGTH.size)
        if not raw:
            return None
        size = _LENGTH.unpack(raw)[0] if len(raw) == _LENGTH.size else 0
        if not 0 < size <= MAX_FRAME_BYTES:
            raise BackupError("the backup is damaged: a frame has an impossible length; use another")
        sealed = await self._source(size)
        if len(sealed) < size:
            raise BackupError("the backup is cut off in the middle: it was not written to its end; use another")
        return sealed


async def read_beginning(source: Source) -> tuple[bytes, bytes, bytes, bytes]:
    """Salt, key, manifest, and all of it as it stands. Raises `BackupError`."""
    fixed = await source(len(MAGIC) + SALT_BYTES + KEY_BYTES + _LENGTH.size)
    if not fixed.startswith(MAGIC) or len(fixed) < len(MAGIC) + SALT_BYTES + KEY_BYTES + _LENGTH.size:
        raise BackupError("this is no backup of Condev Monitor, or one of a version that this one does not know")
    salt = fixed[len(MAGIC) : len(MAGIC) + SALT_BYTES]
    key = fixed[len(MAGIC) + SALT_BYTES : -_LENGTH.size]
    (size,) = _LENGTH.unpack(fixed[-_LENGTH.size :])
    if size > MAX_MANIFEST_BYTES:
        raise BackupError("the backup is damaged: its manifest has an impossible length; use another")
    manifest = await source(size)
    if len(manifest) < size:
        raise BackupError("the backup is cut off in its manifest; use another")
    return salt, key, manifest, fixed + manifest


def file_source(file: IO[bytes]) -> Source:
    """Reads from an open file, in a thread."""

    async def read(size: int) -> bytes:
        return await asyncio.to_thread(file.read, size)

    return read


class PartFile:
    """A file that gets its name only when it is whole and on disk: written as NAME.part, mode 0600, then renamed."""

    def __init__(self, target: Path) -> None:
        """Args: target: must not exist; in a directory that does."""
        self._target = target
        self._part = target.with_name(target.name + ".part")
        self._file: IO[bytes] | None = None

    async def __aenter__(self) -> PartFile:
        self._file = await asyncio.to_thread(self._open)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ):
        file, self._file = self._file, None
        if file is not None:  # `keep` was not called, whatever the reason
            with suppress(OSError):
                file.close()  # flushes, which a full disk refuses again
            self._part.unlink(missing_ok=True)

    async def write(self, data: bytes) -> None:
        """Append. Raises `BackupError` when the disk refuses."""
        if self._file is None:
            raise RuntimeError("use it as a context manager")
        try:
            await asyncio.to_thread(self._file.write, data)
        except OSError as error:
            raise self._refused(error) from error

    async def keep(self) -> None:
        """Make it durable under its name. Raises `BackupError` when the disk refuses, or the name is taken."""
        file, self._file = self._file, None
        if file is None:
            raise RuntimeError("use it as a context manager")
        try:
            await asyncio.to_thread(self._keep, file)
        except OSError as error:
            self._part.unlink(missing_ok=True)
            raise self._refused(error) from error

    def _open(self) -> IO[bytes]:
        if self._target.exists():
            raise BackupError(f"{self._target} is there already: give another name, or move it away")
        try:
            self._part.unlink(missing_ok=True)  # of a backup that was killed
            descriptor = os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._refused(error) from error
        return os.fdopen(descriptor, "wb", buffering=MIB)

    def _keep(self, file: IO[bytes]) -> None:
        with file:
            file.flush()
            os.fsync(file.fileno())
        self._part.rename(self._target)
        sync_directory(self._target.parent)

    def _refused(self, error: OSError) -> BackupError:
        return BackupError(
            f"{self._target} cannot be written: {error.strerror}; free some space, or give a path that can be written"
        )


def _seal_of(passphrase: Secret | None, salt: bytes, key: bytes, beginning: bytes) -> _Seal:
    if passphrase is not None:
        text = passphrase.reveal().encode()
        key = hashlib.scrypt(text, salt=salt, n=SCRYPT_N, r=SCRYPT_R, p=SCRYPT_P, maxmem=SCRYPT_MEMORY, dklen=KEY_BYTES)
    return _Seal(key, beginning)


def _damaged(number: int) -> str:
    if number == 1:
        return "the backup cannot be opened: the passphrase is wrong, or the file is damaged"
    return f"the backup is damaged or cut off: frame {number} is not what was written; use another"
