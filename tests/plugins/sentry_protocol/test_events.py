"""Events of all shapes: what SDKs send, what the protocol allows, and what nobody should."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance import model
from appliance.hookspecs import DecodeError, Protocol
from appliance.model import Event, Kind, Level, Outcome, Record, Span
from appliance.testing.protocols import check_items
from condev_plugins.sentry_protocol import SentryProtocol
from condev_plugins.sentry_protocol.events import event_from, read_wire
from condev_plugins.sentry_protocol.lenient import read_event
from condev_plugins.sentry_protocol.sender import Sender

NOW = 1_800_000_000_000_000
SECONDS = NOW // 1_000_000
ID = "fc6d8c0c43fc4630ad850ee518f1b9d0"
DAY = 86_400


def record(event: object, **changes: Any) -> Record:
    body = event if isinstance(event, bytes) else json.dumps(event).encode()
    values: dict[str, Any] = {"protocol": "sentry", "route": "store", "project_id": 7, "received_at": NOW, "body": body}
    return Record(**{**values, **changes})


def decoded(event: object, **changes: Any) -> Event:
    """The one event of a /store/ body, checked against the bounds of the model."""
    found = record(event, **changes)
    result = SentryProtocol().decode(found)
    check_items(result, found)
    (item,) = result.items
    assert isinstance(item, Event)
    return item


def envelope(header: object, *items: tuple[object, bytes]) -> bytes:
    lines = [json.dumps(header).encode()]
    for head, payload in items:
        lines += [json.dumps(head).encode(), payload]
    return b"\n".join(lines)


# ── times ──


@pytest.mark.parametrize(
    ("timestamp", "expected"),
    [
        (SECONDS - 10, NOW - 10_000_000),
        (SECONDS - 10.25, NOW - 10_250_000),
        (str(SECONDS - 10), NOW - 10_000_000),
        ("2027-01-15T07:59:50Z", NOW - 10_000_000),
        ("2027-01-15T07:59:50.500000", NOW - 9_500_000),
        ("2027-01-15T08:59:50+01:00", NOW - 10_000_000),
        (SECONDS - 29 * DAY, NOW - 29 * DAY * 1_000_000),  # an offline queue
        (None, NOW),
        (0, NOW),
        ("1970-01-01T00:00:00Z", NOW),
        (4_070_908_800, NOW),  # 2099
        ("2099-01-01T00:00:00Z", NOW),
        (1e300, NOW),
        (-1, NOW),
        ("yesterday", NOW),
        (True, NOW),
        ([SECONDS], NOW),
        ({"at": 1}, NOW),
    ],
)
def test_an_event_happened_when_its_client_says_if_that_can_be(timestamp: object, expected: int) -> None:
    assert decoded({"event_id": ID, "timestamp": timestamp}).timestamp == expected


def test_a_time_that_cannot_be_right_is_noted() -> None:
    assert any("timestamp" in note for note in decoded({"event_id": ID, "timestamp": 0}).truncated)
    assert any("timestamp" in note for note in decoded({"event_id": ID, "timestamp": "nonsense"}).truncated)
    assert decoded({"event_id": ID, "timestamp": SECONDS}).truncated == []


def test_the_skew_of_sent_at_moves_the_event_and_its_breadcrumbs() -> None:
    two_hours = 7_200
    event = {
        "event_id": ID,
        "timestamp": SECONDS - 5 + two_hours,
        "breadcrumbs": [{"timestamp": SECONDS - 8 + two_hours, "message": "click"}],
    }
    sent = "2027-01-15T10:00:00Z"  # two hours fast
    body = envelope({"sent_at": sent}, ({"type": "event"}, json.dumps(event).encode()))
    (item,) = SentryProtocol().decode(record(body, route="envelope")).items
    assert isinstance(item, Event)
    assert item.timestamp == NOW - 5_000_000
    assert item.breadcrumbs[0].timestamp == NOW - 8_000_000


def test_a_difference_that_transit_explains_is_no_skew() -> None:
    event = json.dumps({"event_id": ID, "timestamp": SECONDS - 40}).encode()
    body = envelope({"sent_at": "2027-01-15T07:59:25Z"}, ({"type": "event"}, event))
    (item,) = SentryProtocol().decode(record(body, route="envelope")).items
    assert isinstance(item, Event)
    assert item.timestamp == NOW - 40_000_000


# ── kinds, levels, ids ──


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        ({"exception": {"values": [{"type": "E", "value": "x"}]}}, Kind.ERROR),
        ({"exception": [{"type": "E"}]}, Kind.ERROR),
        ({"exception": {"type": "E", "value": "x"}}, Kind.ERROR),
        ({"exception": {"values": []}, "message": "m"}, Kind.MESSAGE),
        ({"message": "m"}, Kind.MESSAGE),
        ({"message": "m", "exception": {"values": [{"value": "m", "stacktrace": {"frames": []}}]}}, Kind.MESSAGE),
        ({"exception": {"values": [{"value": ""}]}}, Kind.ERROR),
        ({"type": "feedback", "contexts": {"feedback": {"message": "m"}}}, Kind.FEEDBACK),
    ],
)
def test_the_kind_is_what_the_sdk_reported(event: dict[str, Any], kind: Kind) -> None:
    assert decoded({"event_id": ID, **event}).kind is kind


def test_the_stack_attached_to_a_message_is_the_messages_own() -> None:
    frames = [{"function": "f", "filename": "a.js", "lineno": 1}]
    event = decoded({"message": "m", "exception": {"values": [{"value": "m", "stacktrace": {"frames": frames}}]}})
    assert (event.exceptions, [frame.function for frame in event.stack]) == ([], ["f"])
    thread = {"values": [{"current": False}, {"current": True, "stacktrace": {"frames": frames}}]}
    assert [frame.function for frame in decoded({"message": "m", "threads": thread}).stack] == ["f"]


@pytest.mark.parametrize(
    ("said", "level"),
    [("fatal", "fatal"), ("log", "info"), ("WARNING", "warning"), (None, "error"), ("loud", "error"), (7, "error")],
)
def test_levels_are_sentrys_and_the_consoles(said: object, level: str) -> None:
    assert decoded({"event_id": ID, "level": said}).level == Level(level)


def test_an_event_is_unhandled_when_any_exception_of_its_chain_is() -> None:
    values = [
        {"type": "Cause", "mechanism": {"type": "onerror", "handled": False}},
        {"type": "Outer", "mechanism": {"type": "generic", "handled": True}},
    ]
    event = decoded({"exception": {"values": values}})
    assert event.unhandled
    assert [value.type for value in event.exceptions] == ["Cause", "Outer"]


def test_an_event_id_may_be_dashed_missing_or_nonsense() -> None:
    assert decoded({"event_id": "FC6D8C0C-43FC-4630-AD85-0EE518F1B9D0"}).id == ID
    without = decoded({"message": "a"}).id
    assert without == decoded({"message": "a"}).id != decoded({"message": "b"}).id
    assert decoded({"event_id": "abc"}).id == decoded({"event_id": "abc", "message": "x"}).id != without
    assert decoded({"event_id": ["x"]}).id


def test_a_template_without_its_text_is_filled_in() -> None:
    event = decoded({"logentry": {"message": "User %s did %d things", "params": ["ada", 1]}})
    assert (event.message, event.message_template) == ("User ada did 1 things", "User %s did %d things")
    event = decoded({"logentry": {"message": "at %s", "formatted": "at noon", "params": ["noon"]}})
    assert event.message == "at noon"
    assert decoded({"logentry": {"message": "%s and %s", "params": ["one"]}}).message == "one and %s"


# ── who and where ──


@pytest.mark.parametrize(
    ("user", "infer", "expected"),
    [
        ({"ip_address": "{{auto}}"}, None, "203.0.113.7"),
        ({"ip_address": "{{auto}}"}, "never", None),
        ({"id": "1"}, "auto", "203.0.113.7"),
        ({"id": "1"}, None, ""),
        ({"id": "1"}, "never", ""),
        ({"id": "1", "ip_address": "198.51.100.1"}, "auto", "198.51.100.1"),
        (None, "auto", "203.0.113.7"),
        (None, None, None),
    ],
)
def test_an_address_is_inferred_only_where_the_sdk_asks(user: Any, infer: str | None, expected: str | None) -> None:
    sdk = {"name": "sentry.javascript.browser", "settings": {"infer_ip": infer}} if infer else None
    event = decoded({"user": user, "sdk": sdk}, address="203.0.113.7")
    assert (event.user.ip_address if event.user else None) == expected


def test_further_facts_about_a_user_are_kept_apart() -> None:
    user = decoded({"user": {"id": 7, "email": "a@b.c", "segment": "beta", "data": {"plan": "x"}}}).user
    assert user is not None
    assert (user.id, user.email, user.data) == ("7", "a@b.c", {"segment": "beta", "plan": "x"})


def test_the_requests_user_agent_counts_before_the_connections() -> None:
    page = {"platform": "javascript", "request": {"url": "/", "headers": {"user-agent": "Page/1"}}}
    assert decoded(page, headers={"user-agent": "Proxy/1"}).user_agent == "Page/1"
    assert decoded({"platform": "javascript"}, headers={"user-agent": "Browser/1"}).user_agent == "Browser/1"
    assert decoded({"platform": "python"}, headers={"user-agent": "sentry.python/2"}).user_agent == ""


def test_links_to_trace_replay_and_bundles_are_found() -> None:
    event = decoded(
        {
            "contexts": {"trace": {"trace_id": "A" * 32, "span_id": "B" * 16}},
            "tags": {"replayId": "c" * 32},
            "debug_meta": {"images": [{"code_file": "a.js", "debug_id": "x"}, {"type": "macho"}]},
        }
    )
    assert (event.trace_id, event.span_id, event.replay_id) == ("a" * 32, "b" * 16, "c" * 32)
    assert [image.debug_id for image in event.debug_images] == ["x"]


# ── hostile ──

HOSTILE: list[tuple[str, object]] = [
    ("strings where objects belong", dict.fromkeys(
        ("exception", "breadcrumbs", "user", "request", "tags", "contexts", "extra", "modules", "debug_meta", "sdk",
         "threads", "fingerprint", "stacktrace", "logentry"), "text")),
    ("numbers where objects belong", dict.fromkeys(
        ("exception", "breadcrumbs", "user", "request", "tags", "contexts", "extra", "sdk", "message", "level"), 7)),
    ("lists where objects belong", {key: [1, [2], {}] for key in
        ("exception", "user", "request", "tags", "contexts", "extra", "sdk", "release", "environment")}),
    ("objects where texts belong", {key: {"a": 1} for key in
        ("event_id", "message", "level", "release", "environment", "platform", "logger", "transaction")}),
    ("nulls everywhere", dict.fromkeys(
        ("exception", "breadcrumbs", "user", "request", "tags", "contexts", "extra", "sdk", "timestamp", "message"))),
    ("broken members", {"exception": {"values": [None, 7, {"stacktrace": "x"}, {"stacktrace": {"frames": [None, 3, {
        "lineno": "12", "colno": 1e400, "function": None, "vars": "x", "in_app": "true"}]}}]},
        "breadcrumbs": {"values": [None, "text", {"timestamp": {}, "data": 7, "message": [1]}]}}),
    ("huge numbers", {"extra": {"n": 10**40, "m": -(10**40)}, "exception": {"values": [{"stacktrace": {"frames": [
        {"lineno": 10**30, "colno": 2**63}]}}]}, "tags": {"n": 10**30}}),
    ("NUL characters", {"message": "a\x00b", "tags": {"k\x00": "v\x00"}, "extra": {"x\x00": ["\x00"]}}),
    ("too many of everything", {
        "tags": {f"t{n}": "v" * 500 for n in range(500)},
        "breadcrumbs": [{"message": "m" * 10_000, "category": "c" * 999} for _ in range(1_000)],
        "exception": {"values": [{"type": "T" * 999, "value": "v" * 99_999, "stacktrace": {"frames": [
            {"function": "f" * 999, "filename": "u" * 2_999}] * 400}}] * 10 + [{"type": "x"}] * 30},
        "fingerprint": ["f" * 9_999] * 200, "release": "r" * 9_999, "message": "m" * 99_999,
        "modules": {f"m{n}": "1" for n in range(5_000)}, "extra": {f"e{n}": "x" * 1_000 for n in range(3_000)}}),
    ("text that grows when it is escaped", {"exception": {"values": [{"value": "\x01" * 9_000, "stacktrace": {
        "frames": [{"function": "\x01" * 600, "filename": "\x01" * 3_000}] * 40}}] * 20}}),
    ("times of no kind", {"timestamp": "NaN", "breadcrumbs": [{"timestamp": value} for value in
        (None, "x", -1, 1e300, True, [], "2027-13-45T99:99:99Z", "0001-01-01T00:00:00+23:59")]}),
]  # fmt: skip


@pytest.mark.parametrize("event", [event for _, event in HOSTILE], ids=[name for name, _ in HOSTILE])
def test_a_field_that_cannot_be_used_costs_only_itself(event: dict[str, Any]) -> None:
    found = decoded({**event, "server_name": "still here"})
    assert found.server_name == "still here"


def test_what_was_left_out_is_said() -> None:
    notes = " ".join(decoded({"tags": "text", "extra": [1], "release": {"a": 1}}).truncated)
    assert "tags: expected an object, found a string" in notes
    assert "extra: expected an object, found an array" in notes
    assert "release: expected a string, found an object" in notes


@pytest.mark.parametrize(
    "body",
    [
        b'{"message":"a\xff\xfeb","extra":{"k\xff":"\xff"}}',
        b'{"message":"a\\ud800b","extra":{"\\udfff":"\\ud83d"}}',
        b'{"message":"ab","extra":{"n":NaN,"i":-Infinity,"big":1e999,"digits":' + b"9" * 6_000 + b"}}",
        b'{"message":"ab","extra":{"tab":"a\tb\nc"}}',
        b'\xef\xbb\xbf{"message":"ab"}',
        b'{"message":"ab","extra":' + b'{"a":' * 10_000 + b"1" + b"}" * 10_000 + b"}",
        b'{"extra":' + b"[" * 10_000 + b'"\\"]"' + b"]" * 10_000 + b',"message":"ab"}',
        b'{"contexts":{"x":' + b'{"a":' * 500 + b"1" + b"}" * 500 + b'},"message":"ab"}',
    ],
    ids=[
        "not UTF-8",
        "lone surrogates",
        "no numbers",
        "controls",
        "BOM",
        "deep objects",
        "deep arrays",
        "deep context",
    ],
)
def test_json_that_is_almost_json_is_read(body: bytes) -> None:
    message = decoded(body).message
    assert (message[0], message[-1]) == ("a", "b")


@pytest.mark.parametrize(
    "body", [b"", b"nonsense", b"[1]", b'"text"', b'{"message":"cut', b"null", b"7", b"{" * 10_000]
)
def test_what_is_no_event_at_all_is_refused_in_words(body: bytes, protocol: Protocol) -> None:
    with pytest.raises(DecodeError, match=r"store: .{10}"):
        protocol.decode(record(body))


def test_an_event_over_the_payload_bound_loses_extra_and_contexts_before_its_stack() -> None:
    frames = [{"function": f"f{n}", "filename": "a.js", "lineno": n} for n in range(50)]
    event = decoded(
        {
            "exception": {"values": [{"type": "E", "stacktrace": {"frames": frames}}]},
            "contexts": {"trace": {"trace_id": "a" * 32}, "state": {f"k{n}": "x" * 1_000 for n in range(400)}},
            "extra": {f"k{n}": "x" * 1_000 for n in range(600)},
        }
    )
    assert event.extra == {}
    assert len(event.exceptions[0].frames) == 50
    assert event.trace_id == "a" * 32
    assert any(note.startswith("extra: left out") for note in event.truncated)
    assert len(msgspec.json.encode(event)) <= model.MAX_PAYLOAD_BYTES


def test_a_deep_stack_keeps_its_beginning_and_its_end() -> None:
    frames = [{"function": f"f{n}"} for n in range(1_000)]
    kept = decoded({"exception": {"values": [{"type": "E", "stacktrace": {"frames": frames}}]}}).exceptions[0].frames
    assert (len(kept), kept[0].function, kept[-1].function) == (model.MAX_FRAMES, "f0", "f999")


# ── the two ways of reading agree ──

scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)
texts = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00"), max_size=20)
values = st.recursive(
    scalars | texts, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=8
)
objects = st.dictionaries(texts, values, max_size=4)
frames = st.fixed_dictionaries(
    {},
    optional={
        "function": texts,
        "filename": texts,
        "lineno": st.integers(0, 10_000),
        "colno": st.integers(0, 10_000),
        "in_app": st.booleans(),
        "context_line": texts,
        "vars": objects,
    },
)
exceptions = st.fixed_dictionaries(
    {},
    optional={
        "type": texts,
        "value": texts,
        "module": st.none() | texts,
        "mechanism": st.none() | st.fixed_dictionaries({"type": texts}, optional={"handled": st.booleans()}),
        "stacktrace": st.fixed_dictionaries({"frames": st.lists(frames, max_size=3)}),
    },
)
crumbs = st.fixed_dictionaries(
    {},
    optional={"timestamp": st.integers(0, 2**31), "category": texts, "message": texts, "level": texts, "data": objects},
)
events = st.fixed_dictionaries(
    {},
    optional={
        "event_id": st.just(ID) | texts,
        "timestamp": st.floats(0, 2**33) | st.integers(0, 2**33) | texts,
        "platform": texts,
        "level": st.sampled_from(["error", "info", "log", "odd"]),
        "message": texts,
        "logentry": st.fixed_dictionaries({"message": texts}, optional={"params": st.lists(scalars, max_size=3)}),
        "release": texts,
        "transaction": texts,
        "fingerprint": st.lists(texts, max_size=3),
        "exception": st.fixed_dictionaries({"values": st.lists(exceptions, max_size=3)}),
        "breadcrumbs": st.lists(crumbs, max_size=3) | st.fixed_dictionaries({"values": st.lists(crumbs, max_size=3)}),
        "user": objects,
        "tags": st.dictionaries(texts, scalars | texts, max_size=4),
        "contexts": objects,
        "extra": objects,
        "modules": st.dictionaries(texts, texts, max_size=3),
        "request": st.fixed_dictionaries(
            {}, optional={"url": texts, "headers": st.dictionaries(texts, texts, max_size=3)}
        ),
        "sdk": st.fixed_dictionaries({"name": texts, "version": texts}),
        "something_new": values,
    },
)


@settings(max_examples=300, deadline=None)
@given(events)
def test_the_typed_and_the_forgiving_way_give_the_same_event(event: dict[str, Any]) -> None:
    payload = json.dumps(event, ensure_ascii=False).encode()
    sender = Sender.of(record(b""), {})
    quick = event_from(*read_wire(payload), payload, sender)
    slow = event_from(*read_event(payload), payload, sender)
    assert msgspec.json.encode(quick) == msgspec.json.encode(slow)


known_keys = st.sampled_from(
    ["values", "frames", "exception", "type", "stacktrace", "message", "data", "user", "tags", "items", "attributes"]
)
anything = st.recursive(
    scalars | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(known_keys | st.text(max_size=5), inner, max_size=5),
    max_leaves=30,
)


@settings(max_examples=200, deadline=None)
@given(anything)
def test_json_of_any_shape_becomes_items_or_a_refusal(value: Any) -> None:
    body = json.dumps(
        {"exception": value, "breadcrumbs": value, "user": value, "tags": value, "request": value}
    ).encode()
    found = record(body)
    check_items(SentryProtocol().decode(found), found)
    for kind in ("event", "transaction", "session", "sessions", "span", "client_report", "feedback", "user_report"):
        found = record(envelope({}, ({"type": kind}, json.dumps(value).encode())), route="envelope")
        with contextlib.suppress(DecodeError):
            check_items(SentryProtocol().decode(found), found)


# ── envelopes ──


def test_one_broken_item_does_not_cost_its_neighbours(protocol: Protocol) -> None:
    body = envelope(
        {"event_id": ID},
        ({"type": "event"}, b'{"event_id": "cut'),
        ({"type": "session"}, b'{"sid":"' + b"b" * 32 + b'","started":"x","attrs":7}'),
        ({"type": "event"}, b'{"message":"second","event_id":"' + b"c" * 32 + b'"}'),
    )
    found = record(body, route="envelope")
    result = protocol.decode(found)
    check_items(result, found)
    assert [type(item).__name__ for item in result.items] == ["Session", "Event", "Outcome"]
    outcome = result.items[-1]
    assert isinstance(outcome, Outcome)
    assert (outcome.reason, outcome.category, outcome.source) == ("unreadable_item", "event", "server")


def test_an_envelope_of_which_nothing_can_be_read_is_refused(protocol: Protocol) -> None:
    with pytest.raises(DecodeError, match="no item of the envelope can be read"):
        protocol.decode(record(envelope({}, ({"type": "event"}, b"{")), route="envelope"))
    with pytest.raises(DecodeError, match="header cannot be read"):
        protocol.decode(record(b"nonsense\n{}", route="envelope"))


def test_types_that_are_unknown_or_unused_are_counted_and_dropped(protocol: Protocol) -> None:
    body = envelope(
        {},
        ({"type": "log", "item_count": 8}, b'{"items":[]}'),
        ({"type": "from_the_future"}, b"\x01\x02"),
        ({"type": "attachment", "length": 3}, b"a\nb"),
        ({"type": "event"}, b'{"message":"kept"}'),
        ({"no": "type"}, b"{}"),
    )
    items = protocol.decode(record(body, route="envelope")).items
    counted = {item.category: item.quantity for item in items if isinstance(item, Outcome)}
    assert counted == {"log": 8, "from_the_future": 1, "attachment": 1, "unknown": 1}
    assert sum(isinstance(item, Event) for item in items) == 1


@pytest.mark.parametrize("length", [None, "exact", "short", "long", "far too long", "negative", "text"])
def test_a_wrong_length_of_json_is_mended_by_its_line(length: str | None, protocol: Protocol) -> None:
    payload = b'{"message":"one","event_id":"' + b"1" * 32 + b'"}'
    lengths = {"exact": len(payload), "short": 5, "long": len(payload) + 4, "far too long": 10**9, "negative": -1}
    head: dict[str, object] = {"type": "event"}
    if length is not None:
        head["length"] = lengths.get(length, "text")
    second = b'{"message":"two","event_id":"' + b"2" * 32 + b'"}'
    body = envelope({}, (head, payload), ({"type": "event"}, second))
    for ending in (b"", b"\n"):
        items = protocol.decode(record(body + ending, route="envelope")).items
        assert [item.message for item in items if isinstance(item, Event)] == ["one", "two"]


def test_a_transaction_with_broken_spans_keeps_the_good_ones(protocol: Protocol) -> None:
    transaction = {
        "type": "transaction",
        "event_id": ID,
        "transaction": "/cart",
        "start_timestamp": SECONDS - 3,
        "timestamp": SECONDS - 1,
        "contexts": {"trace": {"trace_id": "a" * 32, "span_id": "b" * 16, "op": "pageload", "status": "ok"}},
        "spans": [None, "x", {}, {"span_id": 7, "start_timestamp": "x"}, {"span_id": "c" * 16, "op": "db",
                  "start_timestamp": SECONDS - 2, "timestamp": SECONDS - 1.5, "data": {"q": "SELECT 1"}}],
        "measurements": {"lcp": {"value": 1200, "unit": "millisecond"}, "bad": {"value": "x"}, "cls": {"value": 0.1}},
    }  # fmt: skip
    found = record(envelope({}, ({"type": "transaction"}, json.dumps(transaction).encode())), route="envelope")
    result = protocol.decode(found)
    check_items(result, found)
    spans = [item for item in result.items if isinstance(item, Span)]
    assert (spans[0].is_segment, spans[0].name, spans[0].op) == (True, "/cart", "pageload")
    assert spans[-1].end - spans[-1].start == 500_000
    assert spans[-1].attributes == {"q": "SELECT 1"}
    assert {item.metric: item.value for item in result.items if hasattr(item, "metric")} == {"LCP": 1200.0, "CLS": 0.1}
