"""Shapes of measurements in the JSON API."""

from __future__ import annotations

from msgspec import Struct

from appliance.hookspecs import MetricSummary


class MetricBody(Struct, frozen=True, kw_only=True):
    """The distribution of one metric; `url` and `route` are "" for all of them together."""

    metric: str
    url: str
    route: str
    samples: int
    p50: float
    p75: float
    p95: float
    good: int
    needs_improvement: int
    poor: int


class MetricPage(Struct, frozen=True, kw_only=True):
    """Metrics, the worst p75 first; it is one page, `next` is always null."""

    items: list[MetricBody]
    next: str | None = None


def metric_body(found: MetricSummary) -> MetricBody:
    """As the API shows it."""
    return MetricBody(
        metric=found.metric,
        url=found.url,
        route=found.route,
        samples=found.samples,
        p50=found.p50,
        p75=found.p75,
        p95=found.p95,
        good=found.good,
        needs_improvement=found.needs_improvement,
        poor=found.poor,
    )
