"""A white screen's page: the points over the viewport, and nothing that a hostile page could do with it."""

from __future__ import annotations

from typing import Any

import pytest

from appliance.issues.event_view import event_view
from appliance.issues.white_screen import white_screen_view
from appliance.model import Event, Kind, Request

POINTS = [
    {"x": 144, "y": 82, "found": "empty", "element": "div#root"},
    {"x": 432, "y": 82, "found": "loading", "element": "div.spinner"},
    {"x": 1296, "y": 738, "found": "content", "element": "<img src=x>"},
]
REPORT = {
    "reason": "empty_root", "trigger": "load", "looks": 3, "points": POINTS, "root": "div#root",
    "dom": {"ready_state": "complete", "elements": 14, "root_children": 0, "body": ["div#root: 0"]},
    "last_errors": [{"id": "a" * 32, "type": "TypeError", "value": "x is undefined"}],
    "failed_resources": [{"url": "https://cdn.example/app.js", "status": 404}],
}  # fmt: skip


def event(report: Any, **contexts: Any) -> Event:
    contexts = {"white_screen": report, **contexts}
    return Event(id="b" * 32, kind=Kind.WHITE_SCREEN, timestamp=1, contexts=contexts)


def test_the_points_lie_over_the_viewport_that_the_page_had() -> None:
    view = white_screen_view(event(REPORT, page={"viewport": "1440 × 820"}))
    assert view is not None
    assert (view.width, view.height) == (1440, 820)
    assert [point.found for point in view.points] == ["empty", "loading", "content"]
    assert view.counts == (("content", 1), ("loading", 1), ("empty", 1))
    assert view.reason == "empty root"
    assert view.words.startswith("The element that should hold the application")
    assert ("Children of it", "0") in view.facts
    assert (view.errors[0].text, view.errors[0].event_id) == ("TypeError: x is undefined", "a" * 32)
    assert view.resources[0].text == "https://cdn.example/app.js answered 404"


def test_without_a_viewport_the_grid_says_how_large_it_was() -> None:
    view = white_screen_view(event(REPORT))
    assert view is not None
    assert (view.width, view.height) == (1440, 820)


@pytest.mark.parametrize(
    "report",
    [
        {}, {"points": "many"}, {"points": [None, 1, {"x": "1"}, {"x": float("nan"), "y": 1, "found": "empty"}]},
        {"points": [{"x": -1, "y": 1e12, "found": "empty"}]}, {"points": [{"x": True, "y": 1, "found": "empty"}]},
        {"dom": [], "last_errors": {}, "failed_resources": [1, None], "reason": {"a": 1}, "looks": []},
        {"points": [{"x": 1, "y": 1, "found": "<script>"}]},
    ],
)  # fmt: skip
def test_a_report_of_another_shape_shows_what_can_be_read(report: Any) -> None:
    view = white_screen_view(event(report, page={"viewport": "99999999 × 0"}))
    assert view is not None
    assert view.points == ()
    assert view.width >= 1


def test_more_points_than_a_drawing_takes_are_cut() -> None:
    view = white_screen_view(event({"points": [{"x": 1, "y": 1, "found": "empty"}] * 9_999}))
    assert view is not None
    assert len(view.points) == 400


def test_other_events_have_none() -> None:
    assert white_screen_view(Event(id="b" * 32, kind=Kind.ERROR, timestamp=1)) is None
    assert white_screen_view(event("text")) is None


def test_what_has_a_place_of_its_own_is_not_shown_twice() -> None:
    request = Request(url="https://shop.example/api/cart", method="POST")
    shown = event_view(
        Event(
            id="b" * 32, kind=Kind.ERROR, timestamp=1, request=request,
            contexts={"flood": {"count": 4}, "response": {"status_code": 502}, "page": {"title": "Cart"}},
        )
    )  # fmt: skip
    assert shown.count == 4
    assert [table.title for table in shown.contexts] == ["page"]
    assert shown.request is not None
    assert ("Answered", "502") in shown.request.pairs
    assert event_view(event({}, flood={"count": True})).count == 1
    assert event_view(event({}, flood="x")).count == 1
