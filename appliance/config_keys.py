"""Which keys a configuration sets, and which of them say where a secret is kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import cast


def leaves(table: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Every key that is set, dotted, with its value; a reference to a secret is one key, not a table."""
    for key, value in table.items():
        if isinstance(value, dict) and reference(cast("object", value)) is None:
            yield from leaves(cast("dict[str, object]", value), f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def reference(value: object) -> tuple[str, str] | None:
    """("env" | "file", name) when a value says where a secret is kept."""
    if not isinstance(value, dict) or len(cast("dict[str, object]", value)) != 1:
        return None
    ((kind, place),) = cast("dict[str, object]", value).items()
    return (kind, place) if kind in ("env", "file") and isinstance(place, str) else None
