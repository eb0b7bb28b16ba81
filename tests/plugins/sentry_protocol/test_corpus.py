"""Every recorded request of every real client."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest

from appliance.hookspecs import IngestRequest, Protocol
from appliance.model import Category, Event, Outcome, ReplaySegment
from appliance.testing.protocols import HEAD, check_items, identity
from appliance.testing.recordings import Recording, sentry_recordings

KEY = "a1b2c3d4e5f60718293a4b5c6d7e8f90"
# Types that the product has no use for yet; all others must become items.
UNUSED = {"attachment", "log", "trace_metric", "profile", "profile_chunk", "check_in", "statsd"}


@pytest.fixture(scope="module")
def recordings() -> list[Recording]:
    found = list(sentry_recordings())
    assert len(found) > 2_000
    return found


def test_every_event_item_becomes_exactly_one_event(recordings: list[Recording], protocol: Protocol) -> None:
    for recording in recordings:
        result = protocol.decode(recording.record)
        check_items(result, recording.record)
        events = [item for item in result.items if isinstance(item, Event)]
        expected = sum(kind in {"event", "feedback", "user_report"} for kind in recording.item_types)
        match recording.record.route:
            case "envelope":
                assert len(events) == expected, recording.id
            case "store":
                assert len(events) == 1, recording.id
            case _:  # a report-to body may hold several violations
                body = msgspec.json.decode(recording.record.body)
                assert len(events) == (len(body) if isinstance(body, list) else 1), recording.id


def test_nothing_is_cut_or_lost_that_is_not_counted(recordings: list[Recording], protocol: Protocol) -> None:
    for recording in recordings:
        items = protocol.decode(recording.record).items
        unkept = Counter(item.category for item in items if isinstance(item, Outcome) and item.source == "server")
        assert set(unkept) == set(recording.item_types) & UNUSED, recording.id
        assert all(item.truncated == [] for item in items if isinstance(item, Event)), recording.id
        segments = sum(isinstance(item, ReplaySegment) for item in items)
        assert segments == recording.item_types.count("replay_recording"), recording.id


def test_sending_everything_again_gives_the_same_ids(recordings: list[Recording], protocol: Protocol) -> None:
    for recording in recordings:
        later = msgspec.structs.replace(recording.record, received_at=recording.record.received_at + 5_000_000)
        first = [identity(item) for item in protocol.decode(recording.record).items]
        assert first == [identity(item) for item in protocol.decode(later).items], recording.id


def test_an_id_stands_for_one_event(recordings: list[Recording], protocol: Protocol) -> None:
    seen: dict[str, str] = {}
    for recording in recordings:
        for item in protocol.decode(recording.record).items:
            if isinstance(item, Event):
                other = seen.setdefault(item.id, recording.id)
                # The CLI's send-envelope sends one file, with the id in it, at every run.
                assert other == recording.id or recording.id.startswith("sentry-cli"), (other, recording.id)


def test_the_head_of_every_request_names_its_key_and_kind(recordings: list[Recording], protocol: Protocol) -> None:
    for recording in recordings:
        record = recording.record
        tunnelled = recording.path == "/tunnel"
        peek = protocol.peek(
            IngestRequest(
                route=record.route,
                method="POST",
                params={} if tunnelled else {"project_id": "1001"},
                query=record.query,
                headers=record.headers,
                head=record.body[:HEAD],
                address="",
                received_at=record.received_at,
            )
        )
        assert peek.key == KEY, recording.id
        assert peek.project_id == (0 if tunnelled else 1001), recording.id
        errors = {"event", "feedback", "user_report"} & set(recording.item_types)
        assert (peek.category is Category.ERROR) == (bool(errors) or record.route != "envelope"), recording.id
        if "replay_recording" in recording.item_types:
            assert peek.category is Category.REPLAY, recording.id
