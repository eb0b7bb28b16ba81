"""How the reference store sums up measurements: plain functions over rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from appliance.hookspecs import Measure, MetricBucket, MetricElement, MetricSummary
from appliance.model import JsonObject, MeasurementRow
from appliance.testing.reference_answers import grouped


def summaries_of(rows: Sequence[MeasurementRow], by_url: bool, by_route: bool) -> list[MetricSummary]:
    """Per metric and, if asked for, per page or route, worst p75 of each metric first."""
    groups = grouped(rows, lambda row: (row.metric, row.url if by_url else "", row.route if by_route else ""))
    found = [
        MetricSummary(metric=metric, url=url, route=route, **_distribution(some))
        for (metric, url, route), some in groups.items()
    ]
    return sorted(found, key=lambda one: (one.metric, -one.p75, one.url, one.route))


def histograms_of(
    rows: Sequence[MeasurementRow], metrics: Sequence[str], bucket: int
) -> Mapping[str, list[MetricBucket]]:
    """Per metric and time; without metrics nothing."""
    found: dict[str, list[MetricBucket]] = {metric: [] for metric in metrics}
    if not metrics:
        return found
    if bucket <= 0:
        raise ValueError(f"a bucket of {bucket} µs: it must be positive")
    groups = grouped(rows, lambda row: (row.metric, row.timestamp // bucket * bucket))
    for metric, start in sorted(groups):
        figures = _distribution(groups[metric, start])
        del figures["p50"], figures["p95"]
        found[metric].append(MetricBucket(start=start, **figures))
    return found


def elements_of(rows: Sequence[MeasurementRow]) -> list[MetricElement]:
    """By what was measured, most poor samples first."""
    found: list[MetricElement] = []
    for element, group in grouped((row for row in rows if row.element), lambda row: row.element).items():
        worst = max(group, key=lambda row: (row.value, row.measurement_id))
        found.append(
            MetricElement(
                element=element, samples=len(group), poor=sum(row.rating == "poor" for row in group),
                p75=_percentile(sorted(row.value for row in group), 0.75), worst=worst.value, route=worst.route,
            )
        )  # fmt: skip
    return sorted(found, key=lambda one: (-one.poor, -one.p75, one.element))


def measure_of(row: MeasurementRow) -> Measure:
    """A sample for lists."""
    fields: dict[str, Any] = {name: getattr(row, name) for name in Measure.__struct_fields__}
    fields["attributes"] = msgspec.json.decode(row.attributes, type=JsonObject) if row.attributes else {}
    return Measure(**fields)


def _distribution(rows: Sequence[MeasurementRow]) -> dict[str, Any]:
    values = sorted(row.value for row in rows)
    ratings = Counter(row.rating.replace("_", "-") for row in rows)
    p50, p75, p95 = (_percentile(values, share) for share in (0.5, 0.75, 0.95))
    return {
        "samples": len(rows), "p50": p50, "p75": p75, "p95": p95, "good": ratings["good"],
        "needs_improvement": ratings["needs-improvement"], "poor": ratings["poor"],
    }  # fmt: skip


def _percentile(values: Sequence[float], share: float) -> float:
    """Of sorted values, interpolated."""
    place = share * (len(values) - 1)
    low = int(place)
    high = min(low + 1, len(values) - 1)
    return values[low] + (values[high] - values[low]) * (place - low)
