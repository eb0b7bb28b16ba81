"""The gate lets through whatever the closer look would suspect, and little else."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from condev_plugins.scrub import ScrubConfig
from condev_plugins.scrub.gate import gate
from condev_plugins.scrub.keys import Keys
from condev_plugins.scrub.values import Cleaner, Suspicion

FURTHER = ["tax number", "Straße"]
KEYS = Keys(FURTHER, ["cookie_law"])
CLEANER = Cleaner(KEYS, emails=ScrubConfig().emails)
OPEN = gate(KEYS.words, KEYS.whole)

# Words, and what stands around them: blanks of all kinds, punctuation of keys, letters and digits of other scripts.
fragments = st.sampled_from(
    [
        *KEYS.words, *sorted(KEYS.whole), "apİkey", "API-KEY", "To\u212aen", "pass_-.word", "straße", "STRASSE",
        "x" * 81,
        "=", ":", '"', "'", "\\", "\\\"", " ", "\t", "\n", "\v", "\x1c", "\x85", "\xa0", "\u3000", "\u2028", "\x00",
        ".", "-", "_", "[", "]", "$", "%", "?", "&", "/", "@", "a", "Z", "7", "é", "中", "٣", "²", "\u0307", "，",
        "eyJ", "AKIA", "ASIA", "AIza", "ghp_", "github_pat_", "sk_live_", "sk_test_", "npm_", "hf_", "-----BEGIN",
        "xoxb-", "glpat-", "sk-", "Bearer ", "Basic ", "abcdefghij", "ABCDEFGHIJKL", "0123456789",
        "4111 1111 1111 1111", "4111111111111", "a@b.example", "://u:p@host/", "key", "value",
    ]
)  # fmt: skip


@settings(max_examples=1_500, deadline=None)
@given(st.lists(fragments | st.text(max_size=3), max_size=12).map("".join))
@example("pass_-.word\u3000=x")
@example("中pin=1234")
@example("，pin=1234")
@example("x" * 81 + ".pin=1234")
@example("apİkey: x")
@example("a\x004111111111111111\x00b")
def test_nothing_is_held_back_that_would_be_suspected(text: str) -> None:
    if CLEANER.looked_for(text) is not Suspicion.NONE:
        assert OPEN(text)


@pytest.mark.parametrize(
    "text",
    [
        "https://shop.example.com/api/v2/session?cursor=64df7fd63116&r=3116e1ea",
        'body > div#root > main > input#email[name="email"]',
        "at refreshToken (https://shop.example.com/assets/main.a4c123b1.js:1:63845)",
        "54912153-10a5-3e53-56b6-b3dacd8e7f05 12345678901234abc 1795399908",
        "shopping: pint=1, spin: 2, compass=north",
        "jquery@3.6.0",
    ],
)
def test_what_events_are_full_of_is_not_looked_at_closer(text: str) -> None:
    assert not OPEN(text)


def test_what_operators_add_opens_it() -> None:
    assert OPEN("Tax-Number=7")
    assert OPEN("straße: Am Ring")
