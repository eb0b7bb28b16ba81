"""What the condev SDK sends, what it is answered, and the three formats of stack texts."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.hookspecs import DecodeError, IngestRequest, ProjectSettings, Protocol, Verdict, VerdictKind
from appliance.model import Category, Event, Kind, Measurement, Outcome, Record, ReplaySegment, Span
from appliance.testing.protocols import check_items
from appliance.testing.recordings import condev_requests
from condev_plugins.condev_protocol import CondevProtocol
from condev_plugins.condev_protocol.stacks import parse_stack, split_title, title_of

NOW = 1_800_000_000_000_000
MILLISECONDS = NOW // 1_000
BROWSER = {"userAgent": "Agent/1", "language": "en", "platform": "x", "rederrer": "https://from.example/", "path": "/p"}


def record(body: object, route: str = "tracking", **changes: Any) -> Record:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    values: dict[str, Any] = {"protocol": "condev", "route": route, "project_id": 7, "received_at": NOW, "body": data}
    return Record(**{**values, **changes})


def decoded(body: object, route: str = "tracking", **changes: Any) -> list[Any]:
    found = record(body, route, **changes)
    result = CondevProtocol().decode(found)
    check_items(result, found)
    return result.items


def entry(**changes: object) -> dict[str, object]:
    values: dict[str, object] = {
        "event_type": "error",
        "type": "Error",
        "message": "",
        "browserInfo": BROWSER,
        "_eventId": "80c1fd3f-8062-458d-8f23-c1a2303beceb",
        "_clientCreatedAt": MILLISECONDS - 500,
    }
    return {**values, **changes}


def request(route: str, head: bytes = b"", query: str = "", content_type: str = "", key: str = "A") -> IngestRequest:
    headers = {"content-type": content_type} if content_type else {}
    return IngestRequest(
        route=route,
        method="POST",
        params={"key": key},
        query=query,
        headers=headers,
        head=head,
        address="",
        received_at=NOW,
    )


# ── the recorded SDK ──


def test_every_recorded_request_is_routed_peeked_and_decoded(protocol: Protocol) -> None:
    claimed = {(route.path.replace("{key}", "KEY"), method) for route in protocol.routes for method in route.methods}
    items: list[Any] = []
    for captured in condev_requests():
        if captured["method"] == "OPTIONS":
            continue
        # urlsplit would take "//tracking/…" for a host; ingest collapses repeated slashes before it routes.
        path = urlsplit(captured["url"].replace("//", "/")).path
        parts = path.rsplit("/", 1)
        template = path if path.endswith(("app-config", "healthz")) else f"{parts[0]}/KEY"
        assert (template, captured["method"]) in claimed, captured["url"]
        if captured["method"] != "POST":
            continue
        route = "replay" if "/replay/" in path else "tracking"
        body = captured["body"].encode()
        peek = protocol.peek(
            request(route, body[:4096], content_type=captured["headers"]["content-type"], key=parts[1])
        )
        assert peek.key == parts[1]
        sent = json.loads(body)
        found = decoded(body, route, received_at=captured["at"] * 1_000, headers=captured["headers"])
        assert len(found) == (len(sent) if isinstance(sent, list) else 1)
        assert not any(isinstance(item, Outcome) for item in found)
        items += found
    kinds = {item.kind for item in items if isinstance(item, Event)}
    assert kinds == {Kind.ERROR, Kind.MESSAGE, Kind.CUSTOM, Kind.RESOURCE_ERROR, Kind.WHITE_SCREEN}
    metrics = {item.metric for item in items if isinstance(item, Measurement)}
    assert metrics == {"LCP", "FCP", "TTFB", "LOAD", "long_task", "jank", "low_fps"}
    replays = {item.replay_id for item in items if isinstance(item, ReplaySegment)}
    assert replays & {item.replay_id for item in items if isinstance(item, Event)}


# ── entries ──


def test_one_entry_may_stand_alone_or_in_an_array() -> None:
    assert decoded(entry())[0].id == decoded([entry()])[0].id == "80c1fd3f8062458d8f23c1a2303beceb"


def test_an_id_that_is_no_uuid_becomes_one_and_a_missing_one_is_made() -> None:
    hashed = decoded(entry(_eventId="lq2x9f0_a1b2c3d4"))[0].id
    assert hashed == decoded([entry(_eventId="lq2x9f0_a1b2c3d4", message="x")])[0].id
    assert hashed != decoded(entry(_eventId="lq2x9f0_a1b2c3d5"))[0].id
    first, second = decoded([entry(_eventId=None), entry(_eventId=None)])
    assert first.id != second.id


@pytest.mark.parametrize(
    ("found", "kind", "value"),
    [
        ({"type": "TypeError", "message": "Uncaught TypeError: boom"}, "TypeError", "boom"),
        ({"type": "Error", "message": "Uncaught TypeError: boom"}, "TypeError", "boom"),
        ({"type": "Error", "message": "Script error."}, "Error", "Script error."),
        ({"type": "MyError", "message": "Uncaught boom: a"}, "MyError", "boom: a"),
        ({"type": "Error", "message": "x", "stack": "ChunkLoadError: x\n    at f (a.js:1:2)"}, "ChunkLoadError", "x"),
        ({"type": "unhandledrejection", "message": "rej", "stack": "Error: rej\n    at f (a.js:1:2)"}, "Error", "rej"),
        ({"type": "unhandledrejection", "message": "text"}, "UnhandledRejection", "text"),
        ({"type": "unhandledrejection", "message": ""}, "UnhandledRejection", ""),
    ],
)
def test_an_error_is_named_by_its_class_and_loses_what_the_browser_put_before(
    found: dict[str, str], kind: str, value: str
) -> None:
    (event,) = decoded(entry(**found))
    assert (event.kind, event.exceptions[0].type, event.exceptions[0].value) == (Kind.ERROR, kind, value)
    assert event.unhandled


def test_an_error_without_a_stack_has_the_frame_of_its_own_position() -> None:
    (event,) = decoded(entry(message="Uncaught Error: x", filename="https://x/app.js", lineno=3, colno=7))
    (frame,) = event.exceptions[0].frames
    assert (frame.filename, frame.lineno, frame.colno) == ("https://x/app.js", 3, 7)


def test_the_page_is_the_origin_of_the_request_and_the_path_of_the_event() -> None:
    assert (
        decoded(entry(path="/cart"), headers={"origin": "https://shop.example"})[0].url == "https://shop.example/cart"
    )
    headers = {"origin": "null", "referer": "https://shop.example/old?x=1"}
    assert decoded(entry(path="/cart"), headers=headers)[0].url == "https://shop.example/cart"
    assert decoded(entry(path="/cart"))[0].url == "/cart"


def test_times_are_the_clients_where_they_can_be() -> None:
    assert decoded(entry())[0].timestamp == NOW - 500_000
    assert decoded(entry(_clientCreatedAt=0))[0].timestamp == NOW
    assert decoded(entry(_clientCreatedAt=4_070_908_800_000))[0].timestamp == NOW
    assert decoded(entry(_clientCreatedAt=None, at=MILLISECONDS - 9))[0].timestamp == NOW - 9_000


def test_a_span_sent_at_its_start_and_at_its_end_is_one_span() -> None:
    both = {"event_type": "ai_span", "traceId": "a" * 32, "spanId": "b" * 16, "spanKind": "llm"}
    start = {**both, "startedAt": "2027-01-15T07:59:50Z", "status": "ok", "input": "question"}
    end = {**both, "startedAt": "2027-01-15T07:59:50Z", "endedAt": "2027-01-15T07:59:53Z", "output": "answer"}
    (span,) = decoded([start, end])
    assert isinstance(span, Span)
    assert span.end - span.start == 3_000_000
    assert (span.status, span.attributes["input"], span.attributes["output"]) == ("ok", "question", "answer")


def test_entries_of_unknown_kinds_are_counted_and_cost_nobody_else() -> None:
    kept, *outcomes = decoded(
        [entry(), 7, None, "x", {"event_type": "new"}, {}, entry(event_type="performance", type="?")]
    )
    assert isinstance(kept, Event)
    assert {(item.reason, item.category): item.quantity for item in outcomes} == {
        ("unreadable_item", "unknown"): 3,
        ("unsupported_item", "new"): 1,
        ("unsupported_item", "unknown"): 1,
        ("unsupported_item", "performance"): 1,
    }


def test_more_than_the_sdks_500_entries_are_taken() -> None:
    assert len(decoded([entry(_eventId=None, message=str(n)) for n in range(1_500)])) == 1_500


@pytest.mark.parametrize("body", [b"", b"nonsense", b'"text"', b"7", b"null", b'[{"event_type":', b"[1, 2]"])
def test_a_body_that_holds_no_entries_is_refused_in_words(body: bytes, protocol: Protocol) -> None:
    with pytest.raises(DecodeError, match="tracking: "):
        protocol.decode(record(body))


FIELDS = (
    "stack", "message", "filename", "lineno", "colno", "path", "url", "tagName", "reason", "result", "framework",
    "componentStack", "name", "value", "duration", "attribution", "exception", "eventData", "browserInfo", "release",
    "userId", "replayId", "traceId", "spanId", "startedAt", "endedAt", "at", "_eventId", "_clientCreatedAt",
    "durationMs", "status",
)  # fmt: skip
HOSTILE = [
    "text",
    7,
    -1,
    10**40,
    None,
    True,
    [1, [2]],
    {"a": {"b": []}},
    "\x00\ud800".encode("utf-16", "replace").hex(),
]


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["error", "custom", "performance", "ai_streaming", "ai_span", "ai_feedback"]),
    st.sampled_from(
        ["resource", "whiteScreen", "unhandledrejection", "customError", "customEvent", "webVital", "jank"]
    ),
    st.dictionaries(
        st.sampled_from(FIELDS),
        st.sampled_from(HOSTILE),
    ),
)
def test_a_field_that_cannot_be_used_costs_only_itself(kind: str, found_type: str, found: dict[str, Any]) -> None:
    assert decoded([entry(event_type=kind, type=found_type, **found)])


# ── replays ──


def test_a_replay_keeps_its_events_as_they_came() -> None:
    body = (
        b'{"replayId":"replay_abc_123456","startedAt":"2027-01-15T07:59:50Z","endedAt":"2027-01-15T08:00:00Z",'
        b'"url":"https://x/p","events":[ {"type":4, "data":{}} ]}'
    )
    (segment,) = decoded(body, "replay")
    assert segment.body == b'[ {"type":4, "data":{}} ]'
    assert (segment.segment, segment.timestamp - segment.started) == (0, 10_000_000)
    (event,) = decoded(entry(replayId="replay_abc_123456"))
    assert event.replay_id == segment.replay_id


@pytest.mark.parametrize("body", [b"{}", b'{"events":{}}', b'{"events":"x"}', b"[]", b'{"events":[', b"nonsense"])
def test_a_replay_without_events_is_refused(body: bytes, protocol: Protocol) -> None:
    with pytest.raises(DecodeError, match="replay: "):
        protocol.decode(record(body, "replay"))


def test_a_replay_that_is_not_utf8_is_mended() -> None:
    (segment,) = decoded(b'{"replayId":"r","events":[{"text":"a\xffb","n":NaN}]}', "replay")
    assert json.loads(segment.body) == [{"text": "a\ufffdb", "n": None}]


# ── answers ──


def answer(
    protocol: Protocol, kind: VerdictKind, route: str = "tracking", **changes: Any
) -> tuple[int, Any, dict[str, str]]:
    found = protocol.answer(Verdict(kind=kind, route=route, now=NOW, **changes))
    return found.status, json.loads(found.body), dict(found.headers)


def test_answers_are_the_upstreams(protocol: Protocol) -> None:
    assert answer(protocol, VerdictKind.ACCEPTED)[:2] == (201, {"ok": True, "persistedVia": "kafka"})
    assert answer(protocol, VerdictKind.ACCEPTED, "replay")[:2] == (201, {"ok": True})
    assert answer(protocol, VerdictKind.GONE, "replay")[:2] == (201, {"ok": True, "skipped": True})
    assert answer(protocol, VerdictKind.TOO_LARGE)[0] == 413
    assert answer(protocol, VerdictKind.MALFORMED)[0] == 400
    assert {"Retry-After", "X-Rate-Limit-Reset"} == set(protocol.exposed_headers)


@pytest.mark.parametrize("kind", [VerdictKind.RATE_LIMITED, VerdictKind.OVERLOADED])
def test_a_passing_fault_makes_the_sdk_keep_its_batch(protocol: Protocol, kind: VerdictKind) -> None:
    status, body, headers = answer(protocol, kind, retry_after=9)
    assert (status, body) == (429, {"ok": False, "reason": "rate_limited", "retryAfter": 9})
    assert headers == {"Retry-After": "9", "X-Rate-Limit-Reset": str(NOW // 1_000_000 + 9)}
    assert answer(protocol, VerdictKind.TIMED_OUT)[0] == 408


def test_app_config_says_whether_replays_are_wanted(protocol: Protocol) -> None:
    asked = request("app-config", query="appId=vanilla&x=1")
    assert protocol.key_of(asked) == "vanilla"
    for enabled in (True, False):
        found = protocol.inform(asked, ProjectSettings(project_id=7, replay_enabled=enabled))
        expected = {"success": True, "data": {"appId": "vanilla", "replayEnabled": enabled}}
        assert (found.status, json.loads(found.body)) == (200, expected)
    assert json.loads(protocol.inform(asked, None).body)["data"]["replayEnabled"] is False
    missing = protocol.inform(request("app-config"), None)
    assert (missing.status, json.loads(missing.body)["error"]) == (400, "APP_ID_REQUIRED")
    assert json.loads(protocol.inform(request("healthz"), None).body) == {"ok": True}


def test_text_and_json_are_peeked_alike_and_only_json_must_be_json(protocol: Protocol) -> None:
    body = json.dumps(entry()).encode()
    for kind in ("application/json", "text/plain;charset=utf-8", "TEXT/PLAIN; charset=UTF-8", ""):
        assert protocol.peek(request("tracking", body, content_type=kind)).category is Category.ERROR
    protocol.peek(request("tracking", b"nonsense", content_type="text/plain"))
    with pytest.raises(DecodeError):
        protocol.peek(request("tracking", b"nonsense", content_type="application/json"))


@pytest.mark.parametrize(
    ("kinds", "category"),
    [
        (["performance"], Category.MEASUREMENT),
        (["performance", "error"], Category.ERROR),
        (["ai_streaming", "performance"], Category.TRANSACTION),
        (["new"], Category.OTHER),
        ([], Category.ERROR),
    ],
)
def test_a_batch_counts_as_its_most_important_entry(protocol: Protocol, kinds: list[str], category: Category) -> None:
    body = json.dumps([{"event_type": kind, "message": '"event_type":"error"'} for kind in kinds]).encode()
    assert protocol.peek(request("tracking", body)).category is category


# ── stacks ──

CHROME = """TypeError: boom
    at Object.total [as sum] (https://x.example/app.js?v=1:10:5)
    at async Promise.all (index 0)
    at async load (https://x.example/app.js:9:3)
    at new Cart (https://x.example/vendor.js:1:200)
    at eval (eval at evaluate (https://x.example/e.js:3:4), <anonymous>:1:28)
    at Array.forEach (<anonymous>)
    at https://x.example/app.js:1:1
    at the very moment when nothing was there"""
FIREFOX = """total@https://x.example/app.js:10:5
async*load/<@https://x.example/app.js:9:3
compute@https://x.example/e.js line 3 > eval:1:28
@https://x.example/app.js:1:1
react@https://unpkg.example/react@18.2.0/umd/react.js:5:6
"""
SAFARI = """total@https://x.example/app.js:10:5
forEach@[native code]
https://unpkg.example/react@18.2.0/react.js:1:2
global code@https://x.example/app.js:1:1"""


def shape(stack: str) -> list[tuple[str, str, int | None, int | None]]:
    return [(frame.function, frame.filename, frame.lineno, frame.colno) for frame in reversed(parse_stack(stack))]


def test_chromes_stacks_become_frames() -> None:
    assert shape(CHROME) == [
        ("Object.total [as sum]", "https://x.example/app.js?v=1", 10, 5),
        ("async Promise.all", "index 0", None, None),
        ("async load", "https://x.example/app.js", 9, 3),
        ("new Cart", "https://x.example/vendor.js", 1, 200),
        ("eval", "https://x.example/e.js", 3, 4),
        ("Array.forEach", "<anonymous>", None, None),
        ("?", "https://x.example/app.js", 1, 1),
    ]
    assert title_of(CHROME) == ("TypeError", "boom")


def test_firefoxs_stacks_become_frames() -> None:
    assert shape(FIREFOX) == [
        ("total", "https://x.example/app.js", 10, 5),
        ("load/<", "https://x.example/app.js", 9, 3),
        ("compute", "https://x.example/e.js", 3, None),
        ("?", "https://x.example/app.js", 1, 1),
        ("react", "https://unpkg.example/react@18.2.0/umd/react.js", 5, 6),
    ]
    assert title_of(FIREFOX) == ("", "")


def test_safaris_stacks_become_frames() -> None:
    assert shape(SAFARI) == [
        ("total", "https://x.example/app.js", 10, 5),
        ("forEach", "[native code]", None, None),
        ("?", "https://unpkg.example/react@18.2.0/react.js", 1, 2),
        ("global code", "https://x.example/app.js", 1, 1),
    ]


@pytest.mark.parametrize(
    ("place", "in_app"),
    [
        ("https://x.example/app.js", None),
        ("chrome-extension://abc/content.js", False),
        ("https://x.example/node_modules/vue/index.js", False),
        ("<anonymous>", False),
    ],
)
def test_code_that_is_surely_not_the_pages_is_marked(place: str, in_app: bool | None) -> None:
    assert parse_stack(f"    at f ({place}:1:2)")[0].in_app is in_app


def test_a_stack_overflow_keeps_both_ends() -> None:
    stack = "\n".join(f"    at f{n} (a.js:{n}:1)" for n in range(5_000))
    (event,) = decoded(entry(stack="RangeError: x\n" + stack))
    frames = event.exceptions[0].frames
    assert (len(frames), frames[-1].function, frames[0].function) == (250, "f0", "f4999")
    assert any("frames" in note for note in event.truncated)


@pytest.mark.parametrize(
    "stack",
    [
        "    at " + "(" * 4_000,
        "    at " + "f (" * 1_300 + ")",
        "    at eval (" + "eval at x (" * 350,
        " " * 4_000 + "@",
        "@" * 4_000,
        ":1" * 2_000,
        " line 1 > eval" * 250,
        "a@" + " line 1 > eval" * 250 + "x",
        "Error: " * 30_000,
    ],
)
def test_hostile_stacks_take_no_longer_than_their_length(stack: str) -> None:
    for _ in range(50):  # quadratic patterns would take minutes, and pytest's timeout ends them
        parse_stack("\n".join([stack] * 50))
        title_of(stack)
        split_title(stack)
