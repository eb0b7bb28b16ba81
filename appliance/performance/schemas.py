"""Shapes of measurements in the JSON API."""

from __future__ import annotations

from msgspec import Struct

from appliance.hookspecs import Measure, MetricSummary
from appliance.model import JsonObject
from appliance.web.formats import iso


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


class SampleBody(Struct, frozen=True, kw_only=True):
    """One sample of a metric, as it was measured."""

    id: str
    project_id: int
    metric: str
    value: float
    unit: str
    rating: str
    at: str
    url: str
    route: str
    element: str
    session_id: str
    page_view_id: str
    trace_id: str
    release: str
    environment: str
    browser: str
    attributes: JsonObject


class SamplePage(Struct, frozen=True, kw_only=True):
    """A page of samples, newest first."""

    items: list[SampleBody]
    next: str | None


def sample_body(found: Measure) -> SampleBody:
    """As the API shows it."""
    return SampleBody(
        id=found.measurement_id,
        project_id=found.project_id,
        metric=found.metric,
        value=found.value,
        unit=found.unit,
        rating=found.rating,
        at=iso(found.timestamp),
        url=found.url,
        route=found.route,
        element=found.element,
        session_id=found.session_id,
        page_view_id=found.page_view_id,
        trace_id=found.trace_id,
        release=found.release,
        environment=found.environment,
        browser=found.browser,
        attributes=found.attributes,
    )


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
