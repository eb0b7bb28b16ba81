"""A block of columns in ClickHouse's Native format, for the embedded engine: the values' own bytes, not copied again.

Knows the types of our schema and no others. Over HTTP the client library writes the same format itself.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, chain
from typing import Any, Final, TypeAlias, cast

from appliance.hookspecs import EventStoreError

Pieces: TypeAlias = Iterator[bytes]
_Write: TypeAlias = Callable[[Sequence[Any]], Pieces]

_ONE_BYTE: Final = 128  # lengths below it are one byte
_LENGTHS: Final = tuple(bytes((length,)) for length in range(_ONE_BYTE))
_LARGE: Final = 4_096  # bytes of one value from which on a column is left in pieces: joining copies it once more
_LABELS_VERSION: Final = (1).to_bytes(8, "little")  # of LowCardinality: one dictionary for each block
_OWN_KEYS: Final = 1 << 9  # the block brings its dictionary along
_PLACES: Final = (("B", 1 << 8), ("H", 1 << 16), ("I", 1 << 32))  # by the size of the dictionary


def native_block(
    names: Sequence[str], types: Sequence[str], data: Sequence[Sequence[object]], count: int
) -> list[bytes]:
    """One block, as pieces to be written in order.

    Args:
        names: of the columns.
        types: theirs, as the table has them.
        data: their values, `count` each.
        count: rows.

    Raises:
        EventStoreError: a type that is not known here.
        UnicodeEncodeError, OverflowError, TypeError, ValueError: a value that its column cannot hold.
    """
    pieces = [_varint(len(names)), _varint(count)]
    for name, kind, values in zip(names, types, data, strict=True):
        pieces += (_text(name), _text(kind), *_writer(kind)(values))
    return pieces


def _writer(kind: str) -> _Write:
    write = _WRITERS.get(kind) or (_WRITERS["Int64"] if kind.startswith("DateTime64(") else None)
    if write is None:
        raise EventStoreError(f"The embedded engine cannot be given values of the type {kind}: teach native.py to.")
    return write


# ── types ──


def _numbers(code: str) -> _Write:
    def write(values: Sequence[Any]) -> Pieces:
        yield array(code, values).tobytes()  # on little-endian machines, which all are that chDB runs on

    return write


def _wide_numbers(values: Sequence[int]) -> Pieces:
    yield b"".join([value.to_bytes(16, "little") for value in values])


def _truths(values: Sequence[bool]) -> Pieces:
    yield bytes(values)


def _strings(values: Sequence[str | bytes]) -> Pieces:
    if not any(values) and None not in values:
        yield bytes(len(values))
        return
    raws = [value.encode() if isinstance(value, str) else value for value in values]
    sizes = [len(raw) for raw in raws]
    longest = max(sizes)
    lengths = map(_LENGTHS.__getitem__ if longest < _ONE_BYTE else _varint, sizes)
    pieces = chain.from_iterable(zip(lengths, raws, strict=True))
    if longest >= _LARGE:
        yield from pieces
    else:
        yield b"".join(pieces)


def _labels(values: Sequence[str]) -> Pieces:
    yield _LABELS_VERSION
    yield from _labels_data(values)


def _labels_data(values: Sequence[str]) -> Pieces:
    if not values:
        return
    places = {value: place for place, value in enumerate(dict.fromkeys(values))}
    width = next(width for width, (_, most) in enumerate(_PLACES) if len(places) <= most)
    yield (width | _OWN_KEYS).to_bytes(8, "little") + len(places).to_bytes(8, "little")
    yield from _strings(list(places))
    indexes = array(_PLACES[width][0], map(places.__getitem__, values))
    yield len(values).to_bytes(8, "little") + indexes.tobytes()


def _string_lists(values: Sequence[Sequence[str]]) -> Pieces:
    yield _offsets(values)
    yield from _strings(list(chain.from_iterable(values)))


def _number_lists(values: Sequence[Sequence[int]]) -> Pieces:
    yield _offsets(values)
    yield array("I", chain.from_iterable(values)).tobytes()


def _string_maps(values: Sequence[Mapping[str, str]]) -> Pieces:
    yield _LABELS_VERSION
    yield _offsets(values)
    yield from _labels_data(list(chain.from_iterable(values)))
    yield from _strings(list(chain.from_iterable(value.values() for value in values)))


def _offsets(values: Iterable[Sequence[object] | Mapping[str, object]]) -> bytes:
    return array("Q", accumulate(map(len, values))).tobytes()


def _text(value: str) -> bytes:
    raw = value.encode()
    return _varint(len(raw)) + raw


def _varint(value: int) -> bytes:
    if value < _ONE_BYTE:
        return _LENGTHS[value]
    found = bytearray()
    while value >= _ONE_BYTE:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


_WRITERS: Final[Mapping[str, _Write]] = {
    "UInt16": _numbers("H"),
    "UInt32": _numbers("I"),
    "UInt64": _numbers("Q"),
    "Int64": _numbers("q"),
    "Float64": _numbers("d"),
    "UInt128": cast("_Write", _wide_numbers),
    "Bool": cast("_Write", _truths),
    "String": cast("_Write", _strings),
    "LowCardinality(String)": cast("_Write", _labels),
    "Array(String)": cast("_Write", _string_lists),
    "Array(UInt32)": cast("_Write", _number_lists),
    "Map(LowCardinality(String), String)": cast("_Write", _string_maps),
}
