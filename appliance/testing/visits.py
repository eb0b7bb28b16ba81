"""The pages about performance, sessions, traces and drops over the reference store, for tests of pages."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Collection
from typing import Any, Final, cast

from litestar import Litestar, Router
from litestar.di import Provide

from appliance.accounts.access import AccessError, Actor
from appliance.hookspecs import EventStore
from appliance.issues.views import IssueMention
from appliance.model import Batch
from appliance.outcomes.routes import routes as outcome_routes
from appliance.outcomes.service import OutcomeService
from appliance.performance.metrics import VITALS
from appliance.performance.routes import routes as performance_routes
from appliance.performance.service import PerformanceService
from appliance.sessions.routes import routes as session_routes
from appliance.sessions.service import SessionService
from appliance.testing.clock import FakeClock
from appliance.testing.dashboard import OWNER, MadeUpIssues, dashboard
from appliance.testing.rows import (
    NOW,
    SECOND,
    event_row,
    hex_id,
    measurement_row,
    outcome_row,
    page_view_row,
    session_row,
    span_row,
)
from appliance.traces.routes import routes as trace_routes
from appliance.traces.service import TraceService
from appliance.web.errors import handle_refusal

HOUR: Final = 3_600 * SECOND
HASH: Final = 101  # of every made-up event; it leads to issue 1
ISSUE: Final = IssueMention(id=1, title="TypeError: x is undefined", state="open")
ROUTES: Final = ("/", "/search", "/products/:id", "/cart", "/checkout", "/account/orders/" + "a-long-part/" * 8)


class _Issues(MadeUpIssues):
    async def mentions(self, actor: Actor, project_id: int, hashes: Collection[int]) -> dict[int, IssueMention]:
        return {HASH: ISSUE} if HASH in hashes and actor.sees(project_id) else {}


def visits_dashboard(store: EventStore, actor: Actor = OWNER) -> Litestar:
    """The dashboard with these pages and their API over a store; its clock stands at `NOW`."""
    clock = FakeClock(NOW)
    issues = _Issues(NOW)
    given: dict[str, object] = {
        "performance": PerformanceService(store),
        "sessions": SessionService(store, issues),
        "traces": TraceService(store, issues, clock),
        "outcomes": OutcomeService(store),
    }
    router = Router(
        "/",
        route_handlers=[*performance_routes, *session_routes, *trace_routes, *outcome_routes],
        dependencies={name: Provide(_giving(value), sync_to_thread=False) for name, value in given.items()},
        exception_handlers=cast("dict[Any, Any]", {AccessError: handle_refusal}),
    )
    return dashboard(actor, issues, clock=clock, handlers=[router])


def _giving(value: object) -> Callable[[], Any]:
    return lambda: value


def busy_days(visits: int = 40, seed: int = 3) -> Batch:
    """Two days of visits to project 1: vitals of every rating, gaps, errors, traces, drops.

    Args:
        visits: how many; the session of number n has the id `hex_id(5000 + n)`, its trace `hex_id(400 + n)`.
        seed: the same seed gives the same visits.
    """
    return _Days(random.Random(seed)).of(visits)  # noqa: S311 - made-up data


class _Days:
    def __init__(self, draw: random.Random) -> None:
        self._draw = draw
        self._batch = Batch(batch_id=7)
        self._ordinal = 0

    def of(self, visits: int) -> Batch:
        for number in range(visits):
            self._visit(number)
        for reason, category, quantity, source in (
            ("flood", "error", 412, "client"), ("sample_rate", "measurement", 3_201, "client"),
            ("never_heard_of", "error", 2, "client"), ("rate_limited", "error", 33, "server"),
        ):  # fmt: skip
            self._batch.outcomes.append(
                outcome_row(self._next(), reason=reason, category=category, quantity=quantity, source=source)
            )
        return self._batch

    def _next(self) -> int:
        self._ordinal += 1
        return self._ordinal

    def _visit(self, number: int) -> None:
        draw = self._draw
        began = at = NOW - HOUR // 4 - int(draw.triangular(0, 46 * HOUR, 0))
        shared: dict[str, Any] = {
            "session_id": hex_id(5000 + number),
            "browser": draw.choice(("Chrome", "Chrome", "Safari", "Firefox")),
            "release": draw.choice(("shop@4.17.2", "shop@4.18.0")),
        }
        errors = 0
        for index in range(draw.randint(1, 4)):
            view_id = hex_id(9000 + number * 10 + index)
            errors += self._page_view(number, at, view_id, killed=number % 9 == 0 and not index, shared=shared)
            at += draw.randint(20, 120) * SECOND
        user = f"u-{draw.randint(1, 30)}" if number % 3 else ""
        self._batch.sessions.append(
            session_row(
                self._next(), started=began, timestamp=at, received_at=at, errors=errors,
                status=draw.choice(("errored", "crashed")) if errors else draw.choice(("ok", "exited")),
                duration=(at - began) / SECOND, user_id=user, user_hash=len(user), **shared,
            )
        )  # fmt: skip
        self._trace(number, began)

    def _page_view(self, number: int, at: int, view_id: str, *, killed: bool, shared: dict[str, Any]) -> int:
        draw = self._draw
        route = draw.choice(ROUTES)
        url = f"https://shop.example{route.replace(':id', str(draw.randint(1, 99)))}"
        last = draw.randint(6, 40)
        arrived = list(range(1, last + 1 - (3 if killed else 0)))
        here: dict[str, Any] = {"url": url, "page_view_id": view_id, "received_at": at, **shared}
        self._batch.page_views.append(
            page_view_row(
                self._next(), timestamp=at, route=route, title="Kettles – Example shop", last_sequence=last,
                sequences=arrived, envelope_id=hex_id(77_000 + self._ordinal), **here,
            )
        )  # fmt: skip
        for metric in VITALS:
            good, poor = metric.good or 0, metric.poor or 0
            value = good * 0.8 * math.exp(draw.gauss(0, 0.5))
            rating = "good" if value <= good else "poor" if value > poor else "needs-improvement"
            self._batch.measurements.append(
                measurement_row(
                    self._next(), metric=metric.name, value=value, unit=metric.unit, rating=rating, timestamp=at,
                    route=route, element=draw.choice(("main > img.hero", "div#app > ul > li:nth-child(3) > img")),
                    attributes=json.dumps({"loadState": "complete", "nested": {"a": 1}}).encode(), **here,
                )
            )  # fmt: skip
        for _ in range(draw.randint(0, 2)):
            self._batch.measurements.append(
                measurement_row(
                    self._next(), metric=draw.choice(("long_task", "request_slow", "checkout/render")),
                    value=draw.uniform(60, 3_000), rating="", timestamp=at + draw.randint(1, 20) * SECOND, route=route,
                    element="GET https://shop.example/api/items/4711?expand=prices", **here,
                )
            )  # fmt: skip
        if draw.random() > 0.3:
            return 0
        self._batch.events.append(
            event_row(
                self._next(), timestamp=at + 8 * SECOND, group_hash=HASH, trace_id=hex_id(400 + number),
                replay_id=hex_id(3) if number % 2 else "", **here,
            )
        )  # fmt: skip
        return 1

    def _trace(self, number: int, at: int) -> None:
        shared: dict[str, Any] = {"trace_id": hex_id(400 + number), "received_at": at}
        root = "a" * 16
        self._batch.spans.append(span_row(self._next(), span_id=root, start=at, end=at + 2_300_000, **shared))
        begin = at + 100_000
        for index, (op, name, length, parent, status) in enumerate(
            (
                ("browser.dns", "shop.example", 30_000, root, "ok"),
                ("http.client", "GET /api/cart", 600_000, root, "ok"),
                ("http.client", "GET /api/prices?" + "x" * 90, 900_000, "c" * 15 + "1", "internal_error"),
                ("ui.render", "<Checkout>", 300_000, root, ""),
            )
        ):  # fmt: skip
            self._batch.spans.append(
                span_row(
                    self._next(), span_id="c" * 15 + str(index), parent_span_id=parent, op=op, name=name, start=begin,
                    end=begin + length, status=status, is_segment=False,
                    attributes=b'{"http.response.status_code":502}' if status == "internal_error" else b"", **shared,
                )
            )  # fmt: skip
            begin += 200_000
