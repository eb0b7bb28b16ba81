"""Messages without their values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.issues.grouping.parameterise import MAX_MESSAGE, parameterise


@pytest.mark.parametrize(
    ("message", "template"),
    [
        ("Order 17 of 'ada' failed", "Order <number> of <value> failed"),
        ("-12.5 of 1,234,567 took 10ms (50%)", "<number> of <number> took <number> (<number>)"),
        ("timeout of 3000ms exceeded", "timeout of <number> exceeded"),
        ("GET https://api.example.org/v1/orders?x=1 failed", "GET <url> failed"),
        ("mail to ada.l+x@example.org bounced", "mail to <email> bounced"),
        ("session 5f3a9c22-1111-2222-3333-444455556666 ended", "session <uuid> ended"),
        ("at 2027-01-02T03:04:05.123Z", "at <date>"),
        ("at 2027-01-02 03:04", "at <date>"),
        ("since Mon, 04 Jan 2027 10:00:00 GMT", "since <date>"),
        ("since Tue Jan 05 2027 10:00:00 GMT+0100 (Central European Standard Time)", "since <date>"),
        ("on 1/31/2027, 8:30:00 PM", "on <date>"),
        ("pointer 0xDEADBEEF", "pointer <number>"),
        ("request req_8fKq02LmZ was declined", "request <number> was declined"),
        ("commit c2bd8183 and 123456 and 123abc", "commit <number> and <number> and <number>"),
        ("cannot open /usr/lib/foo/bar.py", "cannot open <path>"),
        ("cannot open C:\\Users\\ada\\x.txt", "cannot open <path>"),
        ("host 192.168.0.1:8080 refused", "host <ip> refused"),
        ('Unexpected "x" in `y` of “z”', "Unexpected <value> in <value> of <value>"),
        ("many\n\n  lines\tand\0nulls", "many lines and nulls"),
    ],
)
def test_values_become_placeholders(message: str, template: str) -> None:
    assert parameterise(message) == template


@pytest.mark.parametrize(
    "message",
    [
        "didn't interact with the document's first child",
        "NG0100: Expression has changed",
        "error E1001: card expired",
        "either/or",
        "the end.",
    ],
)
def test_words_stay_words(message: str) -> None:
    assert parameterise(message) == message


@given(st.text(max_size=3_000))
def test_any_text_has_a_template_of_one_line(message: str) -> None:
    template = parameterise(message)
    assert "\n" not in template
    assert len(template) <= MAX_MESSAGE * 10
    assert parameterise(message) == template


@pytest.mark.parametrize(
    "unit", ["a", "'", "/", "a.", "1.", "a@", "_1", "\\a", "1:", "a-", "Jan ", "a1_", "[(/", '"', "0x"]
)
def test_no_text_makes_the_pattern_slow(unit: str) -> None:
    """A pattern that backtracks needs minutes for these; pytest's timeout is the judge."""
    for _ in range(20):
        parameterise.__wrapped__(unit * MAX_MESSAGE)
