"""The form of what the server sets for our SDK."""

from __future__ import annotations

import pytest

from appliance.projects.sdk_settings import as_typed, others, read_form


def test_percentages_become_rates_and_come_back_as_they_were_typed() -> None:
    typed = {"error": "100", "measurement": "12,5 %", "span": "0", "replay": "0.01", "page_view": " "}
    options, errors = read_form(typed, "ResizeObserver loop\n\n  Script error. \nResizeObserver loop")
    assert errors == {}
    assert options == {
        "sample_rates": {"error": 1.0, "measurement": 0.125, "span": 0.0, "replay": 0.0001},
        "ignoreErrors": ["ResizeObserver loop", "Script error."],
    }
    rates, ignored = as_typed(options)
    assert rates == {
        "error": "100", "measurement": "12.5", "page_view": "", "span": "0", "replay": "0.01", "replay_on_error": "",
    }  # fmt: skip
    assert ignored == "ResizeObserver loop\nScript error."


def test_an_empty_form_sets_nothing() -> None:
    assert read_form({}, "") == ({}, {})


@pytest.mark.parametrize("typed", ["101", "-1", "nan", "inf", "half", "1e400", "10 10"])
def test_a_rate_that_is_no_percentage_is_said_beside_its_field(typed: str) -> None:
    assert list(read_form({"error": typed}, "")[1]) == ["rate_error"]


def test_patterns_are_bounded_since_every_visitor_tries_them() -> None:
    assert list(read_form({}, "\n".join(map(str, range(101))))[1]) == ["ignore_errors"]
    assert list(read_form({}, "x" * 301)[1]) == ["ignore_errors"]


def test_what_is_stored_is_shown_however_odd_it_is() -> None:
    odd = {"sample_rates": {"error": "many", "span": 2, "replay": True}, "ignoreErrors": {"a": 1}, "mine": [1]}
    rates, ignored = as_typed(odd)
    assert set(rates.values()) == {""}
    assert ignored == ""
    assert others(odd) == {"mine": [1]}
