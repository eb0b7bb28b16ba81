"""The helpers that protocols share: forgiving JSON, client times, ids, bounds."""

from __future__ import annotations

import json
import math

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.decoding import (
    ClientClock,
    Unkept,
    UnreadableError,
    hash_id,
    hex_id,
    json_value,
    line,
    number,
    parse_milliseconds,
    parse_seconds,
    read_json,
    span_id,
    text,
    truth,
    whole,
)
from appliance.model import MAX_DEPTH, Outcome
from appliance.testing.protocols import depth_of

NOW = 1_800_000_000_000_000
DAY = 86_400_000_000

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(json_values)
def test_whatever_json_is_given_what_comes_out_can_be_stored(value: object) -> None:
    found = json_value(read_json(json.dumps(value).encode()))
    assert msgspec.json.decode(msgspec.json.encode(found)) == found
    assert "\x00" not in text(found)
    assert depth_of(found) <= MAX_DEPTH


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        json_value(read_json(data))
    except UnreadableError as error:
        assert str(error)  # noqa: PT017 - both endings are right


@pytest.mark.parametrize("depth", [200, 1_000, 10_000, 200_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('[{"\\"}":', "}]")])
def test_json_of_any_depth_keeps_what_stands_beside_it(depth: int, opening: str, closing: str) -> None:
    deep = opening * depth + "1" + closing * depth
    found = read_json(f'{{"before": 1, "deep": {deep}, "after": "]}}"}}'.encode())
    assert isinstance(found, dict)
    assert (found["before"], found["after"]) == (1, "]}")
    assert depth_of(json_value(found)) <= MAX_DEPTH


def test_json_that_is_cut_off_is_refused_however_deep_it_was() -> None:
    for body in (b"[" * 100_000, b'{"a":' * 100_000, b'["' + b"a" * 100_000, b'{"a":[1,2'):
        with pytest.raises(UnreadableError):
            read_json(body)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2027-01-15T08:00:00Z", NOW),
        ("2027-01-15 08:00:00", NOW),
        ("2027-01-15T09:00:00.000001+01:00", NOW + 1),
        (1_800_000_000, NOW),
        (1_800_000_000.5, NOW + 500_000),
        ("1800000000", NOW),
        (0, 0),
        (-5, None),
        (math.nan, None),
        (math.inf, None),
        (1e200, None),
        (10**400, None),
        ("", None),
        ("soon", None),
        ("9999-12-31T23:59:59Z", 253_402_300_799_000_000),
        ("0001-01-01T00:00:00+14:00", None),
        (True, None),
        ([], None),
        (None, None),
    ],
)
def test_times_are_seconds_or_rfc_3339(value: object, expected: int | None) -> None:
    assert parse_seconds(value) == expected


def test_condev_times_are_milliseconds() -> None:
    assert parse_milliseconds(1_800_000_000_000) == NOW
    assert parse_milliseconds("2027-01-15T08:00:00.000Z") == NOW
    assert parse_milliseconds(10**400) is None


def test_a_clock_corrects_clamps_and_keeps_the_length_of_intervals() -> None:
    hour = 3_600_000_000
    slow = ClientClock.of(NOW, NOW - hour)
    assert slow.at(NOW - hour - 5) == NOW - 5
    assert ClientClock.of(NOW, NOW - 30_000_000).skew == 0  # transit
    assert ClientClock.of(NOW, None).at(None) == NOW
    clock = ClientClock(NOW)
    assert clock.at(NOW + 1) == NOW
    assert clock.at(NOW - 31 * DAY) == NOW
    assert clock.at(NOW - 29 * DAY) == NOW - 29 * DAY
    assert clock.between(NOW - 10, NOW - 4) == (NOW - 10, NOW - 4)
    assert clock.between(NOW + 10, NOW + 16) == (NOW - 6, NOW)
    assert clock.between(0, 6) == (NOW - 6, NOW)
    assert clock.between(NOW - 4, NOW - 10) == (NOW - 10, NOW - 10)
    assert clock.between(None, None) == (NOW, NOW)


def test_ids_have_one_form() -> None:
    assert hex_id("FC6D8C0C-43FC-4630-AD85-0EE518F1B9D0") == "fc6d8c0c43fc4630ad850ee518f1b9d0"
    assert hex_id(" " + "a" * 32) == "a" * 32
    assert len(hex_id("short")) == 32
    assert hex_id("short") == hex_id("short") != hex_id("Short2")
    assert (hex_id(""), span_id("")) == ("", "")
    assert (span_id("A" * 16), len(span_id("x"))) == ("a" * 16, 16)
    assert hash_id("a", "bc") != hash_id("ab", "c")
    assert hash_id("\ud800") == hash_id("\ud800")


def test_values_become_what_a_field_wants() -> None:
    assert [text(value) for value in ("a\x00b", None, True, 7, 1.5, [1, "x"], math.nan)] == [
        "ab", "", "true", "7", "1.5", '[1,"x"]', ""]  # fmt: skip
    assert [line(value) for value in ("  a\n b\t", 7, None, [1], {"password": "x"})] == ["a b", "7", "", "", ""]
    assert [number(value) for value in ("1.5", 2, True, "x", [], 10**400, "1" * 99)] == [
        1.5, 2.0, None, None, None, None, None]  # fmt: skip
    assert [whole(value) for value in (3, 3.0, "4", 3.5, 2**63, 10**400, True, None)] == [
        3, 3, 4, None, None, None, None, None]  # fmt: skip
    assert [truth(value) for value in (True, "false", 1, 0, "maybe", None, [])] == [
        True, False, True, False, None, None, None]  # fmt: skip


def test_what_was_not_kept_is_counted_once_for_each_kind_under_a_name_of_few_characters() -> None:
    unkept = Unkept()
    assert not unkept
    for category in ("log", "log", "A-Type", "<script>", "x" * 500):
        unkept.add("unsupported_item", category)
    assert [(item.category, item.quantity) for item in unkept.outcomes(NOW) if isinstance(item, Outcome)] == [
        ("log", 2), ("a_type", 1), ("unknown", 1), ("x" * 40, 1)]  # fmt: skip
