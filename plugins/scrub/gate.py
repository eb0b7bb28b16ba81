"""One look at all texts of an event, by one automaton: may any of them hold a secret at all?

Nearly always the answer is no, and then nothing else is asked. It is wrong only on the safe side: whatever
`Cleaner.suspicions` suspects passes here, which a test holds against made-up texts. RE2, because it looks for all of it
at once, one step a byte, whatever the text.
"""

# RE2's package has no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportMissingTypeStubs=false
from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, cast

import re2

MEMORY: Final = 4 << 20  # bytes for the automaton's states; beyond it begins them anew
_BLANK: Final = r"[\x01-\x20[:^ascii:]]"
_KEY: Final = r"[A-Za-z0-9_.$%\[\]\-[:^ascii:]]"
_BETWEEN: Final = r"[_.$%\[\]-]*"  # punctuation that a key's judgement leaves out
_SEPARATOR: Final = rf"(?:(?:\\?[\"'])?{_BLANK}{{0,3}}=|\\?[\"']:|\\?:{_BLANK})"
_TOKENS: Final = (
    r"eyJ[A-Za-z0-9_-]{10}",
    r"A[KS]IA[A-Z0-9]{12}",
    r"AIza[A-Za-z0-9_-]{20}",
    r"(?:gh[pousr]_|_pat_|_live_|_test_|npm_|hf_)[A-Za-z0-9]{10}",
    r"-----BEGIN",
    r"xox[abeoprs]-[A-Za-z0-9]",
    r"glpat-[A-Za-z0-9]",
    r"sk-[A-Za-z0-9_-]{16}",
)
_BEARERS: Final = ("earer ", "asic ")
_MAILS: Final = (r"@[A-Za-z0-9.-]+\.[A-Za-z]{2}", r"@[A-Za-z0-9.:-]+/")
_CARD: Final = r"(?:\A|[^A-Za-z0-9_.])[0-9](?:[ -]?[0-9]){12,18}(?:\z|[^A-Za-z0-9_])"


def gate(words: Iterable[str], whole: Iterable[str]) -> Callable[[str], bool]:
    """Make the question.

    Args:
        words: which make a key sensitive that holds one, in lower case, letters and digits only.
        whole: which do when they are the key.

    Returns:
        Whether texts, joined by NUL characters, may hold anything to be hidden.
    """
    inside = "|".join(map(_spelled, words))
    alone = "|".join(map(_spelled, whole))
    keys = (
        rf"(?i:(?:{inside}){_KEY}*{_SEPARATOR})",
        rf"(?i:(?:\A|[^A-Za-z0-9])(?:{alone}){_BETWEEN}{_SEPARATOR})",
    )
    options = re2.Options()
    options.max_mem = MEMORY
    options.never_capture = True
    pattern = "|".join((*keys, *_TOKENS, *_BEARERS, *_MAILS, _CARD))
    search = cast("Callable[[bytes], object]", re2.compile(pattern.encode(), options).search)
    return lambda text: search(text.encode("utf-8", "replace")) is not None


def _spelled(word: str) -> str:
    """A word with any punctuation between its letters; the dotted capital I becomes an i in lower case."""
    letters = ("[iİ]" if letter == "i" else cast("str", re2.escape(letter)) for letter in word)
    return _BETWEEN.join(letters)
