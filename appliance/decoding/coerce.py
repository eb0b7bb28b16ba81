"""From any JSON value to the type a field has. Never raises; what cannot be used becomes the type's empty value."""

from __future__ import annotations

import math
from typing import Final

import msgspec

from appliance.model import MAX_DEPTH, Json, JsonObject

MAX_INT: Final = 2**63 - 1  # what a column of 64 bits holds; beyond it a number is kept as text
MAX_ENTRIES: Final = 1_000  # of one list or object inside extra and contexts; SDKs cut at 100 to 1,000
_MAX_STRING: Final = 65_536  # characters of one string inside extra and contexts; longer ones are whole documents
_MAX_KEY: Final = 512
_DEEP: Final = f"[nested deeper than {MAX_DEPTH} levels]"


def text(value: Json) -> str:
    """A string; numbers, booleans and containers as their JSON, null as ""."""
    match value:
        case str():
            return clean(value)
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value) if isinstance(value, int) or math.isfinite(value) else ""
        case _:
            return msgspec.json.encode(json_value(value)).decode()


def line(value: Json) -> str:
    """A string on one line, without blanks at its ends: for labels such as a release or a user's id.

    A container is no label: "". As its JSON it would stand in lists and groups, and hide keys from the scrubber.
    """
    if value is None or isinstance(value, (list, dict)):
        return ""
    if type(value) is str and value.isprintable():  # neither controls nor surrogates
        return value.strip()
    found = text(value)
    return " ".join(found.split())


def clean(value: str) -> str:
    """Without NUL characters, and with U+FFFD for lone surrogates, which no database takes."""
    if "\x00" in value:
        value = value.replace("\x00", "")
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value


def texts(value: Json, limit: int) -> list[str]:
    """A list of at most `limit` strings; [] for anything but a list."""
    return [text(entry) for entry in value[:limit]] if isinstance(value, list) else []


def number(value: Json) -> float | None:
    """A finite number, also when it comes as text."""
    match value:
        case bool() | None | list() | dict():
            return None
        case str():
            try:
                found = float(value) if len(value) <= 40 else math.nan  # 40 characters hold any float
            except ValueError:
                return None
        case _:
            try:
                found = float(value)
            except OverflowError:
                return None
    return found if math.isfinite(found) else None


def whole(value: Json) -> int | None:
    """An integer of 64 bits, also when it comes as 3.0 or as text."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value if -MAX_INT <= value <= MAX_INT else None
    found = number(value)
    return int(found) if found is not None and found.is_integer() and abs(found) < MAX_INT else None


def truth(value: Json) -> bool | None:
    """A boolean; None when it is anything else."""
    match value:
        case bool():
            return value
        case "true" | "True" | 1:
            return True
        case "false" | "False" | 0:
            return False
        case _:
            return None


def json_object(value: Json, depth: int = MAX_DEPTH) -> JsonObject:
    """An object within the bounds of `json_value`; {} for anything else."""
    bounded = json_value(value, depth)
    return bounded if isinstance(bounded, dict) else {}


def json_value(value: Json, depth: int = MAX_DEPTH) -> Json:
    """JSON that any store takes: bounded in depth and length, clean strings, numbers of at most 64 bits."""
    match value:
        case str() | None | bool() | int() | float():
            return _scalar(value)
        case _ if depth <= 0:
            return _DEEP
        case list():
            return [json_value(entry, depth - 1) for entry in value[:MAX_ENTRIES]]
        case _:
            entries = list(value.items())[:MAX_ENTRIES]
            return {clean(key[:_MAX_KEY]): json_value(entry, depth - 1) for key, entry in entries}


def _scalar(value: str | bool | int | float | None) -> str | bool | int | float | None:
    match value:
        case str():
            return clean(value) if len(value) <= _MAX_STRING else clean(value[: _MAX_STRING - 1]) + "…"
        case None | bool():
            return value
        case int():
            return value if -MAX_INT - 1 <= value <= MAX_INT else str(value)
        case _:
            return value if math.isfinite(value) else None
