"""What version 2 listens to and answers, and what becomes of an envelope."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import msgspec
import pytest

from appliance.hookspecs import DecodeError, IngestRequest, ProjectSettings, Verdict, VerdictKind
from appliance.model import (
    Category,
    Event,
    Kind,
    Level,
    Measurement,
    Outcome,
    PageView,
    Record,
    ReplaySegment,
    Session,
)
from appliance.testing.hostile import odd_events
from appliance.testing.protocols import check_items
from condev_plugins.condev_protocol import CondevProtocol, CondevProtocolV2

NOW = 1_800_000_000_000_000
MS = NOW // 1_000
ID = "0123456789abcdef0123456789abcdef"
VIEW = {"id": "a" * 32, "started": MS - 9_000, "url": "https://shop.example/cart", "route": "/cart"}
protocol = CondevProtocolV2()


def decoded(*lines: object, **changes: Any) -> list[Any]:
    body = b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)
    values: dict[str, Any] = {"protocol": "condev_v2", "route": "envelope", "project_id": 7, "received_at": NOW}
    record = Record(**{**values, "body": body, **changes})
    result = protocol.decode(record)
    check_items(result, record)
    return result.items


def header(**changes: object) -> dict[str, object]:
    return {"v": 2, "id": ID, "sent_at": MS, **changes}


def event(**changes: object) -> dict[str, object]:
    return {"type": "event", "kind": "error", "at": MS - 100, **changes}


def peeked(head: bytes, query: str = "") -> Any:
    return protocol.peek(
        IngestRequest(
            route="envelope", method="POST", params={"key": "k"}, query=query, headers={}, head=head, address="",
            received_at=NOW,
        )
    )  # fmt: skip


# ── on the way in ──


@pytest.mark.parametrize(
    ("has", "category"),
    [
        (["measurement", "event"], Category.ERROR),
        (["outcome", "page_view"], Category.SESSION),
        (["measurement", "span"], Category.TRANSACTION),
        (["replay_segment", "measurement"], Category.MEASUREMENT),
        (["replay_segment"], Category.REPLAY),
        (["replay_segment", "outcome"], Category.REPLAY),
        (["outcome"], Category.OTHER),
        (["something_new"], Category.OTHER),
        ([], Category.ERROR),
    ],
)
def test_an_envelope_counts_as_the_most_important_thing_that_its_header_names(has: list[str], category: Category):
    found = peeked(json.dumps(header(has=has)).encode() + b"\n")
    assert (found.category, found.event_id, found.key) == (category, ID, "k")


def test_without_a_list_the_items_that_can_be_seen_say_what_it_is() -> None:
    assert peeked(b'{"v":2}\n{"type":"replay_segment"}').category is Category.REPLAY
    assert peeked(b'{"v":2}\n{"type":"span"}\n{"type":"event"}').category is Category.ERROR
    assert peeked(b'{"v":2').category is Category.ERROR


def test_a_long_header_is_peeked_from_its_first_four_kibibytes() -> None:
    whole = json.dumps(header(has=["replay_segment"], tags={"t": "x" * 9_000})).encode()
    assert peeked(whole[:4_096]).category is Category.REPLAY


@pytest.mark.parametrize("head", [b"", b"[1]", b"hello", b"\x1f\x8b\x08"])
def test_what_does_not_begin_with_a_header_is_malformed(head: bytes) -> None:
    with pytest.raises(DecodeError):
        peeked(head)


@pytest.mark.parametrize(
    ("query", "headers", "encoding"),
    [
        ("enc=gzip", {}, "gzip"),
        ("sdk=condev.browser/1.0&enc=gzip", {"content-encoding": "identity"}, "gzip"),
        ("", {"content-encoding": "br"}, "br"),
        ("enc=gzip", {"content-encoding": "zstd"}, "zstd"),
        ("", {}, ""),
        ("enc=nothing-known", {}, "nothing-known"),
        ("enc=" + "x" * 9_000, {}, "x" * 20),
    ],
)
def test_the_address_says_how_the_body_is_compressed(query: str, headers: dict[str, str], encoding: str) -> None:
    assert protocol.encoding_of(query, headers) == encoding


def test_the_endpoint_has_the_name_that_the_operator_gave_and_its_usual_one() -> None:
    paths = {route.path for route in CondevProtocolV2("collect").routes}
    assert paths == {"/collect/{key}", "/v2/{key}", "/dsn-api/collect/{key}", "/dsn-api/v2/{key}"}


# ── answers ──


def answer(kind: VerdictKind, category: Category = Category.ERROR, **more: Any) -> tuple[int, dict[str, Any]]:
    found = protocol.answer(Verdict(kind=kind, route="envelope", category=category, **more))
    return found.status, json.loads(found.body)


def test_answers_say_what_the_client_does_next() -> None:
    assert answer(VerdictKind.ACCEPTED) == (200, {"ok": True})
    assert answer(VerdictKind.GONE) == (200, {"ok": True, "skipped": True})
    status, body = answer(VerdictKind.UNKNOWN_KEY, detail="No such key.")
    assert (status, body) == (403, {"ok": False, "reason": "unknown_key", "message": "No such key."})
    assert answer(VerdictKind.TIMED_OUT)[0] == 408
    assert answer(VerdictKind.TOO_LARGE)[0] == 413


def test_a_full_spool_holds_back_what_is_missed_less_and_a_rate_limit_everything() -> None:
    status, body = answer(VerdictKind.OVERLOADED, Category.MEASUREMENT, retry_after=30)
    assert (status, body["reason"], body["retry_after"]) == (429, "overloaded", 30)
    assert body["categories"] == ["measurement", "replay", "outcome"]
    assert answer(VerdictKind.OVERLOADED, Category.ERROR)[1]["categories"] == []
    assert answer(VerdictKind.RATE_LIMITED, Category.REPLAY)[1]["categories"] == []


def test_settings_are_the_projects_and_may_be_kept_for_five_minutes() -> None:
    request = IngestRequest(
        route="app-config", method="GET", params={}, query="appId=k&v=2", headers={}, head=b"", address="",
        received_at=NOW,
    )  # fmt: skip
    settings = ProjectSettings(
        project_id=1, replay_enabled=False, sdk={"sample_rates": {"error": 0.5}, "replay": True, "ignoreErrors": ["x"]}
    )
    found = CondevProtocol().inform(request, settings)
    assert dict(found.headers)["Cache-Control"] == "public, max-age=300"
    assert json.loads(found.body) == {
        "success": True,
        "data": {
            "appId": "k",
            "replayEnabled": False,
            "sdk": {"sample_rates": {"error": 0.5}, "replay": False, "ignoreErrors": ["x"]},
        },
    }
    unknown = json.loads(CondevProtocol().inform(request, None).body)
    assert unknown["data"]["sdk"] == {"replay": False}


# ── envelopes ──


def test_each_envelope_is_a_row_of_its_page_view_with_the_numbers_it_accounts_for() -> None:
    lines = (
        header(page_view=VIEW, last=9),
        event(n=3, id="b" * 32),
        {"type": "page_view", "n": 1},
        {"type": "outcome", "reason": "before_send", "category": "error", "numbers": [2, 4, 4, 0, -1, "x", 2e6]},
    )
    (view,) = [item for item in decoded(*lines) if isinstance(item, PageView)]
    assert (view.id, view.envelope_id, view.timestamp) == ("a" * 32, ID, NOW - 9_000_000)
    assert (view.last_sequence, view.sequences) == (9, [1, 2, 3, 4])


def test_an_envelope_sent_again_gives_the_same_items() -> None:
    lines = (event(n=1), {"type": "measurement", "metric": "x", "value": 1}, event(n=2))
    first = decoded(header(page_view=VIEW), *lines)
    again = decoded(header(page_view=VIEW, sent_at=MS + 5_000), *lines, received_at=NOW + 7_000_000)
    assert [item.id for item in first] == [item.id for item in again]
    other = decoded(header(page_view=VIEW, id="f" * 32), *lines)
    assert {item.id for item in first} & {item.id for item in other} == {"a" * 32}  # only the page view's


def test_a_visit_stands_as_of_its_last_item_not_of_when_it_was_sent() -> None:
    session = {"id": "c" * 32, "started": MS - 60_000, "status": "errored", "errors": 2}
    found = decoded(header(session=session), event(at=MS - 5_000), event(at=MS - 4_000))
    (visit,) = [item for item in found if isinstance(item, Session)]
    assert (visit.started, visit.timestamp, visit.status, visit.errors) == (
        NOW - 60_000_000, NOW - 4_000_000, "errored", 2,
    )  # fmt: skip
    (odd,) = decoded(header(session={"id": "c" * 32, "status": "hacked", "errors": -5, "started": MS + 9e9}))
    assert (odd.status, odd.errors, odd.started) == ("ok", 0, NOW)
    (ended,) = decoded(header(session={**session, "status": "exited"}))  # a page cannot know that
    assert ended.status == "ok"


def test_one_clock_that_is_wrong_moves_all_times_alike() -> None:
    hour = 3_600_000
    lines = (header(sent_at=MS + hour, page_view={**VIEW, "started": MS + hour - 9_000}), event(at=MS + hour - 100))
    found, view = decoded(*lines)
    assert (found.timestamp, view.timestamp) == (NOW - 100_000, NOW - 9_000_000)


def test_what_the_header_says_is_in_every_event_unless_it_says_otherwise() -> None:
    common = header(
        page_view=VIEW, release="shop@1", environment="production", user={"id": 1, "plan": "pro"},
        tags={"a": "header", "b": True}, viewport=[390, 844], memory=4, timezone="Europe/Berlin",
    )  # fmt: skip
    first, second = (
        item
        for item in decoded(common, event(), event(tags={"a": "own"}, user={"email": "x@y"}, route="/other"))
        if isinstance(item, Event)
    )
    assert (first.release, first.environment, first.transaction) == ("shop@1", "production", "/cart")
    assert (first.tags, second.tags) == ({"a": "header", "b": "true"}, {"a": "own", "b": "true"})
    assert first.user is not None
    assert (first.user.id, first.user.data) == ("1", {"plan": "pro"})
    assert second.user is not None
    assert (second.user.id, second.user.email, second.transaction) == ("", "x@y", "/other")
    assert first.contexts["page"] == {"viewport": "390 × 844", "memory_gb": 4.0}
    assert first.contexts["culture"] == {"timezone": "Europe/Berlin"}


# ── items ──


@pytest.mark.parametrize(
    ("sent", "kind", "level"),
    [
        ({"kind": "message"}, Kind.MESSAGE, Level.INFO),
        ({"kind": "white_screen"}, Kind.WHITE_SCREEN, Level.FATAL),
        ({"kind": "error", "level": "WARNING"}, Kind.ERROR, Level.WARNING),
        ({"kind": "unheard of"}, Kind.CUSTOM, Level.INFO),
        ({"kind": "unheard of", "exceptions": [{"type": "E", "value": "v"}]}, Kind.ERROR, Level.ERROR),
        ({"kind": None}, Kind.ERROR, Level.ERROR),
    ],
)
def test_kinds_and_levels(sent: dict[str, object], kind: Kind, level: Level) -> None:
    (found,) = decoded(header(), event(**sent))
    assert (found.kind, found.level) == (kind, level)


def test_bundles_are_named_by_their_debug_ids_in_the_frames_too() -> None:
    stack = "Error: x\n    at f (https://shop.example/a.js:1:2)\n    at g (https://shop.example/b.js:3:4)"
    (found,) = decoded(
        header(),
        event(
            exceptions=[{"type": "Error", "value": "x", "stack": stack}], debug_ids={"https://shop.example/a.js": "D1"}
        ),
    )
    assert [(image.code_file, image.debug_id) for image in found.debug_images] == [("https://shop.example/a.js", "d1")]
    assert [frame.debug_id for frame in found.exceptions[0].frames] == ["", "d1"]


def test_an_inline_scripts_frames_lose_what_stands_behind_the_path_of_its_page() -> None:
    stack = "Error: no\n    at f (https://a.example/callback?code=ABC&id=42:10:5)\ng@https://a.example/x#code=ABC:2:3"
    (found,) = decoded(header(), event(exceptions=[{"type": "Error", "value": "no", "stack": stack}]))
    assert b"ABC" not in msgspec.json.encode(found)
    assert [frame.filename for frame in found.exceptions[0].frames] == [
        "https://a.example/x", "https://a.example/callback",
    ]  # fmt: skip


def test_of_one_metric_in_one_envelope_the_last_value_is_kept() -> None:
    values = [
        {"type": "measurement", "id": "m", "metric": "INP", "value": 200, "n": 5, "replaces": True},
        {"type": "measurement", "id": "m", "metric": "INP", "value": 100, "n": 2},
        {"type": "measurement", "id": "m", "metric": "INP", "value": 150, "n": 3, "replaces": True},
        {"type": "measurement", "id": "m", "metric": "CLS", "value": 0.1, "n": 4},
    ]
    found = [item for item in decoded(header(page_view=VIEW), *values) if isinstance(item, Measurement)]
    assert [(item.metric, item.value, item.revision > 0) for item in found] == [
        ("INP", 200.0, True),
        ("CLS", 0.1, False),
    ]
    assert {item.timestamp for item in found} == {NOW - 9_000_000}
    assert found[0].id != found[1].id


def test_a_later_value_counts_though_the_next_page_view_numbers_from_one_again() -> None:
    value = {"type": "measurement", "id": "m", "metric": "CLS", "value": 0.1, "replaces": True}
    next_view = {"id": "f" * 32, "started": MS - 4_000, "url": "https://shop.example/next"}
    first, *_ = decoded(header(page_view=VIEW), {**value, "n": 12})
    late = {**value, "n": 2, "url": VIEW["url"], "started": VIEW["started"]}
    later, *_ = decoded(header(id="f" * 32, page_view=next_view), late)
    sent_again = header(id="f" * 32, page_view=next_view, sent_at=MS + 90_000)
    again, *_ = decoded(sent_again, late, received_at=NOW + 90_000_000)
    assert 0 < first.revision < later.revision == again.revision
    assert (first.id, first.timestamp, first.url) == (later.id, later.timestamp, later.url)
    for odd in (None, -1, 1e300, "soon"):
        found, *_ = decoded(header(page_view={**VIEW, "started": odd}), value)
        assert 0 < found.revision < 2**63


def test_an_event_that_stands_twice_is_one() -> None:
    found = decoded(header(), event(id="d" * 32, message="first"), event(id="d" * 32, message="second"))
    assert [item.message for item in found] == ["first"]


def replay(**changes: object) -> dict[str, object]:
    line = {
        "type": "replay_segment",
        "n": 4,
        "replay_id": "e" * 32,
        "segment": 2,
        "started": MS - 900,
        "ended": MS - 100,
    }
    return {**line, **changes}


def test_a_replay_comes_as_its_events_or_packed() -> None:
    events = [{"type": 3, "timestamp": MS, "data": {"text": "grün"}}]
    packed = base64.b64encode(gzip.compress(json.dumps(events).encode())).decode()
    for sent in ({"events": events}, {"data": packed}):
        found = decoded(header(session={"id": "a" * 32}), replay(**sent))[0]
        assert isinstance(found, ReplaySegment)
        assert (found.segment, json.loads(found.body), found.session_id) == (2, events, "a" * 32)


@pytest.mark.parametrize(
    "sent",
    [
        {},
        {"events": {"a": 1}},
        {"data": "%%%"},
        {"data": base64.b64encode(b"plain").decode()},
        {"data": base64.b64encode(gzip.compress(b"[1]")[:-9]).decode()},
        {"data": base64.b64encode(gzip.compress(b'{"no":"array"}')).decode()},
        {"data": base64.b64encode(gzip.compress(b"[1,")).decode()},
        {"replay_id": "", "events": []},
    ],
)
def test_a_replay_that_cannot_be_read_costs_no_other(sent: dict[str, object]) -> None:
    found = decoded(header(page_view=VIEW), replay(**sent), event(n=5))
    assert isinstance(found[0], Event)
    assert [item.reason for item in found if isinstance(item, Outcome)] == ["unreadable_item"]
    assert [item.sequences for item in found if isinstance(item, PageView)] == [[4, 5]]


def test_segments_of_one_envelope_share_what_they_may_unpack_to() -> None:
    nine = base64.b64encode(gzip.compress(b"[" + b" " * (9 << 20) + b"]", mtime=0)).decode()
    lines = [replay(segment=n, n=n + 1, data=nine) for n in range(5)]
    found = decoded(header(), *lines)
    assert len([item for item in found if isinstance(item, ReplaySegment)]) == 3
    assert [(item.reason, item.quantity) for item in found if isinstance(item, Outcome)] == [("too_large", 2)]


def test_replays_that_the_project_refused_are_left_out_of_a_mixed_envelope() -> None:
    lines = (header(page_view=VIEW), event(n=1), replay(events=[]))
    found = decoded(*lines, refused=[Category.REPLAY])
    assert not any(isinstance(item, ReplaySegment) for item in found)
    assert [item.reason for item in found if isinstance(item, Outcome)] == ["replay_disabled"]
    assert [item.sequences for item in found if isinstance(item, PageView)] == [[1, 4]]


def test_a_body_of_line_feeds_is_bounded() -> None:
    body = json.dumps(header()).encode() + b"\n" * 2_000_000
    (found,) = decoded(body)
    assert (found.reason, found.quantity > 1_900_000) == ("too_many_items", True)


def test_what_cannot_be_read_at_all_is_refused_in_words() -> None:
    with pytest.raises(DecodeError, match="header"):
        decoded(b"\xff\xfe\x00nothing", b"{{{{")


@pytest.mark.parametrize("name", sorted(odd_events(lambda: "a" * 32, "s3cret")))
def test_events_that_are_broken_on_purpose_cost_no_other(name: str) -> None:
    odd = odd_events(lambda: "a" * 32, "s3cret")[name].replace(b"\n", b" ")
    item = odd.replace(b"{", b'{"type":"event","kind":"error","id":"' + b"a" * 32 + b'",', 1)
    for header_line, line in ((json.dumps(header(page_view=VIEW)).encode(), item), (odd, json.dumps(event()).encode())):
        found = decoded(header_line, line, event(id="b" * 32, message="after it"))
        assert [one.message for one in found if isinstance(one, Event)][-1] == "after it", name
