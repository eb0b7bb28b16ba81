"""Measurements: distributions per metric and page, and single samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from appliance.hookspecs import EventFilter, Measure, MetricBucket, MetricElement, MetricSummary, Page
from appliance.model import JsonObject

from .engine import Reader, Row
from .filters import (
    MEASUREMENT_FIELDS,
    Conditions,
    Range,
    after_cursor,
    encode_cursor,
    needs_base_rows,
    newest_values,
    select_fields,
    select_rows,
    whole_range,
)
from .queries_events import page_limit
from .summaries import BY_ROUTE, HOUR, OF_ALL, SummaryState

MAX_SUMMARIES: Final = 1_000
MAX_BUCKETS: Final = 1_000  # of one metric: a bar for each pixel of a chart
SUMMARY_FIELDS: Final = {"routes": "route"}
NEEDS_IMPROVEMENT: Final = "rating IN ('needs-improvement', 'needs_improvement')"  # SDKs write both
RATINGS: Final = (
    f"countIf(rating = 'good') AS good, countIf({NEEDS_IMPROVEMENT}) AS middling, countIf(rating = 'poor') AS bad"
)
PERCENTILES: Final = "quantilesTDigest(0.5, 0.75, 0.95)"
_STATE: Final = "quantilesTDigestState(0.5, 0.75, 0.95)(value)"
_MERGE: Final = "quantilesTDigestMerge(0.5, 0.75, 0.95)"
_MERGE_STATE: Final = "quantilesTDigestMergeState(0.5, 0.75, 0.95)(percentiles)"
_MEASURE: Final = ", ".join(
    "toUnixTimestamp64Micro(timestamp)" if name == "timestamp" else name for name in Measure.__struct_fields__
)
_decoder = msgspec.json.Decoder(JsonObject)


async def metric_summaries(
    reader: Reader,
    state: SummaryState,
    where: EventFilter,
    metrics: Sequence[str],
    by: Sequence[str],
    limit: int,
) -> list[MetricSummary]:
    """Percentiles per metric and each of the columns `by`: none, url, route."""
    keys = ", ".join(("metric", *by))
    conditions = Conditions()
    scope = BY_ROUTE if where.routes or "route" in by else OF_ALL
    summed = _is_summed(where) and "url" not in by
    union = _union(conditions, state if summed else None, where, metrics, keys, keys, scope)
    sql = f"""
        SELECT {keys}, sum(n), {_MERGE}(q) AS found, sum(good), sum(middling), sum(bad)
        FROM ({union}) GROUP BY {keys} HAVING sum(n) > 0
        ORDER BY metric, found[2] DESC, {keys} LIMIT {max(1, min(limit, MAX_SUMMARIES))}
    """
    rows = await reader.query("summing up measurements", sql, conditions.parameters)
    return [
        MetricSummary(
            metric=metric, samples=samples, p50=p50, p75=p75, p95=p95, good=good, needs_improvement=middling, poor=bad,
            **dict(zip(by, values, strict=True)),
        )
        for metric, *values, samples, (p50, p75, p95), good, middling, bad in rows
    ]  # fmt: skip


async def metric_histograms(
    reader: Reader, state: SummaryState, where: EventFilter, metrics: Sequence[str], bucket: int
) -> Mapping[str, list[MetricBucket]]:
    """Percentiles per metric and time."""
    found: dict[str, list[MetricBucket]] = {metric: [] for metric in metrics}
    if not metrics:
        return found
    if bucket <= 0:
        raise ValueError(f"a bucket of {bucket} µs: it must be positive")
    conditions = Conditions()
    width = conditions.bind(bucket, "Int64")
    scope = BY_ROUTE if where.routes else OF_ALL
    summed = bucket % HOUR == 0 and _is_summed(where)
    of_base = f"metric, intDiv(toUnixTimestamp64Micro(timestamp), {width}) * {width} AS at"
    of_sums = f"metric, intDiv(toInt64(toUnixTimestamp(hour)) * 1000000, {width}) * {width} AS at"
    union = _union(conditions, state if summed else None, where, metrics, of_base, of_sums, scope, "metric, at")
    sql = f"""
        SELECT metric, at, sum(n), {_MERGE}(q) AS found, sum(good), sum(middling), sum(bad)
        FROM ({union}) GROUP BY metric, at ORDER BY metric, at DESC LIMIT {MAX_BUCKETS} BY metric
    """
    for metric, at, samples, (_, p75, _), good, middling, bad in await reader.query(
        "drawing measurements", sql, conditions.parameters
    ):
        found[metric].append(
            MetricBucket(start=at, samples=samples, p75=p75, good=good, needs_improvement=middling, poor=bad)
        )
    return {metric: bars[::-1] for metric, bars in found.items()}


async def metric_elements(reader: Reader, where: EventFilter, metric: str, limit: int) -> list[MetricElement]:
    """What a metric was measured on."""
    conditions = Conditions()
    select_rows(conditions, where, MEASUREMENT_FIELDS)
    conditions.add(f"metric = {conditions.bind(metric, 'String')}")
    conditions.add("element != '' AND isFinite(value)")
    newest_values(conditions, where.project_ids, [whole_range(where)], (metric,))
    sql = f"""
        SELECT element, count() AS n, countIf(rating = 'poor') AS bad, quantileTDigest(0.75)(value) AS p75, max(value),
            argMax(route, (value, measurement_id))
        FROM measurements WHERE {conditions.sql} GROUP BY element
        ORDER BY bad DESC, p75 DESC, element LIMIT {max(1, min(limit, MAX_SUMMARIES))}
    """
    return [
        MetricElement(element=element, samples=samples, poor=bad, p75=p75, worst=worst, route=route)
        for element, samples, bad, p75, worst, route in await reader.query(
            "looking for what was measured", sql, conditions.parameters
        )
    ]


def _union(
    conditions: Conditions,
    state: SummaryState | None,
    where: EventFilter,
    metrics: Sequence[str],
    of_base: str,
    of_sums: str,
    scope: str,
    keys: str = "",
) -> str:
    """Base rows and, for the hours that `state` vouches for, their sums; `keys` are the names of what it groups by."""
    closed, rest = state.split(whole_range(where)) if state is not None else ([], [whole_range(where)])
    parts: list[str] = []
    if rest or not closed:
        parts.append(_base(conditions.sibling(), where, metrics, of_base, rest, keys or of_base))
    if closed:
        mine = conditions.sibling()
        mine.add(f"scope = {mine.bind(scope, 'String')}")
        parts.append(_summary(mine, where, metrics, of_sums, closed, keys or of_sums))
    return " UNION ALL ".join(parts)


def _is_summed(where: EventFilter) -> bool:
    """Whether hourly sums can answer; what measurements do not have filters nothing here."""
    own = {name: getattr(where, name) for name in ("project_ids", "start", "end", *MEASUREMENT_FIELDS)}
    return not needs_base_rows(EventFilter(**own), tuple(SUMMARY_FIELDS))


def _base(
    mine: Conditions, where: EventFilter, metrics: Sequence[str], columns: str, ranges: Sequence[Range], keys: str
) -> str:
    select_rows(mine, where, MEASUREMENT_FIELDS, ranges)
    mine.among("metric", metrics, "String")
    mine.add("isFinite(value)")
    newest_values(mine, where.project_ids, ranges, metrics)
    return (
        f"SELECT {columns}, count() AS n, {_STATE} AS q, {RATINGS} FROM measurements WHERE {mine.sql} GROUP BY {keys}"
    )


def _summary(
    mine: Conditions, where: EventFilter, metrics: Sequence[str], columns: str, ranges: Sequence[Range], keys: str
) -> str:
    select_fields(mine, where, SUMMARY_FIELDS)
    mine.within("hour", ranges)
    mine.among("metric", metrics, "String")
    return f"""
        SELECT {columns}, sum(samples) AS n, {_MERGE_STATE} AS q,
            sum(m.good) AS good, sum(m.needs_improvement) AS middling, sum(m.poor) AS bad
        FROM measurement_hours AS m WHERE {mine.sql} GROUP BY {keys}
    """


async def measurements(reader: Reader, where: EventFilter, metric: str, page: Page) -> tuple[list[Measure], str]:
    """Single samples of a metric, or of all, newest first."""
    limit = page_limit(page)
    conditions = Conditions()
    select_rows(conditions, where, MEASUREMENT_FIELDS)
    conditions.among("metric", (metric,) if metric else (), "String")
    newest_values(conditions, where.project_ids, [whole_range(where)], (metric,) if metric else ())
    after_cursor(conditions, page.cursor, "timestamp", "measurement_id")
    sql = f"""
        SELECT {_MEASURE} FROM measurements WHERE {conditions.sql}
        ORDER BY timestamp DESC, project_id DESC, measurement_id DESC LIMIT {limit + 1}
    """
    rows = await reader.query("listing measurements", sql, conditions.parameters)
    found = [_measure(row) for row in rows[:limit]]
    if len(rows) <= limit:
        return found, ""
    last = found[-1]
    return found, encode_cursor(last.timestamp, last.project_id, last.measurement_id)


def _measure(row: Row) -> Measure:
    fields = dict(zip(Measure.__struct_fields__, row, strict=True))
    attributes = fields.pop("attributes")
    return Measure(attributes=_decoder.decode(attributes) if attributes else {}, **fields)
