"""JSON as the world sends it: not UTF-8, nested ten thousand deep, with NaN, huge numbers and lone surrogates.

Not for typed decoding: a protocol tries its own msgspec structs first and comes here when they refuse.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Final, cast

import msgspec
import re2

from appliance.model import Json, JsonObject

READABLE_DEPTH: Final = 128  # of nested JSON that is read; the model keeps 24, and Python's parser stops at about 900
_TOO_DEEP: Final = b'"[nested too deep]"'
_MAX_DIGITS: Final = 400  # a float has 309; Python refuses to read ints of more than 4,300 digits

_decoder: Final = msgspec.json.Decoder()
# A string, or a bracket. Possessive, so that no input makes it go back.
_TOKENS: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[{]|[\]}]', re.DOTALL)


# RE2 has no types. It finds the whole of a literal at once, where bytes.find stops at each quote that is escaped.
_nul: Final = cast("Callable[[bytes], object]", re2.compile(rb"\\u0000").search)  # pyright: ignore[reportUnknownMemberType]


class UnreadableError(ValueError):
    """It is not JSON, or not of the shape that is wanted; the text says what it is."""


def read_json(data: bytes) -> Json:
    """Read one JSON value, mending what can be mended.

    Bytes that are not UTF-8 are replaced, nesting beyond READABLE_DEPTH becomes a note, NaN and infinities become null
    (numbers beyond a float's range too), NUL characters and lone surrogates stay for `text` to clean.

    Raises:
        UnreadableError: it is not JSON at all, or cut off.
    """
    try:
        return cast("Json", _decoder.decode(data))
    except (ValueError, RecursionError):
        return _read_leniently(data)


def read_object(data: bytes) -> JsonObject:
    """Read a JSON object, as `read_json`.

    Raises:
        UnreadableError: it is not JSON, or another JSON value.
    """
    value = read_json(data)
    if not isinstance(value, dict):
        raise UnreadableError(f"expected a JSON object, found {name_of(value)}")
    return value


def name_of(value: Json) -> str:
    """What a JSON value is called in a sentence."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "an array"
        case _:
            return "an object"


def names_nul(data: bytes) -> bool:
    """Whether JSON may hold a NUL character, which no database takes in a text; 1 µs for 10 KB."""
    return _nul(data) is not None


def utf8(data: bytes) -> str:
    """Text from bytes; what is not UTF-8 becomes U+FFFD."""
    return data.decode("utf-8", "replace")


def _read_leniently(data: bytes) -> Json:
    try:
        return _parse(data)
    except RecursionError:
        try:
            return _parse(_flattened(data, READABLE_DEPTH))
        except RecursionError:  # the caller is itself far down the stack
            raise UnreadableError("nested too deep to be read") from None


def _parse(data: bytes) -> Json:
    try:
        value = json.loads(
            utf8(data.removeprefix(b"\xef\xbb\xbf")),
            strict=False,  # control characters in strings
            parse_constant=_no_number,
            parse_int=_int,
            parse_float=_float,
        )
    except ValueError as error:
        raise UnreadableError(f"not JSON: {error}") from None
    return cast("Json", value)


def _no_number(_: str) -> None:
    """NaN, Infinity and -Infinity: JSON knows none of them."""


def _int(digits: str) -> int | None:
    return int(digits) if len(digits) <= _MAX_DIGITS else None


def _float(digits: str) -> float | None:
    value = float(digits[:_MAX_DIGITS]) if len(digits) > _MAX_DIGITS else float(digits)
    return value if abs(value) != float("inf") else None


def _flattened(data: bytes, limit: int) -> bytes:
    """Replace what is nested deeper than `limit` by a note. One pass, whatever the input."""
    kept: list[bytes] = []
    depth = start = 0
    for token in _TOKENS.finditer(data):
        match data[token.start()]:
            case 0x5B | 0x7B:  # [ {
                depth += 1
                if depth == limit + 1:
                    kept += (data[start : token.start()], _TOO_DEEP)
            case 0x5D | 0x7D:  # ] }
                if depth == limit + 1:
                    start = token.end()
                depth = max(0, depth - 1)
            case _:
                pass
    if depth <= limit:
        kept.append(data[start:])
    return b"".join(kept)
