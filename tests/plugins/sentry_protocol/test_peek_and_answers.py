"""The quick look before a request is accepted, and the words of each answer."""

from __future__ import annotations

import json

import pytest

from appliance.hookspecs import IngestRequest, Peek, Protocol, Verdict, VerdictKind
from appliance.model import Category

KEY = "a1b2c3d4e5f60718293a4b5c6d7e8f90"
ID = "fc6d8c0c43fc4630ad850ee518f1b9d0"


def looked_at(
    protocol: Protocol, head: bytes, route: str = "envelope", query: str = "", auth: str = "", project: str = "7"
) -> Peek:
    return protocol.peek(
        IngestRequest(
            route=route,
            method="POST",
            params={"project_id": project},
            query=query,
            headers={"x-sentry-auth": auth} if auth else {},
            head=head,
            address="",
            received_at=1,
        )
    )


@pytest.mark.parametrize(
    ("query", "auth", "dsn"),
    [
        (f"sentry_version=7&sentry_key={KEY}&sentry_client=raven-js%2F3.27.2", "", ""),
        (f"sentry_key={KEY}", "", ""),
        ("", f"Sentry sentry_key={KEY}, sentry_version=7, sentry_client=sentry.python/2.75.0", ""),
        ("", f"Sentry sentry_version=7,sentry_key={KEY}", ""),
        ("", "", f"https://{KEY}@monitor.example.com/7"),
        ("", "", f"http://{KEY}:@127.0.0.1:9000/7"),
        ("", "", f"https://{KEY}:secret@monitor.example.com/prefix/of/7"),
    ],
)
def test_the_key_is_found_in_query_header_or_dsn(protocol: Protocol, query: str, auth: str, dsn: str) -> None:
    head = json.dumps({"dsn": dsn} if dsn else {}).encode() + b'\n{"type":"event"}\n{}'
    assert looked_at(protocol, head, query=query, auth=auth).key == KEY


def test_a_request_without_a_key_is_peeked_all_the_same(protocol: Protocol) -> None:
    peek = looked_at(protocol, b'{}\n{"type":"session"}\n{}')
    assert (peek.key, peek.project_id, peek.event_id) == ("", 7, "")
    assert looked_at(protocol, b'{"dsn":"nonsense"}\n').key == ""
    assert looked_at(protocol, b"{}\n", project="9" * 5_000).project_id == 0


@pytest.mark.parametrize(
    ("items", "category"),
    [
        ([{"type": "event"}], Category.ERROR),
        ([{"type": "session"}], Category.SESSION),
        ([{"type": "transaction"}, {"type": "profile"}], Category.TRANSACTION),
        ([{"type": "replay_event"}, {"type": "replay_recording", "length": 2}], Category.REPLAY),
        ([{"type": "client_report"}], Category.OTHER),
        ([{"type": "attachment", "length": 2}, {"type": "event"}], Category.ERROR),
        ([{"type": "client_report"}, {"type": "session"}, {"type": "span"}], Category.SESSION),
        ([{"type": "new_thing"}], Category.OTHER),
        ([], Category.OTHER),
    ],
)
def test_a_mixed_body_counts_as_its_most_important_item(
    protocol: Protocol, items: list[dict[str, object]], category: Category
) -> None:
    head = b"\n".join([b"{}", *(json.dumps(item).encode() + b"\n{}" for item in items)])
    assert looked_at(protocol, head).category is category


def test_a_header_longer_than_the_head_still_gives_its_id_and_key(protocol: Protocol) -> None:
    header = f'{{"event_id":"{ID}","dsn":"https://{KEY}@h.example/7","trace":"{"x" * 9_000}"}}'.encode()
    peek = looked_at(protocol, header[:4096])
    assert (peek.event_id, peek.key) == (ID, KEY)


def test_the_id_of_a_stored_event_is_its_own_not_a_breadcrumbs(protocol: Protocol) -> None:
    body = {"breadcrumbs": {"values": [{"event_id": "b" * 32, "message": '"event_id":"x"'}]}, "event_id": ID}
    assert looked_at(protocol, json.dumps(body).encode(), route="store").event_id == ID
    assert looked_at(protocol, b'{"a":{"event_id":"' + b"b" * 32, route="store").event_id == ""


def verdict(kind: VerdictKind, **changes: object) -> Verdict:
    return Verdict(kind=kind, route="envelope", **changes)  # type: ignore[arg-type]


def test_accepted_answers_with_the_event_id(protocol: Protocol) -> None:
    answer = protocol.answer(verdict(VerdictKind.ACCEPTED, event_id=ID))
    assert (answer.status, json.loads(answer.body)) == (200, {"id": ID})


def test_a_rate_limit_stops_every_category_and_overload_only_what_is_shed(protocol: Protocol) -> None:
    answer = protocol.answer(verdict(VerdictKind.RATE_LIMITED, retry_after=12))
    headers = dict(answer.headers)
    assert (answer.status, headers["Retry-After"]) == (429, "12")
    assert headers["X-Sentry-Rate-Limits"] == "12::project:rate_limited"

    answer = protocol.answer(verdict(VerdictKind.OVERLOADED, retry_after=3, category=Category.REPLAY))
    seconds, categories, scope, reason = dict(answer.headers)["X-Sentry-Rate-Limits"].split(":")
    assert (seconds, scope, reason) == ("3", "project", "overloaded")
    assert "replay" in categories.split(";")
    assert not {"error", "session", "transaction"} & set(categories.split(";"))

    answer = protocol.answer(verdict(VerdictKind.OVERLOADED, retry_after=3, category=Category.ERROR))
    assert dict(answer.headers)["X-Sentry-Rate-Limits"].startswith("3::")


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (VerdictKind.UNKNOWN_KEY, 403),
        (VerdictKind.FORBIDDEN_ORIGIN, 403),
        (VerdictKind.TOO_LARGE, 413),
        (VerdictKind.MALFORMED, 400),
        (VerdictKind.TIMED_OUT, 408),
    ],
)
def test_a_refusal_says_why_where_sdks_and_people_look(protocol: Protocol, kind: VerdictKind, status: int) -> None:
    answer = protocol.answer(verdict(kind, max_bytes=1_000))
    assert answer.status == status
    assert dict(answer.headers)["X-Sentry-Error"] == json.loads(answer.body)["detail"]


def test_what_browsers_must_be_able_to_read_is_exposed(protocol: Protocol) -> None:
    assert {"X-Sentry-Rate-Limits", "Retry-After"} <= set(protocol.exposed_headers)
