"""What is inside a spooled record: one accepted request as it was received, or ingest's counts of what it dropped.

Light on purpose: the decode worker imports it. Fields are only ever appended, with a default, since a new version
must read what the old one spooled.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import msgspec
from msgspec import Struct, field


class SpooledRecord(Struct, array_like=True, frozen=True, kw_only=True, tag="request"):
    """One accepted request. `body` is as received: still compressed as `headers["content-encoding"]` says."""

    protocol: str
    route: str
    project_id: int
    received_at: int  # µs
    query: str = ""
    headers: dict[str, str] = field(default_factory=dict)  # lower-case names; those that the protocol asked for
    address: str = ""
    event_id: str = ""  # as peeked
    category: str = ""  # as peeked: a `model.Category` value
    body: bytes = b""
    refused: list[str] = field(default_factory=list)  # categories that the project does not want: left out by decode


class DropCount(Struct, array_like=True, frozen=True):
    """So many requests were not accepted, for one reason."""

    project_id: int  # 0: the project is unknown
    reason: str
    category: str
    quantity: int


class SpooledDrops(Struct, array_like=True, frozen=True, kw_only=True, tag="drops"):
    """What ingest dropped since it last said so."""

    counted_at: int  # µs
    drops: list[DropCount]


Spooled: TypeAlias = SpooledRecord | SpooledDrops

_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Spooled)


class SpooledRecordError(Exception):
    """The bytes of a whole record do not make a record: written by a newer version, or by a fault of ours."""


def encode_record(record: Spooled) -> bytes:
    """Bytes for `SpoolWriter.append`."""
    return _encoder.encode(record)


def decode_record(payload: bytes) -> Spooled:
    """Read what `read_records` yields.

    Raises:
        SpooledRecordError: the payload is no record of a version that this one knows.
    """
    try:
        return _decoder.decode(payload)
    except msgspec.MsgspecError as error:
        raise SpooledRecordError(f"not a spooled record of this version: {error}") from error
