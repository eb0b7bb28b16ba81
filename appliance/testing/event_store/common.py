"""What the parts of the suite share: filters on project 1, hostile text."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from appliance.hookspecs import (
    EventFilter,
    EventStore,
    Page,
)

BATCH: Final = (0xFEDC_BA98_7654_3210 << 64) | (7 << 32) | 4096  # all 128 bits matter
ALL: Final = EventFilter(project_ids=(1,))
# Text that breaks naive quoting, encoding or patterns somewhere on the way.
HOSTILE: Final = (
    "it's", 'say "hi"', "back\\slash", "trailing\\", "line\nbreak", "tab\there", "nul\x00byte", "\r\n",
    "\\N", "%s %(a)s", "{p0:String}", "'; DROP TABLE events; --", "`tick`", "$$", "€ 𝄞 é ß", "\u2028",
    "\x7f\x1b[31m", "a" * 5_000,
)  # fmt: skip


def where(**fields: Any) -> EventFilter:
    """A filter on project 1."""
    return msgspec.structs.replace(ALL, **fields)


async def ids(store: EventStore, chosen: EventFilter) -> list[str]:
    """The ids of the events a filter selects, newest first."""
    found, _ = await store.events(chosen, Page(limit=200))
    return [one.event_id for one in found]
