"""When the disk will be full: from samples of what is free to days left. Pure.

The store's own growth ends where retention by bytes begins to drop old days; that of everything else does not.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from appliance.model import MICROSECONDS

HOUR: Final = 3_600 * MICROSECONDS
DAY: Final = 24 * HOUR
WINDOW: Final = 72 * HOUR  # long enough for a night and a weekend day, short enough to follow a new release
LEAST_SPAN: Final = 6 * HOUR  # less is one busy morning
SAMPLE_EVERY: Final = HOUR // 6  # ten minutes: what was refused in the last hour is told from these, too
LEAST_SAMPLES: Final = 6


class Sample(Struct, frozen=True, array_like=True):
    """What was measured at one moment; kept in the metadata, so short."""

    at: int  # µs
    free: int  # bytes on the data directory's disk
    store: int  # bytes of the event store
    lost: int  # records refused for want of capacity, so far
    processed: int  # records applied, so far


def keep(samples: Sequence[Sample], new: Sample) -> list[Sample]:
    """Add a sample when its time has come, and forget the old ones: ten-minute ones for two hours, then hourly ones."""
    kept = [sample for sample in samples if new.at - WINDOW <= sample.at < new.at]
    if not kept or new.at - kept[-1].at >= SAMPLE_EVERY:
        kept.append(new)
    recent = [sample for sample in kept if sample.at > new.at - 2 * HOUR]
    older: list[Sample] = []
    for sample in kept[: len(kept) - len(recent)]:
        if not older or sample.at // HOUR != older[-1].at // HOUR:
            older.append(sample)
    return [*older, *recent]


def days_left(samples: Sequence[Sample], room: int, store_may_grow: float) -> float | None:
    """Days until `room` is used up.

    Args:
        samples: oldest first.
        room: bytes between what is free and the reserve.
        store_may_grow: bytes until retention holds the store's size; `math.inf` without a bound.

    Returns:
        `math.inf` when it never is at this rate; None when too little was measured to say.
    """
    if len(samples) < LEAST_SAMPLES or samples[-1].at - samples[0].at < LEAST_SPAN:
        return None
    total = -_per_day([(sample.at, sample.free) for sample in samples])
    own = min(max(_per_day([(sample.at, sample.store) for sample in samples]), 0.0), max(total, 0.0))
    if room <= 0:
        return 0.0
    if total <= 0:
        return math.inf
    until_bound = store_may_grow / own if own > 0 else math.inf
    if total * until_bound >= room:
        return room / total
    others = total - own
    return until_bound + (room - total * until_bound) / others if others > 0 else math.inf


def _per_day(points: Sequence[tuple[int, int]]) -> float:
    """The median slope of all pairs (Theil and Sen): what a merge or a backup takes for an hour moves it little."""
    slopes = [
        (later[1] - earlier[1]) / (later[0] - earlier[0]) * DAY
        for index, earlier in enumerate(points)
        for later in points[index + 1 :]
        if later[0] > earlier[0]
    ]
    return statistics.median(slopes) if slopes else 0.0
