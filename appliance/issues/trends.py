"""Bars over time: sparklines of the list, and an issue's histogram with its tags. All from the event store."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct, structs

from appliance.hookspecs import Bucket, EventFilter, EventStore, StoreUnavailableError, TagCount
from appliance.issues.listing import event_filter
from appliance.issues.views import IssueList, IssueOverview, IssueQuery, IssueSummary

HOUR: Final = 3_600_000_000  # µs
DAY: Final = 24 * HOUR
SPARK_BARS: Final = 24  # what a sparkline of 96 pixels can show
SPARK_PERIOD: Final = DAY  # without a period in the filter
MAX_SPARK_PERIOD: Final = 90 * DAY
OVERVIEW_PERIOD: Final = 14 * DAY
MAX_BARS: Final = 60
TOP_TAGS: Final = 5
MAX_TAG_KEYS: Final = 40  # on one page; the built-in ones come first
# Steps that people read: a bar is a minute, five, …, an hour, …, a day, a week.
_STEPS: Final = tuple(
    minutes * 60_000_000 for minutes in (1, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440, 2880, 10080, 43200)
)


class Span(Struct, frozen=True):
    """A period in equal bars, aligned to them."""

    start: int
    end: int
    bucket: int

    @property
    def bars(self) -> int:
        """How many."""
        return (self.end - self.start) // self.bucket


def span_of(start: int, end: int, bars: int) -> Span:
    """A period as at most so many bars of a step that people read.

    Args:
        start: µs.
        end: µs, later than `start`.
        bars: at most.
    """
    bucket = next((step for step in _STEPS if (end - start) <= step * bars), _STEPS[-1])
    first, last = start // bucket * bucket, -(-end // bucket) * bucket
    if (last - first) // bucket > bars:  # both ends were rounded outwards: give up the oldest, which is not whole
        first += bucket
    return Span(first, max(last, first + bucket), bucket)


async def with_sparklines(
    store: EventStore, found: IssueList, query: IssueQuery, hashes: Mapping[int, Sequence[int]], now: int
) -> IssueList:
    """The list with events per bar of each issue shown. Without the store the list stays whole and says so.

    Args:
        store: asked once for each project on the page.
        found: the page.
        query: its filter; the period and the filter on events apply to the bars too.
        hashes: of each issue shown.
        now: µs.
    """
    if not found.items:
        return found
    end = query.end or now
    start = query.start if query.start and query.start < end else end - SPARK_PERIOD
    span = span_of(max(start, end - MAX_SPARK_PERIOD), end, SPARK_BARS)
    narrowed = structs.replace(query, start=span.start, end=span.end)
    by_project: dict[int, list[int]] = {}
    for issue in found.items:
        by_project.setdefault(issue.project_id, []).extend(hashes.get(issue.id, ()))
    wheres = [event_filter(narrowed, project_id, own) for project_id, own in by_project.items() if own]
    try:
        answers = await asyncio.gather(*[store.group_histograms(where, span.bucket) for where in wheres])
    except StoreUnavailableError as error:
        return structs.replace(found, notes=(*found.notes, f"The trends are missing: {error}"))
    bars = {where.project_ids[0]: answer for where, answer in zip(wheres, answers, strict=True)}
    items = [_with_bars(issue, span, bars.get(issue.project_id, {}), hashes.get(issue.id, ())) for issue in found.items]
    return structs.replace(found, items=items, bucket=span.bucket, start=span.start)


def _with_bars(
    issue: IssueSummary, span: Span, answer: Mapping[int, Sequence[Bucket]], hashes: Sequence[int]
) -> IssueSummary:
    counts = [0] * span.bars
    for hash_ in hashes:
        for bar in answer.get(hash_, ()):
            place = (bar.start - span.start) // span.bucket
            if 0 <= place < len(counts):
                counts[place] += bar.events
    return structs.replace(issue, sparkline=tuple(counts))


async def overview_of(store: EventStore, where: EventFilter, now: int, *, notes: Sequence[str] = ()) -> IssueOverview:
    """Histogram and tags of the events within a filter; `where.end` 0 is now, `start` 0 two weeks before it."""
    end = where.end or now
    span = span_of(where.start if 0 < where.start < end else end - OVERVIEW_PERIOD, end, MAX_BARS)
    where = structs.replace(where, start=span.start, end=span.end)
    bars, counts = await asyncio.gather(
        store.histogram(where, span.bucket), store.tag_distribution(where, (), TOP_TAGS)
    )
    there = {bar.start: bar for bar in bars}
    starts = range(span.start, span.end, span.bucket)
    tags: dict[str, list[TagCount]] = {}
    for count in counts:
        if count.key in tags or len(tags) < MAX_TAG_KEYS:
            tags.setdefault(count.key, []).append(count)
    return IssueOverview(
        histogram=[there.get(start) or Bucket(start=start, events=0) for start in starts],
        bucket=span.bucket,
        start=span.start,
        end=span.end,
        events=sum(bar.events for bar in bars),
        # First what is known of most events, and what is missing of all comes last.
        tags={key: sorted(values, key=_by_frequency) for key, values in tags.items()},
        notes=tuple(notes),
    )


def _by_frequency(count: TagCount) -> tuple[bool, int, str]:
    return count.value == "", -count.events, count.value
