"""Sample events of a small web shop, as Sentry's browser SDK sends them: what `condev demo` shows."""

from __future__ import annotations

import json
import random
from typing import Any, Final

from msgspec import Struct

HISTORY_EVENTS: Final = 400  # enough for sparklines with a shape, few enough to be there in some seconds
HISTORY_SECONDS: Final = 48 * 3600  # a day, and the day before it to compare with

_WEBKIT: Final = "AppleWebKit/605.1.15 (KHTML, like Gecko)"
_CHROME: Final = "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36"
USER_AGENTS: Final = (  # share, text
    (5, f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {_CHROME}"),
    (2, f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {_WEBKIT} Version/26.0 Safari/605.1.15"),
    (2, "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"),
    (1, f"Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) {_WEBKIT} Version/18.6 Mobile/15E148 Safari/604.1"),
)
RELEASES: Final = ("shop@4.17.2", "shop@4.18.0")


class Fault(Struct, frozen=True):
    """One fault of the shop."""

    weight: int
    type: str
    value: str
    frames: tuple[tuple[str, str, int], ...]  # (file, function, line), oldest call first
    page: str
    level: str = "error"
    handled: bool = False
    began: float = HISTORY_SECONDS  # seconds before the demo started; the shop got worse lately
    context: tuple[str, ...] = ()  # source lines around the last frame, the middle one at fault


FAULTS: Final = (
    Fault(
        9, "TypeError", "Cannot read properties of undefined (reading 'price')",
        (
            ("src/main.tsx", "render", 12), ("src/checkout/total.ts", "sumCart", 57),
            ("src/checkout/total.ts", "lineTotal", 42),
        ),
        "/checkout",
        context=(
            "export function lineTotal(line: CartLine, prices: PriceBook) {",
            "  const entry = prices.get(line.sku)",
            "  return entry.price * line.quantity",
            "}",
            "",
        ),
    ),
    Fault(
        6, "ChunkLoadError", "Loading chunk 417 failed.",
        (("webpack/runtime/load script", "requireChunk", 31), ("src/routes.tsx", "loadAccount", 18)), "/account",
    ),
    Fault(
        4, "TypeError", "Failed to fetch",
        (("src/api/client.ts", "request", 77), ("src/api/cart.ts", "addToCart", 23)), "/products/kettle", handled=True,
    ),
    Fault(
        3, "AbortError", "The user aborted a request.",
        (("src/search/suggest.ts", "fetchSuggestions", 40),), "/search", level="warning", began=30 * 3600,
    ),
    Fault(
        2, "RangeError", "Invalid time value",
        (("src/orders/date.ts", "formatDelivery", 9), ("src/orders/list.tsx", "OrderRow", 64)),
        "/orders", began=9 * 3600,
    ),
    Fault(
        1, "SyntaxError", "Unexpected token '<', \"<!DOCTYPE \"... is not valid JSON",
        (("src/api/client.ts", "parse", 91), ("src/account/profile.ts", "loadProfile", 15)), "/account",
    ),
)  # fmt: skip


def envelope(draw: random.Random, now: float, age: float = 0.0) -> tuple[bytes, str]:
    """One event and the user agent it comes from.

    Args:
        draw: where chance comes from; a seed gives the same shop again.
        now: seconds since the epoch.
        age: how many seconds ago it happened.
    """
    there = [fault for fault in FAULTS if fault.began >= age]
    (fault,) = draw.choices(there, [fault.weight for fault in there])
    ((_, agent),) = draw.choices(USER_AGENTS, [weight for weight, _ in USER_AGENTS])
    user = draw.randint(1, 180)
    event: dict[str, Any] = {
        "event_id": f"{draw.getrandbits(128):032x}",
        "timestamp": round(now - age, 3),
        "platform": "javascript",
        "level": fault.level,
        "environment": draw.choices(("production", "staging"), (9, 1))[0],
        "release": RELEASES[age < HISTORY_SECONDS / 3],
        "transaction": fault.page,
        "exception": {"values": [_exception(fault)]},
        "request": {"url": f"https://shop.example.com{fault.page}", "headers": {"User-Agent": agent}},
        "user": {"id": f"u-{user}"},
        "tags": {"locale": draw.choice(("en", "de", "fr", "ja")), "plan": draw.choice(("free", "plus"))},
        "breadcrumbs": _breadcrumbs(draw, fault, now - age),
        "contexts": {"trace": {"trace_id": f"{draw.getrandbits(128):032x}", "span_id": f"{draw.getrandbits(64):016x}"}},
        "sdk": {"name": "sentry.javascript.react", "version": "11.12.0"},
    }
    lines = ({"event_id": event["event_id"]}, {"type": "event"}, event)
    return b"\n".join(json.dumps(line).encode() for line in lines), agent


def _exception(fault: Fault) -> dict[str, Any]:
    frames: list[dict[str, Any]] = [
        {
            "filename": "node_modules/react-dom/client.js",
            "function": "commitHookEffectListMount",
            "lineno": 23150,
            "colno": 26,
            "in_app": False,
        }
    ]
    frames += [
        {"filename": file, "function": function, "lineno": line, "colno": 11, "in_app": not file.startswith("webpack")}
        for file, function, line in fault.frames
    ]
    if fault.context:
        frames[-1] |= {
            "pre_context": list(fault.context[:2]),
            "context_line": fault.context[2],
            "post_context": list(fault.context[3:]),
        }
    mechanism = {"type": "auto.browser.global_handlers.onerror", "handled": fault.handled}
    return {"type": fault.type, "value": fault.value, "mechanism": mechanism, "stacktrace": {"frames": frames}}


def _breadcrumbs(draw: random.Random, fault: Fault, at: float) -> list[dict[str, Any]]:
    item = draw.randint(1000, 9999)
    return [
        {"timestamp": at - 9.2, "category": "navigation", "data": {"from": "/", "to": fault.page}},
        {
            "timestamp": at - 8.7,
            "category": "fetch",
            "type": "http",
            "data": {"method": "GET", "url": f"/api/items/{item}", "status_code": 200},
        },
        {"timestamp": at - 2.1, "category": "ui.click", "message": "main > form#cart > button.primary"},
        {"timestamp": at - 0.3, "category": "console", "level": "warning", "message": f"no price for item {item}"},
    ]
