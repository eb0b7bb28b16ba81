"""Bounded decompression of request bodies: gzip, deflate (zlib and raw), br, zstd.

For ingest (the first 4 KiB, and counting the whole while throwing it away) and for the decode worker (the body itself).
Output comes in blocks, so that a bomb costs one block of memory. br and zstd are imported when first met.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from typing import Protocol as Interface

from isal import isal_zlib

BLOCK: Final = 64 * 1024  # of output: what one step may hold
STEP: Final = 16 * 1024  # of input: decoders copy what they have not used yet, so they are fed little at a time
MAX_MEMBERS: Final = 16  # gzip bodies may be several members end to end; no SDK sends more than one
MAX_ZSTD_WINDOW_LOG: Final = 23  # 8 MiB, what RFC 9659 allows for zstd over HTTP; the library's default is 128 MiB
IDENTITY: Final = frozenset({"", "identity"})
_DECODER_ERRORS: Final = frozenset({"IsalError", "error", "ZstdError", "EOFError"})
ENCODINGS: Final = ("gzip", "deflate", "br", "zstd")


class BadEncodingError(ValueError):
    """The body is not what its Content-Encoding says: unknown, damaged, truncated, or followed by something else."""


class BodyTooLargeError(ValueError):
    """The body is larger than the limit once it is decompressed."""


class _Decoder(Interface):
    """One stream. `decode` gives at most about BLOCK bytes; called with b"" it goes on with the input that it kept."""

    several: bool  # whether streams may follow each other in one body

    def decode(self, data: bytes) -> bytes: ...

    def finished(self) -> bool: ...

    def rest(self) -> bytes: ...


class _ZlibStream(Interface):
    """isal's decompression object; its stubs name no types."""

    @property
    def eof(self) -> bool: ...

    @property
    def unconsumed_tail(self) -> bytes: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class _BrotliStream(Interface):
    """brotli's decompression object; the package has no types."""

    def process(self, data: bytes, *, output_buffer_limit: int) -> bytes: ...

    def is_finished(self) -> bool: ...


class _Zlib:
    def __init__(self, window_bits: int, *, several: bool = False) -> None:
        self._decoder: _ZlibStream = isal_zlib.decompressobj(window_bits)  # pyright: ignore[reportUnknownMemberType]
        self.several = several

    def decode(self, data: bytes) -> bytes:
        return self._decoder.decompress(data or self._decoder.unconsumed_tail, BLOCK)

    def finished(self) -> bool:
        return self._decoder.eof

    def rest(self) -> bytes:
        return self._decoder.unused_data


class _Brotli:
    several = False

    def __init__(self) -> None:
        import brotli

        self._decoder: _BrotliStream = brotli.Decompressor()  # pyright: ignore[reportUnknownMemberType]

    def decode(self, data: bytes) -> bytes:
        return self._decoder.process(data, output_buffer_limit=BLOCK)

    def finished(self) -> bool:
        return self._decoder.is_finished()

    def rest(self) -> bytes:
        return b""  # brotli itself refuses input behind the end


class _Zstd:
    several = True

    def __init__(self) -> None:
        from backports import zstd

        options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: MAX_ZSTD_WINDOW_LOG}
        self._decoder = zstd.ZstdDecompressor(options=options)

    def decode(self, data: bytes) -> bytes:
        return self._decoder.decompress(data, BLOCK)

    def finished(self) -> bool:
        return self._decoder.eof

    def rest(self) -> bytes:
        return self._decoder.unused_data


def blocks(body: bytes, encoding: str) -> Iterator[bytes]:
    """Decompress step by step; each block is at most about `BLOCK` bytes.

    Args:
        body: the whole body as received, or its beginning.
        encoding: the Content-Encoding; "" and "identity" give the body itself, in one block.

    Raises:
        BadEncodingError: at the block where it shows; a truncated body gives what there is first.
    """
    encoding = encoding.strip().lower()
    if encoding in IDENTITY:
        yield body
        return
    try:
        yield from _streams(body, encoding)
    except Exception as error:
        # Compared by name: brotli and zstd are not imported for bodies that do not need them, and isal has no types.
        if type(error).__name__ in _DECODER_ERRORS:
            raise BadEncodingError(f"the body is not valid {encoding}: {error}") from error
        raise


def decompress(body: bytes, encoding: str, limit: int) -> bytes:
    """The whole body, for the decode worker.

    Args:
        body: as received.
        encoding: its Content-Encoding.
        limit: bytes that the result may have.

    Raises:
        BadEncodingError: it is not what the encoding says.
        BodyTooLargeError: it is larger than `limit`.
    """
    parts: list[bytes] = []
    total = 0
    for block in blocks(body, encoding):
        total += len(block)
        if total > limit:
            raise BodyTooLargeError(f"the body is larger than {limit} bytes once it is decompressed")
        parts.append(block)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def head(body: bytes, encoding: str, size: int) -> bytes:
    """The first `size` bytes, or fewer; `body` may be cut off anywhere.

    Raises:
        BadEncodingError: not even the beginning can be read.
    """
    parts = bytearray()
    try:
        for block in blocks(body, encoding):
            parts += block[: size - len(parts)]
            if len(parts) >= size:
                break
    except BadEncodingError:
        if not parts:
            raise
    return bytes(parts)


def _open(body: bytes, offset: int, encoding: str) -> _Decoder:
    if encoding in {"gzip", "x-gzip"}:
        return _Zlib(31, several=True)
    if encoding == "deflate":
        start = body[offset : offset + 2]
        wrapped = len(start) == 2 and start[0] & 0x0F == 8 and (start[0] << 8 | start[1]) % 31 == 0
        return _Zlib(15 if wrapped else -15)
    if encoding == "br":
        return _Brotli()
    if encoding == "zstd":
        return _Zstd()
    raise BadEncodingError(f"unknown Content-Encoding {encoding[:40]!r}; one of {', '.join(ENCODINGS)} is understood")


def _streams(body: bytes, encoding: str) -> Iterator[bytes]:
    """All streams of a body, one after the other."""
    offset = 0
    for _ in range(MAX_MEMBERS):
        decoder = _open(body, offset, encoding)
        while not decoder.finished():
            if offset >= len(body):
                raise BadEncodingError(f"the {encoding} body is cut off")
            data = body[offset : offset + STEP]
            offset += len(data)
            yield from _drain(decoder, data)
        offset -= len(decoder.rest())
        rest = body[offset:]
        if not rest or not rest.strip(b"\0"):  # padding is tolerated, as gunzip does
            return
        if not decoder.several:
            break
    raise BadEncodingError(f"something follows the end of the {encoding} body")


def _drain(decoder: _Decoder, data: bytes) -> Iterator[bytes]:
    """Everything that one piece of input gives."""
    block = decoder.decode(data)
    while block:
        yield block
        if decoder.finished():
            return
        block = decoder.decode(b"")
