"""Which keys name a secret: of headers, cookies, query parameters, tags, extra data, variables."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import Final

_REMEMBERED: Final = 8_192  # keys; all SDKs together use about a thousand, the rest are the page's own
MAX_KEY: Final = 128  # characters of a key that are looked at

# Found anywhere in a key, without regard to case, hyphens, underscores and dots.
_ALWAYS: Final = (
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "secret",
    "credential",
    "apikey",
    "accesskey",
    "privatekey",
    "signingkey",
    "encryptionkey",
    "authorization",
    "creditcard",
    "cardnumber",
    "securitycode",
    "socialsecurity",
    "clientassertion",
)
# The same, but only where the value is text: {"session": {"minutes": 3}} and {"tokens": 512} say nothing secret.
_AS_TEXT: Final = ("token", "session", "cookie", "csrf", "xsrf", "bearer", "signature", "jwt", "otp", "mfa")
_EXACT: Final = frozenset(
    {"pwd", "pw", "pass", "pin", "cvv", "cvc", "cvn", "ssn", "sin", "iban", "sid", "sig", "auth", "xauth", "otp", "pan"}
)
# Keys that hold one of the words above and nothing secret.
_HARMLESS: Final = frozenset(
    {
        "tokentype",
        "tokencount",
        "tokenizer",
        "inputtokens",
        "outputtokens",
        "totaltokens",
        "maxtokens",
        "sessionduration",
        "sessioncount",
        "sessionstate",
        "sessionstarted",
        "sentrysessionstatus",
        "cookieconsent",
        "cookiesenabled",
        "cookieenabled",
        "tokenerror",
        "unexpectedtoken",
        "onetimepasswordrequired",
        "passwordlength",
        "haspassword",
        "passwordfield",
    }
)
_ADDRESSES: Final = frozenset(
    {
        "ip",
        "ipaddress",
        "useripaddress",
        "userip",
        "clientip",
        "clientaddress",
        "remoteaddr",
        "remoteip",
        "xforwardedfor",
        "xrealip",
        "cfconnectingip",
        "trueclientip",
        "forwarded",
    }
)
_EMAILS: Final = frozenset({"email", "useremail", "contactemail", "emailaddress", "mail"})


class Judgement(IntEnum):
    """What is done with a key's value."""

    HARMLESS = 0  # its text is looked at, like any
    TEXT = 1  # hidden when it is text
    ALWAYS = 2  # hidden
    ADDRESS = 3  # an IP address, by its own rule
    EMAIL = 4  # hidden when e-mail addresses of users are
    RENAME = 5  # the key itself holds what must go


class Keys:
    """Judges keys, and remembers."""

    def __init__(self, further: Iterable[str] = (), safe: Iterable[str] = ()) -> None:
        """Args: further: words that make a key sensitive; safe: whole keys that never are."""
        self._always = (*_ALWAYS, *(found for found in map(plain, further) if found))
        self._safe = frozenset(map(plain, safe)) | _HARMLESS
        self.words = (*self._always, *_AS_TEXT)  # a key that holds one is sensitive, if it is not safe
        self.whole = _EXACT
        self.judged: dict[str, Judgement] = {}
        self.harmless: set[str] = set()  # those of `judged` that hide nothing

    def judge(self, key: str) -> Judgement:
        """What is done with the value of this key."""
        found = self.judged.get(key)
        if found is None:
            found = self._judge(key)
            if len(key) <= MAX_KEY:
                if len(self.judged) >= _REMEMBERED:  # someone makes keys up: begin anew
                    self.judged.clear()
                    self.harmless.clear()
                self.judged[key] = found
                if found is Judgement.HARMLESS:
                    self.harmless.add(key)
        return found

    def are_harmless(self, keys: Iterable[str]) -> bool:
        """Whether no key of an object, or of several, hides its value. One question for all: most come again."""
        return self.harmless.issuperset(keys) or not any(map(self.judge, keys))

    def _judge(self, key: str) -> Judgement:
        if "@" in key or "=" in key or len(key) > MAX_KEY:
            return Judgement.RENAME
        name = plain(key)
        if name in self._safe:
            return Judgement.HARMLESS
        if name in _EXACT or any(word in name for word in self._always):
            return Judgement.ALWAYS
        if any(word in name for word in _AS_TEXT):
            return Judgement.TEXT
        if name in _ADDRESSES:
            return Judgement.ADDRESS
        return Judgement.EMAIL if name in _EMAILS else Judgement.HARMLESS


def plain(key: str) -> str:
    """A key without case and punctuation."""
    return "".join(character for character in key.lower() if character.isalnum())
