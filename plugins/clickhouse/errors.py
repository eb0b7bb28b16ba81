"""What an error of the engine means for the one who asked: try again, or give up; always with what to do next."""

from __future__ import annotations

import struct
from typing import Final

from appliance.hookspecs import EventStoreError, StoreRefusedError, StoreUnavailableError

MEMORY_CODES: Final = frozenset({173, 241})  # CANNOT_ALLOCATE_MEMORY, MEMORY_LIMIT_EXCEEDED
TIMEOUT_CODES: Final = frozenset({159, 160})  # TIMEOUT_EXCEEDED, TOO_SLOW
DISK_CODES: Final = frozenset({74, 75, 76, 243})  # reading, writing or opening a file; NOT_ENOUGH_SPACE
ABSENT_CODES: Final = frozenset({16, 47, 60})  # a column or table that is not there: the schema is not what we made
# The values themselves cannot be stored: parsing, types, ranges, sizes.
REFUSED_CODES: Final = frozenset({6, 26, 27, 33, 38, 41, 53, 69, 70, 72, 117, 128, 131, 190, 321, 349, 441, 467, 675})
# Raised by the client while it encodes rows, before anything is sent.
LOCAL_REFUSALS: Final = (
    UnicodeError,
    OverflowError,
    struct.error,
    TypeError,
    ValueError,
    AttributeError,
    IndexError,
)
_UNAVAILABLE: Final = (
    (
        MEMORY_CODES,
        "ClickHouse had not enough memory for {doing}: narrow the time range or the filter, "
        "or raise [plugins.clickhouse] query_memory and server_memory.",
    ),
    (
        TIMEOUT_CODES,
        "ClickHouse took too long for {doing}: narrow the time range or the filter, "
        "or raise [plugins.clickhouse] query_timeout_seconds.",
    ),
    (
        DISK_CODES,
        "ClickHouse could not use its disk while {doing}: free some space, or lower [retention] bytes.",
    ),
    (
        ABSENT_CODES,
        "ClickHouse lacks a table or column while {doing}: restart the appliance, which migrates.",
    ),
)
MAX_DETAIL: Final = 400  # of the engine's own words; it may quote whole queries


def code_of(error: BaseException) -> int:
    """The engine's numeric error code; 0 when it never got there."""
    code = getattr(error, "code", None)
    return code if isinstance(code, int) else 0


def is_memory_refusal(error: BaseException) -> bool:
    """True when a smaller block, or the same a little later, may pass."""
    return code_of(error) in MEMORY_CODES


def is_shared_memory_refusal(error: BaseException) -> bool:
    """True when the engine as a whole was short of memory: merges and others give theirs back within seconds.

    A query above its own limit is refused with the same code, and would be again.
    """
    return is_memory_refusal(error) and "(total)" in str(error)


def translate(error: Exception, doing: str) -> EventStoreError:
    """The contract's error for what the client raised.

    Args:
        error: what clickhouse-connect, chDB or the socket raised.
        doing: what was tried, as a gerund phrase for the message.
    """
    if isinstance(error, EventStoreError):
        return error
    code = code_of(error)
    detail = " ".join(str(error).split())[:MAX_DETAIL]
    if code in REFUSED_CODES or (code == 0 and isinstance(error, LOCAL_REFUSALS)):
        return StoreRefusedError(f"ClickHouse refused the data while {doing}: {detail}")
    for codes, text in _UNAVAILABLE:
        if code in codes:
            return StoreUnavailableError(f"{text.format(doing=doing)} ({detail})")
    return StoreUnavailableError(
        f"ClickHouse could not do it ({doing}): {detail or type(error).__name__}. It is tried again; "
        f"if it stays so, look at the engine's state on the System page and at [plugins.clickhouse] url."
    )
