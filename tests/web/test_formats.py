"""Figures and times as people read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.web import formats

NOW = 1_800_000_000_000_000


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "just now"), (42, "42 s ago"), (61, "1 min ago"), (7_300, "2 h ago"), (3 * 86_400, "3 d ago"),
     (-7_300, "in 2 h"), (90 * 86_400, "17 Oct 2026")],
)  # fmt: skip
def test_times_are_relative_up_to_a_month(seconds: int, words: str) -> None:
    assert formats.ago(NOW - seconds * 1_000_000, NOW).replace("\u202f", " ") == words


@pytest.mark.parametrize(
    ("value", "words"), [(0, "0"), (842, "842"), (9_999, "9,999"), (12_408, "12.4k"), (3_100_000, "3.1M"), (0.5, "0.5")]
)
def test_figures_are_short_in_lists(value: float, words: str) -> None:
    assert formats.compact(value) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.24, "240 ms"),
        (2.31, "2.31 s"),
        (2.9, "2.90 s"),
        (41.26, "41.3 s"),
        (5.0, "5 s"),
        (250, "4 min 10 s"),
        (11_100, "3 h 5 min"),
        (1_051_200, "12 d 4 h"),
    ],
)
def test_durations_have_two_units_at_most(seconds: float, words: str) -> None:
    assert formats.duration(seconds).replace("\u202f", " ") == words


def test_what_is_there_is_never_called_zero() -> None:
    assert formats.percent(0.0001).replace("\u202f", " ") == "< 1 %"
    assert formats.percent(0).replace("\u202f", " ") == "0 %"
    assert formats.bar_heights([0, 1, 1000], 22) == [1.0, 2.0, 22.0]


@pytest.mark.parametrize(
    ("text", "linked"),
    [("https://shop.example/x?y=1", True), ("http://shop.example", True), ("javascript:alert(1)", False),
     ("JaVaScRiPt:alert(1)", False), ("data:text/html,x", False), ("//shop.example", False), ("/path", False),
     ("https://[broken", False), ("", False)],
)  # fmt: skip
def test_only_http_addresses_become_links(text: str, linked: bool) -> None:
    assert bool(formats.safe_url(text)) is linked


@given(st.integers(min_value=-(2**63), max_value=2**63), st.text(max_size=50))
def test_no_time_and_no_text_is_too_strange_to_be_written(us: int, text: str) -> None:
    assert formats.iso(us)
    assert formats.exact(us)
    assert formats.ago(us, NOW)
    assert isinstance(formats.safe_url(text), str)
    assert len(formats.clip(text, 10)) <= 10
