"""Measurements: distributions per metric and page, and single samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from appliance.hookspecs import EventFilter, Measure, MetricSummary, Page
from appliance.model import JsonObject

from .engine import Reader
from .filters import (
    MEASUREMENT_FIELDS,
    Conditions,
    Range,
    after_cursor,
    encode_cursor,
    needs_base_rows,
    select_fields,
    select_rows,
    whole_range,
)
from .queries_events import page_limit
from .summaries import SummaryState

MAX_SUMMARIES: Final = 1_000
SUMMARY_FIELDS: Final = {
    "environments": "environment", "releases": "release", "browsers": "browser", "oses": "os", "devices": "device",
    "urls": "url",
}  # fmt: skip
NEEDS_IMPROVEMENT: Final = "rating IN ('needs-improvement', 'needs_improvement')"  # SDKs write both
RATINGS: Final = (
    f"countIf(rating = 'good') AS good, countIf({NEEDS_IMPROVEMENT}) AS middling, countIf(rating = 'poor') AS bad"
)
PERCENTILES: Final = "quantilesTDigest(0.5, 0.75, 0.95)"
_STATE: Final = "quantilesTDigestState(0.5, 0.75, 0.95)(value)"
_MERGE: Final = "quantilesTDigestMerge(0.5, 0.75, 0.95)"
_MERGE_STATE: Final = "quantilesTDigestMergeState(0.5, 0.75, 0.95)(percentiles)"
_decoder = msgspec.json.Decoder(JsonObject)


async def metric_summaries(
    reader: Reader, state: SummaryState, where: EventFilter, metrics: Sequence[str], by_url: bool, limit: int
) -> list[MetricSummary]:
    """Percentiles per metric and, with `by_url`, per page."""
    conditions = Conditions()
    keys = "metric, url" if by_url else "metric"
    use_summary = not needs_base_rows(_without_event_fields(where), tuple(SUMMARY_FIELDS))
    closed, rest = state.split(whole_range(where)) if use_summary else ([], [whole_range(where)])
    parts: list[str] = []
    if rest or not closed:
        parts.append(_base(conditions.sibling(), where, metrics, keys, rest))
    if closed:
        parts.append(_summary(conditions.sibling(), where, metrics, keys, closed))
    sql = f"""
        SELECT {keys}, sum(n), {_MERGE}(q) AS found, sum(good), sum(middling), sum(bad)
        FROM ({" UNION ALL ".join(parts)}) GROUP BY {keys} HAVING sum(n) > 0
        ORDER BY metric, found[2] DESC, {keys} LIMIT {max(1, min(limit, MAX_SUMMARIES))}
    """
    rows = await reader.query("summing up measurements", sql, conditions.parameters)
    result: list[MetricSummary] = []
    for metric, *url, samples, (p50, p75, p95), good, middling, bad in rows:
        result.append(
            MetricSummary(
                metric=metric,
                samples=samples,
                p50=p50,
                p75=p75,
                p95=p95,
                good=good,
                needs_improvement=middling,
                poor=bad,
                url=url[0] if url else "",
            )
        )
    return result


def _without_event_fields(where: EventFilter) -> EventFilter:
    """The filter without what measurements do not have, which filters nothing here."""
    own = {name: getattr(where, name) for name in ("project_ids", "start", "end", *MEASUREMENT_FIELDS)}
    return EventFilter(**own)


def _base(mine: Conditions, where: EventFilter, metrics: Sequence[str], keys: str, ranges: Sequence[Range]) -> str:
    select_rows(mine, where, MEASUREMENT_FIELDS, ranges)
    mine.among("metric", metrics, "String")
    mine.add("isFinite(value)")
    return f"SELECT {keys}, count() AS n, {_STATE} AS q, {RATINGS} FROM measurements WHERE {mine.sql} GROUP BY {keys}"


def _summary(mine: Conditions, where: EventFilter, metrics: Sequence[str], keys: str, ranges: Sequence[Range]) -> str:
    select_fields(mine, where, SUMMARY_FIELDS)
    mine.within("hour", ranges)
    mine.among("metric", metrics, "String")
    return f"""
        SELECT {keys}, sum(samples) AS n, {_MERGE_STATE} AS q,
            sum(m.good) AS good, sum(m.needs_improvement) AS middling, sum(m.poor) AS bad
        FROM measurement_summary AS m WHERE {mine.sql} GROUP BY {keys}
    """


async def measurements(reader: Reader, where: EventFilter, metric: str, page: Page) -> tuple[list[Measure], str]:
    """Single samples of a metric, newest first."""
    limit = page_limit(page)
    conditions = Conditions()
    select_rows(conditions, where, MEASUREMENT_FIELDS)
    conditions.add(f"metric = {conditions.bind(metric, 'String')}")
    after_cursor(conditions, page.cursor, "timestamp", "measurement_id")
    sql = f"""
        SELECT project_id, measurement_id, metric, value, unit, toUnixTimestamp64Micro(timestamp), url, release,
            environment, browser, attributes
        FROM measurements WHERE {conditions.sql}
        ORDER BY timestamp DESC, project_id DESC, measurement_id DESC LIMIT {limit + 1}
    """
    rows = await reader.query("listing measurements", sql, conditions.parameters)
    found = [
        Measure(
            measurement_id=name, metric=metric, value=value, unit=unit, timestamp=at, url=url, release=release,
            environment=environment, browser=browser, attributes=_decoder.decode(attributes) if attributes else {},
        )
        for _, name, metric, value, unit, at, url, release, environment, browser, attributes in rows[:limit]
    ]  # fmt: skip
    if len(rows) <= limit:
        return found, ""
    return found, encode_cursor(found[-1].timestamp, rows[limit - 1][0], found[-1].measurement_id)
