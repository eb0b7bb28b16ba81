"""How many different users an issue affects: a HyperLogLog sketch of 1,024 registers (±3 %), merged by maximum.

Two forms: few users are a sorted list of two-byte entries, so that most issues' rows stay small; from 128 registers on
all 1,024 bytes. Both begin with their form's byte; b"" is the empty sketch. Order of arrival does not matter.
"""

from __future__ import annotations

import math
import struct
from bisect import bisect_left
from collections.abc import Iterable
from typing import Final

PRECISION: Final = 10  # 1,024 registers: 1.04/√1024 = 3.3 % standard error for 1 KiB
REGISTERS: Final = 1 << PRECISION
MAX_SPARSE: Final = 128  # entries; 256 bytes, a quarter of the dense form
_SPARSE: Final = b"s"
_DENSE: Final = b"d"
_ALPHA: Final = 0.7213 / (1 + 1.079 / REGISTERS)
_POWERS: Final = tuple(2.0**-rank for rank in range(64))


def add(sketch: bytes, users: Iterable[int]) -> bytes:
    """The sketch with these users in it; the very same object when they change nothing.

    Args:
        sketch: b"" or what `add` or `merge` gave.
        users: 64-bit hashes; 0 means "no user" and is left out.
    """
    return _raise_registers(sketch, [_place(user) for user in users if user])


def merge(sketch: bytes, *others: bytes) -> bytes:
    """The sketch of all users of several sketches; the same object when the others add nothing."""
    for other in others:
        sketch = _raise_registers(sketch, _entries(other))
    return sketch


def count(sketch: bytes) -> int:
    """About how many different users there are; exact to one or two up to some hundred."""
    if not sketch:
        return 0
    if sketch[:1] == _SPARSE:
        filled = (len(sketch) - 1) // 2
        return _linear(REGISTERS - filled)
    registers = sketch[1:]
    zeros = registers.count(0)
    # Group equal ranks: a sum over the handful that occur instead of over 1,024 registers.
    total, left, rank = 0.0, REGISTERS, 0
    while left:
        equal = registers.count(rank)
        total += equal * _POWERS[rank]
        left -= equal
        rank += 1
    estimate = _ALPHA * REGISTERS * REGISTERS / total
    return _linear(zeros) if estimate <= 2.5 * REGISTERS and zeros else round(estimate)


def _linear(zeros: int) -> int:
    return round(REGISTERS * math.log(REGISTERS / zeros)) if zeros else REGISTERS


def _place(user: int) -> tuple[int, int]:
    register = user >> (64 - PRECISION)
    rest = user & ((1 << (64 - PRECISION)) - 1)
    return register, (64 - PRECISION) - rest.bit_length() + 1


# A sparse entry is 10 bits of register above 6 of rank, so that sorted entries are sorted by register.


def _sparse(sketch: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(sketch) // 2}H", sketch[1:]) if sketch else ()


def _entries(sketch: bytes) -> list[tuple[int, int]]:
    if sketch[:1] == _DENSE:
        return [(register, rank) for register, rank in enumerate(sketch[1:]) if rank]
    return [(entry >> 6, entry & 63) for entry in _sparse(sketch)]


def _raise_registers(sketch: bytes, entries: list[tuple[int, int]]) -> bytes:
    if not entries:
        return sketch
    return _raise_dense(sketch, entries) if sketch[:1] == _DENSE else _raise_sparse(sketch, entries)


def _raise_dense(sketch: bytes, entries: list[tuple[int, int]]) -> bytes:
    if all(sketch[1 + register] >= rank for register, rank in entries):
        return sketch
    dense = bytearray(sketch)
    for register, rank in entries:
        dense[1 + register] = max(dense[1 + register], rank)
    return bytes(dense)


def _raise_sparse(sketch: bytes, entries: list[tuple[int, int]]) -> bytes:
    known = list(_sparse(sketch))
    changed = False
    for register, rank in entries:
        at = bisect_left(known, register << 6)
        if at == len(known) or known[at] >> 6 != register:
            known.insert(at, register << 6 | rank)
            changed = True
        elif known[at] & 63 < rank:
            known[at] = register << 6 | rank
            changed = True
    if not changed:
        return sketch
    if len(known) <= MAX_SPARSE:
        return _SPARSE + struct.pack(f"<{len(known)}H", *known)
    dense = bytearray(REGISTERS)
    for entry in known:
        dense[entry >> 6] = entry & 63
    return _DENSE + bytes(dense)
