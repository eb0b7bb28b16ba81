"""Which texts hold a secret, by their look: tokens, private keys, card numbers, e-mail addresses, `password=…`.

In steps, because nearly all text is harmless: `gate` and `Cleaner.suspicions` ask cheap questions of all texts of an
event at once, `Cleaner.clean` looks closely at one. Every pattern is linear in its text, which is hostile.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import IntFlag
from typing import Final

from .gate import gate
from .keys import Judgement, Keys

FILTERED: Final = "[Filtered]"  # the word that Sentry's users know
EMAIL: Final = "[email]"


class Suspicion(IntFlag):
    """What the texts of an event may hold."""

    NONE = 0
    MAIL = 1
    PAIRS = 2
    TOKENS = 4
    BEARER = 8
    CARDS = 16
    ALL = 31


_DIGITS: Final = bytes(0x30 if 0x30 <= byte <= 0x39 else byte for byte in range(256))
_LONG_NUMBER: Final = b"0" * 13  # the shortest card number
_REMEMBERED: Final = 8_192  # keys before an equals sign

# Hints begin with one literal character, for which the search is memchr; what stands before it is looked back at.
_TOKEN_HINTS: Final[tuple[Callable[[str], re.Match[str] | None], ...]] = tuple(
    re.compile(pattern).search
    for pattern in (
        r"J(?<=eyJ)[A-Za-z0-9_-]{10}",  # a JSON Web Token begins with the base64 of {"
        r"I(?:(?<=AKI)A[A-Z0-9]{12}|(?<=ASI)A[A-Z0-9]{12}|(?<=AI)za[A-Za-z0-9_-]{20})",  # AWS, Google
        # GitHub, Stripe, npm, Hugging Face
        r"_(?:(?<=gh[pousr]_)|(?<=_pat_)|(?<=_live_)|(?<=_test_)|(?<=npm_)|(?<=hf_))[A-Za-z0-9]{10}",
        r"-(?:(?<=-----)BEGIN|(?<=xox[abeoprs]-)[A-Za-z0-9]|(?<=glpat-)[A-Za-z0-9]|(?<=sk-)[A-Za-z0-9_-]{16})",
    )
)
_BEARER_HINT: Final = re.compile(r" (?:(?<=earer )|(?<=asic ))")
_MAIL_HINT: Final = re.compile(r"@(?=[A-Za-z0-9.-]{1,255}\.[A-Za-z]{2}|[A-Za-z0-9.:-]{1,255}/)")
# The text is read backwards, so that the rare character comes first and the key after it.
_KEYS_BEFORE_EQUALS: Final = re.compile(r"=\s{0,3}(?:[\"']\\?)?([\w.$%\[\]-]{2,81})")
_KEYS_BEFORE_COLON: Final = re.compile(r":(?:(?<=\s:)|(?=[\"']))[\"']?\\?([\w.$%\[\]-]{2,81})")

_PRIVATE_KEY: Final = re.compile(
    r"-----BEGIN (?:[A-Z0-9]{1,20} ){0,4}PRIVATE KEY(?: BLOCK)?-----"
    r"(?:(?!-----END)[\s\S])*+(?:-----END[A-Z ]{0,60}-----)?"
)
_TOKENS: Final = re.compile(
    r"eyJ[A-Za-z0-9_-]{10,4096}+(?:\.[A-Za-z0-9_-]{2,8192}+){0,4}+"
    r"|(?<![A-Za-z0-9])A[KS]IA[A-Z0-9]{12,128}+"
    r"|(?<![A-Za-z0-9])AIza[A-Za-z0-9_-]{20,128}+"
    r"|(?<![A-Za-z0-9])(?:gh[pousr]|npm|hf)_[A-Za-z0-9]{10,255}+"
    r"|(?<![A-Za-z0-9])github_pat_[A-Za-z0-9_]{10,255}+"
    r"|(?<![A-Za-z0-9])(?:sk|rk|pk|whsec)_(?:live|test)_[A-Za-z0-9]{10,255}+"
    r"|(?<![A-Za-z0-9])xox[abeoprs]-[A-Za-z0-9-]{8,255}+"
    r"|(?<![A-Za-z0-9])glpat-[A-Za-z0-9_-]{10,255}+"
    r"|(?<![A-Za-z0-9])sk-[A-Za-z0-9_-]{16,255}+"
)
_OPAQUE: Final = r"(?=[A-Za-z~+/]{0,200}?(?:[0-9=._-]|[a-z][A-Z]))[A-Za-z0-9._~+/=-]{8,8192}+"
_BEARER: Final = re.compile(r"(?i:(?<![a-z])(bearer|basic))(\s{1,4}+)" + _OPAQUE)
_USERINFO: Final = re.compile(r"(?<=://)[^/?#@\s\"'<>]{1,256}+@")
# One or more without anything between them are one: what is left of two would be an address again.
_MAIL: Final = re.compile(
    r"(?<![A-Za-z0-9._%+-])(?:[A-Za-z0-9._%+-]{1,64}+@(?:[A-Za-z0-9-]{1,63}+\.){1,8}+"
    r"(?!(?:png|jpe?g|gif|svg|webp|avif|ico|m?js|css|map|html?|json|tsx?|vue|woff2?)\b)[A-Za-z]{2,24}+)++"
)
_CARD: Final = re.compile(r"\d(?<![\w.]\d)(?:[ -]?\d){12,18}(?!\w)")  # the look-behind second: 5 times as fast
# key=  key:  "key":  \"key\":  ?key=
_KEY: Final = re.compile(r"(?<![\w.%-])([A-Za-z_$][\w.$%\[\]-]{1,80}+)(?:\\?[\"'])?\s{0,3}+[=:]\s{0,3}+")
_VALUE: Final = re.compile(
    r"(?P<quote>\\?[\"'])?(?!\[Filtered)(?P<value>(?(quote)(?:(?![\"'])[^\\]|\\(?![\"']).){1,8192}+"
    r"|(?:(?i:bearer|basic|digest|token)\s{1,3}+)?(?!//)[^\s\"'&,;})<>#\\]{1,8192}+))",
    re.DOTALL,
)
_NO_VALUES: Final = frozenset({"null", "undefined", "true", "false", "none", "nan", "0", "[object", "{", "[", "(", "-"})
# Beginnings and lengths that the card schemes give out; a bare checksum would take one number in ten.
_SCHEMES: Final = (
    (re.compile(r"4"), {13, 16, 19}),
    (re.compile(r"5[1-5]|2(?:2[2-9]|[3-6]\d|7[01]|720)"), {16}),
    (re.compile(r"3[47]"), {15}),
    (re.compile(r"6(?:011|4[4-9]|5)"), {16, 19}),
    (re.compile(r"3(?:0[0-5]|[68])"), {14}),
    (re.compile(r"35(?:2[89]|[3-8])"), {16}),
    (re.compile(r"62"), {16, 17, 18, 19}),
)


def is_card(digits: str) -> bool:
    """True for a number as the card schemes make them: beginning, length and checksum."""
    if not any(len(digits) in lengths and beginning.match(digits) for beginning, lengths in _SCHEMES):
        return False
    total = 0
    for place, character in enumerate(reversed(digits)):
        digit = ord(character) - 48
        doubled = digit * 2 if place % 2 else digit
        total += doubled - 9 if doubled > 9 else doubled
    return total % 10 == 0


class Cleaner:
    """Takes secrets out of texts."""

    def __init__(self, keys: Keys, *, emails: bool) -> None:
        """Args: keys: what a key's text is; emails: whether e-mail addresses in free text go."""
        self._judge = keys.judge
        self._may_hold_secrets = gate(keys.words, keys.whole)
        self._emails = emails
        self._harmless_backwards: set[str] = set()

    def suspicions(self, joined: str) -> Suspicion:
        """What texts may hold, joined by a NUL, which is in none of them. Wrong only on the safe side."""
        return self.looked_for(joined) if self._may_hold_secrets(joined) else Suspicion.NONE

    def looked_for(self, joined: str) -> Suspicion:
        """The same for texts that `gate` let pass: it cannot say which of its patterns it was."""
        found = Suspicion.NONE
        if "@" in joined and _MAIL_HINT.search(joined) is not None:
            found |= Suspicion.MAIL
        if self._has_sensitive_key(joined[::-1]):
            found |= Suspicion.PAIRS
        if any(hint(joined) is not None for hint in _TOKEN_HINTS):
            found |= Suspicion.TOKENS
        if _BEARER_HINT.search(joined) is not None:
            found |= Suspicion.BEARER
        # One event in twenty-five has so many digits in a row inside a hexadecimal id. Where something else is taken
        # out, a number that stood inside a word may stand free afterwards.
        if _LONG_NUMBER in joined.encode("utf-8", "replace").translate(_DIGITS, b" -") and (
            found or _CARD.search(joined)
        ):
            found |= Suspicion.CARDS
        return found

    def _has_sensitive_key(self, backwards: str) -> bool:
        known = self._harmless_backwards
        for pattern in (_KEYS_BEFORE_EQUALS, _KEYS_BEFORE_COLON):
            keys = pattern.findall(backwards)
            if known.issuperset(keys):
                continue
            if any(self._judge(key[::-1]) in _SENSITIVE for key in keys):
                return True
            if len(known) + len(keys) > _REMEMBERED:
                known.clear()
            known.update(keys[:_REMEMBERED])
        return False

    def clean(self, text: str, suspected: Suspicion = Suspicion.ALL) -> str:
        """The text without the secrets that are suspected; the very same object when it has none."""
        found = text
        if suspected & Suspicion.MAIL and "@" in found:
            found = _USERINFO.sub(f"{FILTERED}@", found)
            if self._emails:
                found = _MAIL.sub(EMAIL, found)
        if suspected & Suspicion.TOKENS and len(found) >= _SHORTEST_TOKEN:
            found = _TOKENS.sub(FILTERED, _PRIVATE_KEY.sub(FILTERED, found) if "-----BEGIN" in found else found)
        if suspected & Suspicion.BEARER and ("earer " in found or "asic " in found):
            found = _BEARER.sub(rf"\1\2{FILTERED}", found)
        if suspected & Suspicion.PAIRS and ("=" in found or ":" in found):
            found = self._without_pairs(found)
        if suspected & Suspicion.CARDS and len(found) >= len(_LONG_NUMBER):
            found = _CARD.sub(_card, found)
        return found

    def _without_pairs(self, text: str) -> str:
        """Hide the value after each sensitive key; the values of others are looked into, they may be addresses."""
        kept: list[str] = []
        done = 0
        for key in _KEY.finditer(text):
            judgement = self._judge(key[1])
            if judgement not in _SENSITIVE or key.start() < done:
                continue
            value = _VALUE.match(text, key.end())
            if value is None or value["value"].lower() in _NO_VALUES:
                continue
            plain = key[0][-1].isspace() and not value["quote"]
            if judgement is Judgement.TEXT and _is_harmless(value["value"], plain):
                continue
            kept += (text[done : value.start("value")], FILTERED)
            done = value.end()
        return "".join((*kept, text[done:])) if kept else text


def _is_harmless(value: str, in_sentence: bool) -> bool:
    """`tokens=512` is a count; "Unexpected token: if" and "session: expired" are sentences."""
    if value.isdecimal():
        return len(value) <= 5
    return in_sentence and (len(value) < 8 or not any(character.isdigit() for character in value))


def _card(found: re.Match[str]) -> str:
    digits = found[0].replace(" ", "").replace("-", "")
    return FILTERED if is_card(digits) else found[0]


_SENSITIVE: Final = frozenset({Judgement.ALWAYS, Judgement.TEXT})
_SHORTEST_TOKEN: Final = 13  # characters
