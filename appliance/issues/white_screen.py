"""A white screen as its page shows it: where the SDK looked, what it saw there, what had gone wrong before.

Pure. What a page reported is untrusted: anything of another shape than expected is left out, never an error.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from appliance.model import Event, Json, JsonObject

MAX_POINTS: Final = 400  # of one drawing; the SDK looks at 25
MAX_LINES: Final = 20  # of each list beside it
MAX_TEXT: Final = 300
MAX_SIDE: Final = 20_000  # px; of a viewport
CONTEXT: Final = "white_screen"
REASONS: Final[Mapping[str, str]] = {
    "empty_root": "The element that should hold the application is empty.",
    "hidden": "There is content in the page, and none of it is seen.",
    "background": "Nothing but backgrounds is seen.",
    "skeleton": "Nothing but a skeleton is seen, and it does not go away.",
    "loading_mask": "Nothing but a loading mask is seen, and it does not go away.",
}
TRIGGERS: Final[Mapping[str, str]] = {
    "load": "after the page had loaded", "route": "after a change of route", "error": "after an error",
    "removal": "after much was removed from the page", "show": "when the page came to the front again",
    "manual": "because the application asked",
}  # fmt: skip
FOUND: Final = ("content", "loading", "empty")
_SIZE: Final = re.compile(r"(\d{1,5}) × (\d{1,5})")  # as the protocol writes a viewport


class Point(Struct, frozen=True, kw_only=True):
    """One place of the viewport."""

    x: float
    y: float
    found: str  # content, loading or empty
    title: str


class Failure(Struct, frozen=True, kw_only=True):
    """An error or a resource that had failed; `event_id` when it was reported by itself."""

    text: str
    event_id: str = ""


class WhiteScreenView(Struct, frozen=True, kw_only=True):
    """All of it."""

    reason: str
    words: str
    width: float
    height: float
    radius: float  # of a point in the drawing
    points: tuple[Point, ...]
    counts: tuple[tuple[str, int], ...]  # of what was found
    facts: tuple[tuple[str, str], ...]
    body: tuple[str, ...]  # the page's outline: selector and number of children
    errors: tuple[Failure, ...]
    resources: tuple[Failure, ...]


def white_screen_view(event: Event) -> WhiteScreenView | None:
    """Lay it out; None for an event that reports none."""
    report = event.contexts.get(CONTEXT)
    if not isinstance(report, dict):
        return None
    points = _points(report.get("points"))
    width, height = _viewport(event, points)
    dom = _object(report.get("dom"))
    reason = _text(report.get("reason"))
    counted = [(name, sum(point.found == name for point in points)) for name in FOUND]
    return WhiteScreenView(
        reason=reason.replace("_", " "),
        words=REASONS.get(reason, ""),
        width=width,
        height=height,
        radius=max(4.0, min(width, height) / 45),
        points=points,
        counts=tuple((name, count) for name, count in counted if count),
        facts=tuple(_facts(report, dom)),
        body=tuple(line for line in map(_text, _list(dom.get("body"))) if line),
        errors=tuple(_error(_object(one)) for one in _list(report.get("last_errors")) if _object(one)),
        resources=tuple(_resource(_object(one)) for one in _list(report.get("failed_resources")) if _object(one)),
    )


def _points(found: Json) -> tuple[Point, ...]:
    points: list[Point] = []
    for one in map(_object, (found if isinstance(found, list) else [])[:MAX_POINTS]):
        x, y, seen = _side(one.get("x")), _side(one.get("y")), _text(one.get("found"))
        if x is not None and y is not None and seen in FOUND:
            element = _text(one.get("element")) or "nothing"
            points.append(Point(x=x, y=y, found=seen, title=f"{seen} at {x:g}, {y:g}: {element}"))
    return tuple(points)


def _viewport(event: Event, points: tuple[Point, ...]) -> tuple[float, float]:
    """The size that the page said it had, or what its grid of points was spread over."""
    said = _SIZE.fullmatch(_text(_object(event.contexts.get("page")).get("viewport")))
    width, height = (_side(float(side)) for side in said.groups()) if said else (None, None)
    if width and height:
        return width, height
    xs, ys = [point.x for point in points] or [0.0], [point.y for point in points] or [0.0]
    return max(min(xs) + max(xs), 1.0), max(min(ys) + max(ys), 1.0)


def _facts(report: JsonObject, dom: JsonObject) -> list[tuple[str, str]]:
    trigger = _text(report.get("trigger"))
    named = (
        ("Looked", TRIGGERS.get(trigger, trigger)),
        ("Looks", _text(report.get("looks"))),
        ("Root", _text(report.get("root"))),
        ("Children of it", _text(dom.get("root_children"))),
        ("Elements", _text(dom.get("elements"))),
        ("Document", _text(dom.get("ready_state"))),
    )
    return [(name, value) for name, value in named if value]


def _error(found: JsonObject) -> Failure:
    kind, value = _text(found.get("type")), _text(found.get("value"))
    text = ": ".join(part for part in (kind, value) if part) or "an error without a message"
    return Failure(text=text, event_id=_text(found.get("id")))


def _resource(found: JsonObject) -> Failure:
    url, status = _text(found.get("url")) or _text(found.get("src")), _text(found.get("status"))
    return Failure(text=(url or "a resource") + (f" answered {status}" if status else ""))


def _object(found: Json) -> JsonObject:
    return found if isinstance(found, dict) else {}


def _list(found: Json) -> list[Json]:
    return found[:MAX_LINES] if isinstance(found, list) else []


def _text(found: Json) -> str:
    if isinstance(found, bool) or not isinstance(found, str | int | float):
        return ""
    return str(found)[:MAX_TEXT]


def _side(found: Json) -> float | None:
    """A length in px within reason."""
    if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
        return None
    return float(found) if 0 <= found <= MAX_SIDE else None
