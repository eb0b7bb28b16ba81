"""What the metrics are: their names in words, their units, and when a web vital is good. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from appliance.web.formats import THIN, duration, number, size

MILLISECOND: Final = "millisecond"


class Metric(Struct, frozen=True, kw_only=True):
    """A metric that is known by name."""

    name: str
    label: str
    help: str
    unit: str = MILLISECOND
    good: float | None = None  # up to here good; None: nobody has said what is
    poor: float | None = None  # beyond this poor
    element: str = "Element"  # what stands in `element`
    more_is_better: bool = False


# The thresholds of web.dev/vitals, judged at the 75th percentile.
VITALS: Final = (
    Metric(
        name="LCP", label="Largest Contentful Paint", good=2_500, poor=4_000,
        help="When the largest image or text of the first screen was painted.",
    ),
    Metric(
        name="INP", label="Interaction to Next Paint", good=200, poor=500, element="Target",
        help="The slowest answer to a click, tap or key, up to the next painted frame.",
    ),
    Metric(
        name="CLS", label="Cumulative Layout Shift", unit="none", good=0.1, poor=0.25, element="Shifted element",
        help="How much of the page moved without being asked.",
    ),
    Metric(
        name="FCP", label="First Contentful Paint", good=1_800, poor=3_000,
        help="When the first text or image was painted.",
    ),
    Metric(
        name="TTFB", label="Time to First Byte", good=800, poor=1_800,
        help="From the start of the navigation to the first byte of the answer.",
    ),
)  # fmt: skip
_OTHERS: Final = (
    Metric(name="load", label="Load event", help="From the start of the navigation to the end of the load event."),
    Metric(name="LOAD", label="Load event", help="From the start of the navigation to the end of the load event."),
    Metric(
        name="long_task", label="Long tasks", element="Script",
        help="Work that held the main thread for 50 ms or more.",
    ),
    Metric(name="long_frame", label="Long frames", element="Script", help="Frames that took 50 ms or more to come."),
    Metric(name="jank", label="Jank", help="How late the main thread answered when it was sampled."),
    Metric(
        name="low_fps", label="Low frame rate", unit="fps", more_is_better=True,
        help="Frames a second while fewer came than asked for.",
    ),
    Metric(
        name="resource_slow", label="Slow resources", element="Resource",
        help="Scripts, styles and images that took long to come.",
    ),
    Metric(
        name="request_slow", label="Slow requests", element="Request",
        help="Requests by fetch or XHR that took long to be answered.",
    ),
)  # fmt: skip
KNOWN: Final[Mapping[str, Metric]] = {metric.name: metric for metric in (*VITALS, *_OTHERS)}
VITAL_NAMES: Final = tuple(metric.name for metric in VITALS)
TONES: Final[Mapping[str, str]] = {"good": "good", "needs improvement": "warn", "poor": "bad"}
_SECONDS_IN: Final[Mapping[str, float]] = {
    "millisecond": 1e-3, "ms": 1e-3, "second": 1.0, "s": 1.0, "microsecond": 1e-6, "nanosecond": 1e-9,
    "minute": 60.0, "hour": 3_600.0,
}  # fmt: skip
_SIZES: Final[Mapping[str, float]] = {"byte": 1.0, "bytes": 1.0, "kilobyte": 1_000.0, "kibibyte": 1_024.0}


def described(name: str, unit: str = "") -> Metric:
    """A metric by its name; of one that an application made up, what can be said."""
    return KNOWN.get(name) or Metric(
        name=name, label=name, unit=unit or MILLISECOND, help="A measurement of the application's own."
    )


def in_words(value: float, unit: str) -> str:
    """A value with its unit: 2.31 s, 0.083, 24 fps, 3.4 KiB."""
    if unit in _SECONDS_IN:
        seconds = value * _SECONDS_IN[unit]
        return duration(seconds) if seconds >= 0 else f"-{duration(-seconds)}"
    if unit in _SIZES:
        return size(value * _SIZES[unit])
    if unit in ("", "none"):
        return number(round(value, 1)) if value == int(value) or abs(value) >= 100 else f"{value:.3f}"
    words = "%" if unit == "percent" else unit
    return f"{number(round(value, 2))}{THIN}{words}"


def limit_in_words(value: float, unit: str) -> str:
    """A threshold, which is a round number: 2.5 s, 0.1."""
    if unit == MILLISECOND and value >= 1_000:
        return f"{value / 1_000:g}{THIN}s"
    return f"{value:g}" if unit in ("", "none") else in_words(value, unit)


def rating(metric: Metric, value: float) -> str:
    """good, needs improvement or poor; "" where nobody has said what is."""
    if metric.good is None or metric.poor is None:
        return ""
    if value <= metric.good:
        return "good"
    return "poor" if value > metric.poor else "needs improvement"


def tone(metric: Metric, value: float) -> str:
    """The tone of a value: good, warn, bad or ""."""
    return TONES.get(rating(metric, value), "")
