"""Filters in an address: read with forgiveness, written without loss."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

from litestar.datastructures import MultiDict

from appliance.web.filtering import PERIODS, controls, read_filters, value_choices

NAMES = ("release", "browser")


def read(text: str, **given: object):
    return read_filters(MultiDict(parse_qsl(text)), "/p", NAMES, **given)  # type: ignore[arg-type]


def test_an_address_survives_being_read_and_written() -> None:
    filters = read("period=7d&release=1.0&release=a%26b%3Dc&browser=Chrome", fixed={"metric": "a/b", "by": ""})
    again = urlsplit(filters.href())
    assert again.path == "/p"
    assert parse_qsl(again.query) == [
        ("metric", "a/b"), ("period", "7d"), ("release", "1.0"), ("release", "a&b=c"), ("browser", "Chrome"),
    ]  # fmt: skip
    assert parse_qsl(urlsplit(filters.elsewhere("/q")).query)[0] == ("period", "7d")


def test_nonsense_is_left_out_and_much_is_cut() -> None:
    filters = read("period=forever&other=1&release=&" + "&".join(f"release=r{n}" for n in range(99)))
    assert filters.period == "24h"
    assert len(filters.of("release")) == 20
    assert read("browser=" + "x" * 9_999).one("browser") == "x" * 2_048
    assert read("").href() == "/p"


def test_a_value_is_added_and_taken_away_again() -> None:
    filters = read("release=1.0")
    added = filters.toggled("release", "2.0")
    assert parse_qsl(urlsplit(added).query) == [("release", "1.0"), ("release", "2.0")]
    assert filters.toggled("release", "1.0") == "/p"
    chosen = value_choices(filters, "release", [("1.0", 3), ("2.0", 1)])
    assert [(one.text, one.on, one.count) for one in chosen] == [("1.0", True, 3), ("2.0", False, 1)]


def test_the_controls_lead_everywhere() -> None:
    filters = read("release=1.0&browser=Chrome", usual="7d")
    around = controls(filters, {"release": "Release"}, "/p/values", {"browser": "Browser"})
    assert [one.text for one in around.chips] == ["release: 1.0", "browser: Chrome"]
    assert around.chips[0].href == "/p?browser=Chrome"
    assert around.menus[0].href.startswith("/p/values/release?")
    assert around.clear == "/p"
    assert [one.on for one in around.periods] == [False, False, True, False]
    assert filters.start(PERIODS["7d"].length + 5) == 5
