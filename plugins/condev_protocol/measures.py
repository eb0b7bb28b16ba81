"""Performance entries: web vitals, long tasks, jank and low frame rates."""

from __future__ import annotations

from typing import Final

from appliance.decoding import cut, json_object, line, number, text
from appliance.model import MAX_LABEL, Json, Measurement

from .common import Report, object_of

# entry type → (metric of the model, the field with its value, unit)
_METRICS: Final = {
    "longTask": ("long_task", "duration", "millisecond"),
    "jank": ("jank", "lagMax", "millisecond"),
    "lowFps": ("low_fps", "fps", "fps"),
}
_DETAILS: Final = {
    "webVital": ("id", "navigationType", "attribution"),
    "longTask": ("name", "startTime", "attribution"),
    "jank": ("count", "lagAvg", "lagMax", "threshold", "sampleInterval", "reportInterval"),
    "lowFps": ("threshold", "consecutive"),
}
_DEPTH: Final = 4


def decode_measurement(report: Report) -> Measurement | None:
    """An entry with event_type "performance"; None when it has no value or is of no known type."""
    found = report.found
    if report.type == "webVital":
        metric, unit, value = line(found.get("name")), "millisecond", number(found.get("value"))
        unit = "none" if metric == "CLS" else unit
    else:
        metric, field, unit = _METRICS.get(report.type, ("", "", ""))
        value = number(found.get(field))
    if not metric or value is None:
        return None
    details: dict[str, Json] = {
        name: found[name]
        for name in _DETAILS.get(report.type, ("id", "navigationType", "attribution"))
        if name in found
    }
    return Measurement(
        id=report.id,
        metric=cut(metric, MAX_LABEL),
        value=value,
        timestamp=report.timestamp,
        unit=unit,
        rating=cut(line(found.get("rating")), MAX_LABEL),
        url=report.url,
        route=report.path,
        release=report.release,
        environment=report.environment,
        element=cut(_element(found.get("attribution")), MAX_LABEL),
        user_agent=report.user_agent,
        user_id=report.user_id,
        attributes=json_object(details, _DEPTH),
    )


def _element(attribution: Json) -> str:
    """What a long task is attributed to: the frame it ran in, where that has a name or address."""
    first = attribution[0] if isinstance(attribution, list) and attribution else attribution
    found = object_of(first)
    return line(text(found.get("containerName")) or text(found.get("containerId")) or text(found.get("containerSrc")))
