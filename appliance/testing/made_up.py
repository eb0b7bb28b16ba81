"""Made-up issues and events that look like real ones: long texts, markup in messages, every part of an event filled."""

from __future__ import annotations

import math
from typing import Final

from msgspec import structs

from appliance.alerts.schemas import AlertItem
from appliance.hookspecs import Bucket, EventSummary, IssueChange, TagCount
from appliance.issues.views import (
    Around,
    EventDetail,
    GroupingPart,
    IssueActivity,
    IssueDetail,
    IssueHash,
    IssueOverview,
    IssueRelease,
    IssueSummary,
    WhyGrouped,
)
from appliance.model import (
    Breadcrumb,
    Client,
    DebugImage,
    Event,
    ExceptionValue,
    Frame,
    Json,
    Kind,
    Level,
    Request,
    User,
)
from appliance.web.pages import Shell, ShellProject

MINUTE: Final = 60_000_000  # µs
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
VALUES: Final = {
    "environment": ["production", "staging", "development"],
    "release": ["4.18.0", "4.17.3", "4.17.2", "web app 4.16"],
    "browser": ["Chrome", "Safari", "Firefox", "Edge"],
}
_TITLES: Final = (
    ("TypeError: Cannot read properties of undefined (reading 'price')", "src/checkout/total.ts in lineTotal", "error"),
    ("ChunkLoadError: Loading chunk 417 failed", "webpack/runtime in requireChunk", "error"),
    ("White screen on /account", "#root is empty 3 s after load", "fatal"),
    ("NetworkError: POST /api/cart answered 502", "src/api/client.ts in request", "error"),
    ("ResizeObserver loop completed with undelivered notifications", "window", "warning"),
    ("Unhandled rejection: AbortError", "src/search/suggest.ts in fetchSuggestions", "warning"),
    ('Error: <script>alert("hello")</script> is not a valid <b>name</b>', "src/forms/validate.ts in check", "error"),
    ("SyntaxError: Unexpected token '<', \"<!DOCTYPE \"... is not valid JSON", "src/api/client.ts in parse", "error"),
    ("Blocked by CSP: script-src from https://cdn.tracker.example", "https://shop.example/", "info"),
    (
        "RangeError: Maximum call stack size exceeded",
        "src/tree/" + "very_long_folder_name/" * 8 + "walk.ts in walk",
        "error",
    ),
    ("Payment provider answered with an unexpectedly long message " * 5, "src/payment/provider.ts in confirm", "error"),
    ("Deprecated option used: legacyMode", "src/boot.ts in start", "debug"),
)


def shell() -> Shell:
    """The navigation of three projects."""
    return Shell(
        projects=[
            ShellProject(id=1, slug="shop-web", name="shop-web", open_issues=14),
            ShellProject(id=2, slug="admin", name="Admin console", open_issues=3),
            ShellProject(id=3, slug="docs", name="docs"),
        ],
        open_issues=17,
        health="healthy",
        health_tone="good",
    )


def issues(now: int, count: int) -> list[IssueSummary]:
    """So many issues, the newest first."""
    made: list[IssueSummary] = []
    for index in range(count):
        title, culprit, level = _TITLES[index % len(_TITLES)]
        state = "resolved" if index % 11 == 9 else "ignored" if index % 13 == 11 else "open"
        kind = "white_screen" if title.startswith("White") else "csp" if "CSP" in title else "error"
        made.append(
            IssueSummary(
                id=index + 1,
                project_id=1 + index % 2,
                project_slug=("shop-web", "admin")[index % 2],
                project_name=("shop-web", "Admin console")[index % 2],
                title=title[:300] if index < len(_TITLES) else f"{title[:200]} ({index})",
                culprit=culprit[:300],
                type=title.split(":")[0][:60],
                kind=kind,
                level=level,
                platform="javascript",
                state=state,
                event_count=max(1, round(412_408 / (index + 1) ** 2)),
                user_count=max(1, round(9_320 / (index + 1) ** 2)),
                first_seen=now - (3 * HOUR if index % 5 == 2 else (index + 3) * DAY),
                last_seen=now - index * 7 * MINUTE - MINUTE,
                first_release="4.16.0",
                last_release="4.18.0",
                first_event_id="0" * 32,
                last_event_id="f" * 32,
                regressed_at=now - HOUR if index == 0 else None,
                resolved_at=now - DAY if state == "resolved" else None,
                resolved_in="4.17.3" if index == 9 else "",
                ignored_until=None,
                ignored_until_count=1_000 if state == "ignored" else None,
                withheld_payloads=0,
                overflow=False,
                sparkline=tuple(round(abs(math.sin(index + hour * 0.7)) * (40 - index % 40)) for hour in range(24)),
            )
        )
    return made


def detail(issue: IssueSummary, now: int) -> IssueDetail:
    """An issue with its history."""
    why = WhyGrouped(
        method="stack",
        summary="Events with this exception type and these frames of the application are one issue.",
        parts=(
            GroupingPart(name="type", raw="TypeError", value="TypeError"),
            GroupingPart(
                name="frame", raw="https://shop.example/total-8f3a2c.js:42:18 lineTotal", value="total.js lineTotal"
            ),
            GroupingPart(
                name="frame", raw="https://shop.example/total-8f3a2c.js:57:11 sumCart", value="total.js sumCart"
            ),
        ),
    )
    first = IssueHash(
        hash="8f3a2c11d0e94b77",
        version=1,
        event_count=issue.event_count,
        first_seen=issue.first_seen,
        last_seen=issue.last_seen,
        merged_from=None,
        why=why,
    )
    merged = structs.replace(
        first,
        hash="11d0e94b778f3a2c",
        event_count=12,
        merged_from=77,
        why=WhyGrouped(method="message", summary="The same message once numbers are left out: Cannot read <name>."),
    )
    return IssueDetail(
        issue=issue,
        why=why,
        hashes=[first, merged],
        releases=[
            IssueRelease(
                release=name, event_count=max(1, issue.event_count // part), first_seen=issue.first_seen, last_seen=now
            )
            for name, part in (("4.18.0", 2), ("4.17.3", 3), ("4.17.2", 8))
        ],
        release_count=9,
        activity=[
            IssueActivity(at=now - HOUR, actor="", action="regressed", detail="in 4.18.0"),
            IssueActivity(at=now - 2 * DAY, actor="ada@example.com", action="resolved", detail=""),
            IssueActivity(at=now - 3 * DAY, actor="grace@example.com", action="merged", detail="#77"),
            IssueActivity(at=issue.first_seen, actor="", action="opened", detail=""),
        ],
        merged_issue_ids=(77,),
    )


def overview(issue: IssueSummary, now: int) -> IssueOverview:
    """Two weeks of an issue."""
    bars = [
        Bucket(start=now - (56 - index) * 6 * HOUR, events=max(0, round(math.sin(index / 4) * 90 + index)))
        for index in range(56)
    ]
    total = sum(bar.events for bar in bars)

    def shares(key: str, *parts: tuple[str, float]) -> list[TagCount]:
        return [TagCount(key=key, value=value, events=round(total * part)) for value, part in parts]

    return IssueOverview(
        histogram=bars,
        bucket=6 * HOUR,
        start=bars[0].start,
        end=now,
        events=total,
        tags={
            "browser": shares("browser", ("Chrome", 0.71), ("Safari", 0.22), ("Firefox", 0.07)),
            "os": shares("os", ("Windows", 0.52), ("macOS", 0.3), ("Android", 0.18)),
            "environment": shares("environment", ("production", 0.96), ("staging", 0.04)),
            "customer.plan": shares(
                "customer.plan", ("enterprise-with-a-very-long-name", 0.4), ("free", 0.3), ("", 0.3)
            ),
        },
    )


def summary(issue: IssueSummary, now: int, *, withheld: bool = False) -> EventSummary:
    """An event in short."""
    return EventSummary(
        project_id=issue.project_id,
        event_id="4c79f60c11214eb38604f4ae0781bfb2",
        group_hash=1,
        kind=issue.kind,
        level=issue.level,
        title=issue.title,
        culprit=issue.culprit,
        timestamp=now - 90_000_000,
        received_at=now - 89_000_000,
        release="4.18.0",
        environment="production",
        url="https://shop.example/checkout?step=2&cart=" + "a1b2" * 30,
        user_id="customer-8841",
        browser="Chrome",
        browser_version="141.0",
        os="Windows",
        os_version="11",
        device="",
        trace_id="0af7651916cd43dd8448eb211c80319c",
        replay_id="",
        handled=False,
        tags={"customer.plan": "enterprise", "locale": "de-CH", "feature": "<img src=x onerror=alert(1)>"},
        payload_withheld=withheld,
    )


def occurrences(issue: IssueSummary, now: int) -> list[EventSummary]:
    """A page of events."""
    base = summary(issue, now)
    return [
        structs.replace(
            base, event_id=f"{index:032x}", timestamp=now - index * 13 * MINUTE, user_id=f"customer-{index % 7}"
        )
        for index in range(1, 21)
    ]


def event_detail(issue: IssueSummary, now: int, *, withheld: bool = False) -> EventDetail:
    """An event with its neighbours."""
    short = summary(issue, now, withheld=withheld)
    around = Around(previous="b" * 32, next="")
    return EventDetail(summary=short, event=None if withheld else event(now), issue_id=issue.id, around=around)


def opened(issue: IssueSummary) -> IssueChange:
    """What the pipeline says when an issue is opened."""
    return IssueChange(
        change="opened",
        project_id=issue.project_id,
        issue_id=issue.id,
        title=issue.title,
        culprit=issue.culprit,
        level=issue.level,
        kind=issue.kind,
        event_id=issue.first_event_id,
        release=issue.first_release,
        environment="production",
        event_count=1,
        at=issue.first_seen,
    )


def fired(issue_id: int, now: int) -> list[AlertItem]:
    """Two firings: one delivered, one that waits."""
    return [
        AlertItem(
            id=number,
            project_id=1,
            project_slug="shop-web",
            rule_id=1,
            rule=rule,
            issue_id=issue_id,
            change="opened",
            title="",
            level="error",
            at=now - number * HOUR,
            message_id=number,
            state=state,
        )
        for number, rule, state in ((1, "Regressions", "collecting"), (2, "New issues", "delivered"))
    ]


def event(now: int) -> Event:
    """An event with every part filled."""
    at = now - 90_000_000
    own = Frame(
        function="lineTotal",
        filename="src/checkout/total.ts",
        abs_path="webpack://shop/src/checkout/total.ts",
        lineno=42,
        colno=18,
        in_app=True,
        context_line="  return entry.price * line.quantity",
        pre_context=[
            "export function lineTotal(line: CartLine, prices: PriceBook) {",
            "  const entry = prices.get(line.sku)",
        ],
        post_context=["}", ""],
        vars={"line": {"sku": "A-100", "quantity": 2}, "entry": None},
    )
    caller = Frame(function="sumCart", filename="src/checkout/total.ts", lineno=57, colno=11, in_app=True)
    library = [
        Frame(function=name, filename="node_modules/react-dom/client.js", lineno=900 + index, in_app=False)
        for index, name in enumerate(("workLoop", "commitRoot", "commitHookEffectListMount"))
    ]
    cause = ExceptionValue(
        type="NetworkError", value="GET /api/prices answered 502 Bad Gateway", mechanism="generic", frames=[caller]
    )
    thrown = ExceptionValue(
        type="TypeError",
        value="Cannot read properties of undefined (reading 'price')",
        mechanism="onerror",
        handled=False,
        frames=[*library, caller, own],
    )
    contexts: dict[str, Json] = {
        "browser": {"name": "Chrome", "version": "141.0"},
        "os": {"name": "Windows", "version": "11"},
        "state": {"type": "redux", "value": {"cart": {"lines": [{"sku": "A-100", "quantity": 2}], "coupon": None}}},
    }
    return Event(
        id="4c79f60c11214eb38604f4ae0781bfb2",
        kind=Kind.ERROR,
        timestamp=at,
        level=Level.ERROR,
        message="Cannot read properties of undefined (reading 'price')",
        release="4.18.0",
        dist="17",
        environment="production",
        url="https://shop.example/checkout?step=2",
        transaction="/checkout",
        exceptions=[cause, thrown],
        breadcrumbs=[
            Breadcrumb(
                timestamp=at - (40 - index) * 1_130_000,
                category=("ui.click", "fetch", "navigation", "console")[index % 4],
                level="error" if index == 38 else "info",
                message=("button#pay > span", "", "", "price book is empty")[index % 4],
                data={}
                if index % 4 in (0, 3)
                else {"method": "GET", "url": "/api/prices?" + "x" * 80, "status_code": 502},
            )
            for index in range(40)
        ],
        user=User(id="customer-8841", email="[scrubbed]", data={"plan": "enterprise"}),
        request=Request(
            url="https://shop.example/checkout?step=2",
            method="GET",
            headers={"Referer": "https://shop.example/cart", "User-Agent": "Mozilla/5.0 (Windows NT 10.0; Win64; x64)"},
        ),
        client=Client(browser="Chrome", browser_version="141.0", os="Windows", os_version="11"),
        tags={"customer.plan": "enterprise"},
        contexts=contexts,
        extra={"cartSize": 3, "note": "<b>not bold</b>"},
        modules={"react": "19.2.0"},
        debug_images=[DebugImage(code_file="/assets/total.js", debug_id="5c7c8e1e-6c3d-4a3e-9b54-0f7b6f1f6a11")],
        sdk_name="sentry.javascript.browser",
        sdk_version="11.12.0",
        trace_id="0af7651916cd43dd8448eb211c80319c",
        truncated=["2 tags beyond the 60th"],
    )
