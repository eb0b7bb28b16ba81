"""What grouping an event gives: the hash, the words for the issue, and why. Types only, and how they are kept."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Struct

MAX_PARTS_SHOWN: Final = 30  # of an explanation: what a person reads; the hash takes them all
MAX_RAW: Final = 300  # characters of a part as the event had it


class GroupingPart(Struct, frozen=True, array_like=True, gc=False):
    """One thing that went into a group hash. `value` is as it was hashed, `raw` as the event had it."""

    name: str  # fingerprint, type, frame, module, message, template, path, tag, host, directive
    raw: str
    value: str


class WhyGrouped(Struct, frozen=True, gc=False):
    """Why events with this hash are one issue."""

    # fingerprint, stack, unnamed_stack, message, template, white_screen, resource, csp, overflow
    method: str
    summary: str  # one sentence
    parts: tuple[GroupingPart, ...] = ()


class Grouping(Struct, frozen=True, gc=False):
    """Where an event belongs, and the words for its issue if it is the first."""

    hash: int  # unsigned 64 bit, never 0: 0 means "not grouped"
    version: int
    title: str
    culprit: str
    type: str
    explanation: bytes  # a `WhyGrouped` as JSON, the way it is stored: see `read_explanation`


UNKNOWN: Final = WhyGrouped(method="", summary="How these events were grouped was not recorded.")
_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(WhyGrouped)


def read_explanation(stored: str | bytes) -> WhyGrouped:
    """A stored explanation; one that cannot be read (of an unknown future form) is `UNKNOWN`, never an error."""
    try:
        return _decoder.decode(stored)
    except msgspec.MsgspecError:
        return UNKNOWN


def write_explanation(method: str, summary: str, parts: Sequence[GroupingPart]) -> bytes:
    """An explanation as it is stored, cut to what a person would read."""
    return _encoder.encode(WhyGrouped(method, summary, tuple(parts[:MAX_PARTS_SHOWN])))


def hash_parts(version: int, method: str, parts: Sequence[GroupingPart]) -> int:
    """The group hash: blake2b over version, method and the parts' names and values."""
    # The separators cannot stand in a value: control characters are spaces by then.
    material = "\x1e".join([f"{version}\x1f{method}", *[f"{part.name}\x1f{part.value}" for part in parts]])
    digest = hashlib.blake2b(material.encode("utf-8", "replace"), digest_size=8).digest()
    return int.from_bytes(digest, "big") or 1
