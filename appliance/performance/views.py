"""What the pages about performance show, laid out from what the event store answers. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from msgspec import Struct

from appliance.hookspecs import Measure, MetricBucket, MetricElement, MetricSummary
from appliance.performance.metrics import (
    VITAL_NAMES,
    VITALS,
    Metric,
    described,
    in_words,
    limit_in_words,
    rating,
    tone,
)
from appliance.web.charts import Bar, Line, Part, columns, level, parts, stacks
from appliance.web.formats import exact, number, percent

ROUTES_SHOWN: Final = 20  # on the overview; the metric's own page has more
ROUTE_METRICS: Final = ("LCP", "INP", "CLS", "TTFB")
COMPARABLE: Final = 20  # samples; the percentile of fewer jumps by itself
STEADY: Final = 0.03  # of change: less is noise
MAX_DETAIL: Final = 500  # characters of one attribute on the page


class Card(Struct, frozen=True, kw_only=True):
    """A web vital on the overview."""

    metric: Metric
    samples: int
    value: str  # p75; "" without samples
    title: str
    rating: str
    tone: str
    parts: tuple[Part, ...]
    bars: tuple[Bar, ...]
    change: str  # against the period before; "" where that says nothing
    change_tone: str


class Row(Struct, frozen=True, kw_only=True):
    """A metric, or one of its routes or pages, in a table."""

    name: str
    label: str
    samples: int
    p50: str
    p75: str
    p95: str
    tone: str
    rating: str
    parts: tuple[Part, ...] = ()


class RouteRow(Struct, frozen=True, kw_only=True):
    """A route with its p75 of each vital: (text, tone, rating, samples)."""

    route: str
    samples: int
    cells: tuple[tuple[str, str, str, int], ...]


class Overview(Struct, frozen=True, kw_only=True):
    """The page about all metrics."""

    cards: tuple[Card, ...]
    others: tuple[Row, ...]
    routes: tuple[RouteRow, ...]
    more_routes: int
    samples: int


class ChartRow(Struct, frozen=True, kw_only=True):
    """A bar of a chart as a row of its table."""

    start: int
    samples: int
    p75: str


class Chart(Struct, frozen=True, kw_only=True):
    """A metric over time."""

    values: tuple[Bar, ...]
    counts: tuple[Bar, ...]
    lines: tuple[Line, ...]
    top: str  # the value at the upper edge
    start: int
    end: int
    rows: tuple[ChartRow, ...]


class ElementRow(Struct, frozen=True, kw_only=True):
    """What was measured."""

    element: str
    samples: int
    poor: int
    p75: str
    tone: str
    worst: str
    route: str


class SampleRow(Struct, frozen=True, kw_only=True):
    """One sample."""

    sample: Measure
    value: str
    tone: str
    rating: str
    details: tuple[tuple[str, str], ...]


class MetricPage(Struct, frozen=True, kw_only=True):
    """The page about one metric."""

    metric: Metric
    summary: Row | None
    change: str
    change_tone: str
    chart: Chart
    by_route: tuple[Row, ...]
    by_url: tuple[Row, ...]
    elements: tuple[ElementRow, ...]


def overview(
    found: Sequence[MetricSummary],
    before: Sequence[MetricSummary],
    bars: Mapping[str, Sequence[MetricBucket]],
    routes: Sequence[MetricSummary],
    units: Mapping[str, str],
    times: Sequence[int],
) -> Overview:
    """The page about all metrics.

    Args:
        found: one for each metric.
        before: the same of the period before.
        bars: of the vitals.
        routes: the vitals by route.
        units: of metrics that are not known by name.
        times: the starts of all bars, µs.
    """
    by_name = {one.metric: one for one in found}
    earlier = {one.metric: one for one in before}
    others = [one for one in found if one.metric not in VITAL_NAMES]
    lines = _routes(routes)
    return Overview(
        cards=tuple(
            _card(metric, by_name.get(metric.name), earlier.get(metric.name), bars.get(metric.name, ()), times)
            for metric in VITALS
        ),
        others=tuple(_row(one, described(one.metric, units.get(one.metric, ""))) for one in others),
        routes=tuple(lines[:ROUTES_SHOWN]),
        more_routes=max(0, len(lines) - ROUTES_SHOWN),
        samples=sum(one.samples for one in found),
    )


def metric_page(
    metric: Metric,
    found: MetricSummary | None,
    before: MetricSummary | None,
    bars: Sequence[MetricBucket],
    by_route: Sequence[MetricSummary],
    by_url: Sequence[MetricSummary],
    elements: Sequence[MetricElement],
    times: Sequence[int],
) -> MetricPage:
    """The page about one metric; arguments as `overview` has them."""
    change, change_tone = compared(metric, found, before)
    return MetricPage(
        metric=metric,
        summary=_row(found, metric) if found else None,
        change=change,
        change_tone=change_tone,
        chart=_chart(metric, bars, times),
        by_route=tuple(_row(one, metric, one.route) for one in by_route),
        by_url=tuple(_row(one, metric, one.url) for one in by_url),
        elements=tuple(_element(one, metric) for one in elements),
    )


def sample_row(sample: Measure, metric: Metric) -> SampleRow:
    """A sample; its own rating goes before ours."""
    said = sample.rating.replace("-", " ").replace("_", " ")
    unit = sample.unit or metric.unit
    pairs = (
        (name, value if isinstance(value, str) else number(value) if isinstance(value, int | float) else str(value))
        for name, value in sample.attributes.items()
        if value not in (None, "", [], {})
    )
    return SampleRow(
        sample=sample,
        value=in_words(sample.value, unit),
        rating=said or rating(metric, sample.value),
        tone={"good": "good", "needs improvement": "warn", "poor": "bad"}.get(said) or tone(metric, sample.value),
        details=tuple((name, value[:MAX_DETAIL]) for name, value in pairs),
    )


def rating_parts(good: int, middling: int, poor: int) -> tuple[Part, ...]:
    """The distribution of ratings; nothing where nothing was rated."""
    return parts((("good", "good", good), ("needs improvement", "warn", middling), ("poor", "bad", poor)))


def compared(metric: Metric, found: MetricSummary | None, before: MetricSummary | None) -> tuple[str, str]:
    """How the p75 compares with that of the period before: (words, tone); nothing where either has too few samples."""
    if found is None or before is None or min(found.samples, before.samples) < COMPARABLE or before.p75 <= 0:
        return "", ""
    change = (found.p75 - before.p75) / before.p75
    if abs(change) < STEADY:
        return "as in the period before", ""
    words = f"{'▲' if change > 0 else '▼'} {percent(abs(change))} {'more' if change > 0 else 'less'} than before"
    return words, "good" if (change > 0) is metric.more_is_better else "bad"


def _card(
    metric: Metric,
    found: MetricSummary | None,
    before: MetricSummary | None,
    bars: Sequence[MetricBucket],
    times: Sequence[int],
) -> Card:
    change, change_tone = compared(metric, found, before)
    if found is None:
        return Card(
            metric=metric, samples=0, value="", title="", rating="", tone="", parts=(), bars=(), change="",
            change_tone="",
        )  # fmt: skip
    return Card(
        metric=metric,
        samples=found.samples,
        value=in_words(found.p75, metric.unit),
        title=f"p50 {in_words(found.p50, metric.unit)}, p75 {in_words(found.p75, metric.unit)}, "
        f"p95 {in_words(found.p95, metric.unit)} of {number(found.samples)} samples",
        rating=rating(metric, found.p75),
        tone=tone(metric, found.p75),
        parts=rating_parts(found.good, found.needs_improvement, found.poor),
        bars=columns(_values(metric, bars, times)),
        change=change,
        change_tone=change_tone,
    )


def _values(metric: Metric, bars: Sequence[MetricBucket], times: Sequence[int]) -> list[tuple[float | None, str, str]]:
    by_time = {bar.start: bar for bar in bars}
    values: list[tuple[float | None, str, str]] = []
    for at in times:
        bar = by_time.get(at)
        if bar is None:
            values.append((None, "", f"{exact(at)}: no samples"))
        else:
            words = f"{exact(at)}: p75 {in_words(bar.p75, metric.unit)} of {number(bar.samples)}"
            values.append((bar.p75, tone(metric, bar.p75), words))
    return values


def _row(found: MetricSummary, metric: Metric, name: str | None = None) -> Row:
    return Row(
        name=found.metric if name is None else name,
        label=metric.label,
        samples=found.samples,
        p50=in_words(found.p50, metric.unit),
        p75=in_words(found.p75, metric.unit),
        p95=in_words(found.p95, metric.unit),
        tone=tone(metric, found.p75),
        rating=rating(metric, found.p75),
        parts=rating_parts(found.good, found.needs_improvement, found.poor),
    )


def _routes(found: Iterable[MetricSummary]) -> list[RouteRow]:
    """One row a route, the one with the most samples first."""
    by_route: dict[str, dict[str, MetricSummary]] = {}
    for one in found:
        by_route.setdefault(one.route, {})[one.metric] = one
    rows = [
        RouteRow(
            route=route,
            samples=max(one.samples for one in metrics.values()),
            cells=tuple(_cell(name, metrics.get(name)) for name in ROUTE_METRICS),
        )
        for route, metrics in by_route.items()
    ]
    return sorted(rows, key=lambda row: (-row.samples, row.route))


def _cell(name: str, found: MetricSummary | None) -> tuple[str, str, str, int]:
    if found is None:
        return "", "", "", 0
    metric = described(name)
    return in_words(found.p75, metric.unit), tone(metric, found.p75), rating(metric, found.p75), found.samples


def _element(found: MetricElement, metric: Metric) -> ElementRow:
    return ElementRow(
        element=found.element,
        samples=found.samples,
        poor=found.poor,
        p75=in_words(found.p75, metric.unit),
        tone=tone(metric, found.p75),
        worst=in_words(found.worst, metric.unit),
        route=found.route,
    )


def _chart(metric: Metric, bars: Sequence[MetricBucket], times: Sequence[int]) -> Chart:
    top = max([bar.p75 for bar in bars], default=0.0)
    if metric.good is not None and metric.poor is not None:
        top = max(top, metric.poor * 1.1)  # so that both lines are seen
    by_time = {bar.start: bar for bar in bars}
    piles: list[tuple[list[tuple[int, str]], str]] = []
    for at in times:
        bar = by_time.get(at)
        if bar is None:
            piles.append(([], f"{exact(at)}: no samples"))
            continue
        rated = [(bar.good, "good"), (bar.needs_improvement, "warn"), (bar.poor, "bad")]
        unrated = max(0, bar.samples - bar.good - bar.needs_improvement - bar.poor)
        words = f"{exact(at)}: {number(bar.samples)} samples"
        if unrated < bar.samples:
            words += f", {number(bar.good)} good, {number(bar.needs_improvement)} middling, {number(bar.poor)} poor"
        piles.append(([*rated, (unrated, "")], words))
    levels = [
        level(metric.good or 0, top, f"good up to {limit_in_words(metric.good or 0, metric.unit)}", "good"),
        level(metric.poor or 0, top, f"poor beyond {limit_in_words(metric.poor or 0, metric.unit)}", "bad"),
    ]
    return Chart(
        values=columns(_values(metric, bars, times), top),
        counts=stacks(piles),
        lines=tuple(line for line in levels if line),
        top=in_words(top, metric.unit),
        start=times[0] if times else 0,
        end=times[-1] if times else 0,
        rows=tuple(ChartRow(start=bar.start, samples=bar.samples, p75=in_words(bar.p75, metric.unit)) for bar in bars),
    )
