"""What a person types into the search field, and what is made of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.issues.search import MAX_SEARCH, parse_search
from appliance.issues.views import IssueQuery


def test_fields_and_words_become_one_query() -> None:
    parsed = parse_search('is:resolved level:error env:production release:1.2 browser:"Mobile Safari" cart total')
    assert parsed.errors == ()
    assert parsed.query == IssueQuery(
        state="resolved",
        levels=("error",),
        environments=("production",),
        releases=("1.2",),
        browsers=("Mobile Safari",),
        text=("cart", "total"),
    )


def test_nothing_typed_is_the_open_issues() -> None:
    assert parse_search("   ").query == IssueQuery()


def test_values_of_one_field_are_alternatives_and_repeats_count_once() -> None:
    assert parse_search("level:error level:fatal level:error").query.levels == ("error", "fatal")


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ('"Cannot read properties" x', ("Cannot read properties", "x")),
        (r'"say \"hi\" \\ now"', ('say "hi" \\ now',)),
        ('"never closed', ("never closed",)),
        ("https://example.org/cart?x=1", ("https://example.org/cart?x=1",)),
        ("a-b", ("a-b",)),
        ("100%", ("100%",)),
    ],
)
def test_words_and_phrases(typed: str, words: tuple[str, ...]) -> None:
    assert parse_search(typed).query.text == words


def test_tags_are_named_with_tag_or_by_a_dotted_name() -> None:
    parsed = parse_search('tag:plan=pro sentry.origin:"a b"')
    assert parsed.query.tags == (("plan", "pro"), ("sentry.origin", "a b"))


def test_times_are_utc_unless_they_say_otherwise() -> None:
    query = parse_search("after:2027-01-15 before:2027-01-15T09:00:00+01:00").query
    assert (query.start, query.end) == (1_799_971_200_000_000, 1_800_000_000_000_000)


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("is:lost", "is:open"),
        ("level:bad", "fatal"),
        ("kind:feedback", "white_screen"),
        ("brower:Chrome", "Did you mean browser:?"),
        ("plan:pro", "tag:plan=pro"),
        ("tag:plan", "tag:name=value"),
        ("before:yesterday", "2027-01-31"),
        ('level:""', "needs a value"),
        ("x" * (MAX_SEARCH + 1), "first 500 characters"),
        (" ".join(f"w{n}" for n in range(30)), "first 20 terms"),
    ],
)
def test_what_is_not_understood_is_said_and_left_out(typed: str, words: str) -> None:
    parsed = parse_search(typed)
    assert words in " ".join(parsed.errors)
    assert (parsed.query.state, parsed.query.levels, parsed.query.kinds) == ("open", (), ())


def test_the_search_adds_to_what_was_chosen_before() -> None:
    query = parse_search("level:fatal", IssueQuery(project_ids=(7,), levels=("error",))).query
    assert (query.project_ids, query.levels) == ((7,), ("error", "fatal"))


@given(st.text(max_size=700))
def test_no_text_is_an_error(typed: str) -> None:
    parsed = parse_search(typed)
    assert all(len(word) <= 100 for word in parsed.query.text)
