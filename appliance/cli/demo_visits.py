"""Sample visits to the small web shop, as our own SDK tells of them: page views, vitals, spans, white screens."""

from __future__ import annotations

import json
import math
import random
from typing import Any, Final

from msgspec import Struct

from appliance.cli.demo_traffic import HISTORY_SECONDS, RELEASES, USER_AGENTS

HISTORY_VISITS: Final = 90  # some three page views each: charts with a shape, there in some seconds
SDK: Final = {"name": "condev.browser", "version": "0.1.0"}
SITE: Final = "https://shop.example.com"
GAP_EVERY: Final = 12  # one page view of so many is killed before it could send everything
WHITE_EVERY: Final = 25
FAILED_EVERY: Final = 9

# route, an address of it, title, how much slower than the rest it is
_PAGES: Final = (
    ("/", "/", "Example shop", 1.0),
    ("/search", "/search?q=kettle", "Search: kettle", 1.1),
    ("/products/:id", "/products/{}", "Kettles", 0.9),
    ("/cart", "/cart", "Your cart", 1.0),
    ("/checkout", "/checkout", "Checkout", 1.7),
    ("/account", "/account", "Your account", 1.2),
)
# metric, unit, median, good up to, poor beyond, elements
_VITALS: Final = (
    ("LCP", "millisecond", 1_900.0, 2_500.0, 4_000.0, ("main > img.hero", "h1.title", "ul.products > li > img")),
    ("INP", "millisecond", 130.0, 200.0, 500.0, ("button.add-to-cart", "input#search", "summary.filters")),
    ("CLS", "none", 0.05, 0.1, 0.25, ("div.banner", "ul.products")),
    ("FCP", "millisecond", 1_300.0, 1_800.0, 3_000.0, ("",)),
    ("TTFB", "millisecond", 420.0, 800.0, 1_800.0, ("",)),
)
_OTHERS: Final = (
    ("long_task", 140.0, "assets/app.js"),
    ("request_slow", 2_600.0, "GET /api/items/4711"),
    ("resource_slow", 1_900.0, "assets/hero.avif"),
    ("cart.render", 48.0, ""),
)


class Envelope(Struct, frozen=True):
    """One request."""

    body: bytes
    user_agent: str


class _View:
    """One page view while it is put together: items with their sequence numbers."""

    def __init__(self, draw: random.Random, at: float) -> None:
        self.draw = draw
        self.at = at
        self.page = draw.choice(_PAGES)
        self.url = SITE + self.page[1].format(draw.randint(1, 60))
        self.id = _hex(draw, 128)
        self.trace_id = _hex(draw, 128)
        self.items: list[dict[str, Any]] = []
        self.errors = 0

    def add(self, item: str, after: float, **fields: Any) -> None:
        """One more item, `after` seconds into the view."""
        self.items.append({"type": item, "n": len(self.items) + 1, "at": _ms(self.at + after), **fields})


def visit(draw: random.Random, now: float, age: float = 0.0) -> list[Envelope]:
    """A visit of some page views, one request each.

    Args:
        draw: where chance comes from; a seed gives the same visits again.
        now: seconds since the epoch.
        age: how many seconds ago it began; it ends now at the latest.
    """
    ((_, agent),) = draw.choices(USER_AGENTS, [weight for weight, _ in USER_AGENTS])
    number = draw.randint(1, 180)
    shared: dict[str, Any] = {
        "release": RELEASES[age < HISTORY_SECONDS / 3],
        "environment": draw.choices(("production", "staging"), (9, 1))[0],
        "viewport": draw.choice(([1440, 820], [1280, 720], [390, 700])),
        "language": draw.choice(("en", "de", "fr", "ja")),
        "connection": draw.choice(("4g", "4g", "3g")),
    }
    if draw.random() < 0.7:
        shared["user"] = {"id": f"u-{number}"}
    session: dict[str, Any] = {"id": _hex(draw, 128), "started": _ms(now - age), "status": "ok", "errors": 0}
    sent: list[Envelope] = []
    at, referrer = now - age, "https://search.example/"
    for index in range(draw.randint(1, 5)):
        length = draw.uniform(8, 90)
        if index and at + length > now:
            break
        view = _View(draw, at)
        _fill(view, min(length, max(now - at, 1.0)), shared["viewport"])
        session["errors"] += view.errors
        session["status"] = "errored" if session["errors"] else "ok"
        sent.append(Envelope(_envelope(view, shared, dict(session), referrer, now), agent))
        at, referrer = at + length, view.url
    return sent


def _fill(view: _View, length: float, viewport: list[int]) -> None:
    """What happened in a page view of `length` seconds."""
    draw = view.draw
    if draw.randrange(WHITE_EVERY) == 0:
        _white_screen(view, viewport)
    elif draw.randrange(FAILED_EVERY) == 0:
        _failed(view, min(length, 4.0))
    view.add("page_view", 0.0)
    _spans(view)
    for metric, unit, median, good, poor, elements in _VITALS:
        value = median * view.page[3] * math.exp(draw.gauss(0, 0.42))
        rating = "good" if value <= good else "poor" if value > poor else "needs-improvement"
        view.add(
            "measurement", min(length, 2.5), id=_hex(draw, 128), metric=metric, value=round(value, 3), unit=unit,
            rating=rating, element=draw.choice(elements), route=view.page[0], trace_id=view.trace_id,
            attributes={"navigationType": "navigate"},
        )  # fmt: skip
    for metric, median, element in draw.sample(_OTHERS, draw.randint(0, 2)):
        view.add(
            "measurement", draw.uniform(0.5, length), id=_hex(draw, 128), metric=metric, unit="millisecond",
            value=round(median * math.exp(draw.gauss(0, 0.3)), 1), element=element, route=view.page[0],
        )  # fmt: skip
    if draw.random() < 0.15:
        reason, category = draw.choice((("sample_rate", "measurement"), ("before_send", "error"), ("flood", "error")))
        view.add("outcome", length, reason=reason, category=category, quantity=draw.randint(1, 6))


def _spans(view: _View) -> None:
    """A page load and what it was made of."""
    draw, start = view.draw, view.at
    root, took = _hex(draw, 64), 1.1 * view.page[3] * math.exp(draw.gauss(0, 0.3))
    parts = (
        ("http.client", "GET /api/session", 0.08, 0.2), ("resource.script", "/assets/app.js", 0.1, 0.35),
        ("http.client", f"GET /api{view.page[0]}", 0.3, 0.4), ("ui.render", "<Page>", 0.72, 0.2),
    )  # fmt: skip
    spans = [(root, "", "pageload", view.page[0], 0.0, 1.0, True)]
    spans += [(_hex(draw, 64), root, op, name, begin, share, False) for op, name, begin, share in parts]
    for span_id, parent, op, name, begin, share, segment in spans:
        view.add(
            "span", 0.0, trace_id=view.trace_id, span_id=span_id, parent_span_id=parent, op=op, name=name,
            start=_ms(start + begin * took), end=_ms(start + (begin + share) * took), status="ok", is_segment=segment,
            attributes={"url": SITE + name.rpartition(" ")[2]} if op == "http.client" else {},
        )  # fmt: skip


def _white_screen(view: _View, viewport: list[int]) -> None:
    width, height = viewport
    points = [
        {"x": round(width * (x + 0.5) / 5), "y": round(height * (y + 0.5) / 5), "found": "empty", "element": "div#root"}
        for y in range(5)
        for x in range(5)
    ]
    report = {
        "reason": "empty_root", "trigger": "load", "looks": 3, "points": points, "empty": len(points),
        "root": "div#root",
        "dom": {"ready_state": "complete", "elements": 14, "root_children": 0, "body": ["div#root: 0", "script: 0"]},
        "last_errors": [{"type": "ChunkLoadError", "value": "Loading chunk 417 failed."}],
        "failed_resources": [{"url": f"{SITE}/assets/account-417.js", "status": 404}],
    }  # fmt: skip
    _event(view, 5.2, kind="white_screen", message="White screen: empty_root", white_screen=report)


def _failed(view: _View, after: float) -> None:
    """A request that was answered with an error; the flood guard held some more of it back."""
    url = f"{SITE}/api/cart"
    value = "POST /api/cart answered 502"
    stack = "\n".join(
        [
            f"HttpError: {value}",
            "    at request (webpack://shop/src/api/client.ts:77:11)",
            "    at addToCart (webpack://shop/src/api/cart.ts:23:9)",
        ]
    )
    fields: dict[str, Any] = {
        "kind": "error", "message": value, "request": {"method": "POST", "url": url, "status": 502},
        "exceptions": [{"type": "HttpError", "value": value, "stack": stack, "mechanism": "fetch", "handled": True}],
        "breadcrumbs": [
            {"at": _ms(view.at), "type": "navigation", "category": "navigation", "data": {"to": view.page[0]}},
            {"at": _ms(view.at + after - 0.4), "category": "ui.click", "message": "main > button.add-to-cart"},
        ],
    }  # fmt: skip
    count = view.draw.choice((1, 1, 4))
    _event(view, after, **fields, **({"count": count} if count > 1 else {}))


def _event(view: _View, after: float, **fields: Any) -> None:
    view.errors += 1
    view.add(
        "event", after, id=_hex(view.draw, 128), level="error", url=view.url, route=view.page[0],
        trace_id=view.trace_id, **fields,
    )  # fmt: skip


def _envelope(view: _View, shared: dict[str, Any], session: dict[str, Any], referrer: str, now: float) -> bytes:
    killed = view.draw.randrange(GAP_EVERY) == 0
    header = {
        "v": 2,
        "id": _hex(view.draw, 128),
        "sent_at": _ms(now),
        "has": list(dict.fromkeys(item["type"] for item in view.items)),
        "sdk": SDK,
        "page_view": {
            "id": view.id, "started": _ms(view.at), "url": view.url, "route": view.page[0], "title": view.page[2],
            "referrer": referrer,
        },
        "session": session,
        "last": len(view.items) + (view.draw.randint(1, 5) if killed else 0),
        **shared,
    }  # fmt: skip
    return "\n".join(json.dumps(line) for line in (header, *view.items)).encode()


def _hex(draw: random.Random, bits: int) -> str:
    return f"{draw.getrandbits(bits):0{bits // 4}x}"


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
