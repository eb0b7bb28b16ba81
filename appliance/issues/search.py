"""The search field of the issue list: `is:open level:error release:1.2 "exact words" cart` as a query.

Forgiving: what cannot be understood is left out and said in words, never an error page. Several values of one field are
alternatives; plain words must all occur.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from msgspec import structs

from appliance.issues.views import STATES, IssueQuery, ParsedSearch, StateFilter
from appliance.model import ISSUE_KINDS, Level

MAX_SEARCH: Final = 500  # characters; a person types far less, and each word costs a LIKE
MAX_TERMS: Final = 20
MAX_WORD: Final = 100
_TERM: Final = re.compile(r'(?:(?P<key>[A-Za-z][\w.\-]*):)?(?:"(?P<phrase>(?:[^"\\]|\\.)*)"?|(?P<word>[^\s"]+))')
_ESCAPE: Final = re.compile(r"\\(.)")

# What people write → the field of the query that takes values as they are.
_PLAIN: Final = {
    "environment": "environments",
    "env": "environments",
    "release": "releases",
    "browser": "browsers",
    "os": "oses",
    "device": "devices",
    "url": "urls",
    "user": "user_ids",
}
_LEVELS: Final = frozenset(level.value for level in Level)
_KINDS: Final = frozenset(kind.value for kind in ISSUE_KINDS)
_STATES: Final[dict[str, StateFilter]] = {
    **{state: state for state in STATES},
    "unresolved": "open",
    "muted": "ignored",
    "archived": "ignored",
    "any": "all",
}
_KNOWN: Final = ("is", "state", "level", "kind", "tag", "before", "after", "opened-after", "text", *_PLAIN)


def parse_search(text: str, base: IssueQuery | None = None) -> ParsedSearch:
    """Understand what was typed.

    Args:
        text: the field's text; at most `MAX_SEARCH` characters of it count.
        base: what the query is before it; its own fields are added to.
    """
    parser = _Parser(base or IssueQuery())
    if len(text) > MAX_SEARCH:
        parser.errors.append(f"Only the first {MAX_SEARCH} characters of the search were used.")
    for number, match in enumerate(_TERM.finditer(text[:MAX_SEARCH])):
        if number == MAX_TERMS:
            parser.errors.append(f"Only the first {MAX_TERMS} terms of the search were used.")
            break
        phrase = match["phrase"]
        if (match["key"] or "").lower() in {"http", "https"}:  # an address, pasted
            parser.take("", match[0])
            continue
        value = _ESCAPE.sub(r"\1", phrase) if phrase is not None else match["word"]
        parser.take((match["key"] or "").lower(), value.strip())
    return ParsedSearch(query=parser.query, errors=tuple(parser.errors))


class _Parser:
    """The query so far."""

    def __init__(self, query: IssueQuery) -> None:
        self.query = query
        self.errors: list[str] = []
        self._special: dict[str, Callable[[str], None]] = {
            "is": self._state,
            "state": self._state,
            "level": self._level,
            "kind": self._kind,
            "tag": self._tag,
            "before": lambda value: self._time("before", "end", value),
            "after": lambda value: self._time("after", "start", value),
            "opened-after": lambda value: self._time("opened-after", "opened", value),
            "text": self._word,
        }

    def take(self, key: str, value: str) -> None:
        """One term."""
        if not value:
            if key:
                self.errors.append(f"{key}: needs a value, such as {key}:something.")
            return
        if not key:
            self._word(value)
        elif key in self._special:
            self._special[key](value)
        elif key in _PLAIN:
            self._add(_PLAIN[key], value[:200])
        elif "." in key:  # tags with a dot in their name are never words of ours
            self._add("tags", (key, value[:200]))
        else:
            near = difflib.get_close_matches(key, _KNOWN, 1)
            hint = f" Did you mean {near[0]}:?" if near else f" For a tag of that name, write tag:{key}={value}."
            self.errors.append(f"{key}: is not a field that issues can be searched by.{hint}")

    def _add(self, field: str, value: object) -> None:
        values: tuple[object, ...] = getattr(self.query, field)
        if value not in values:
            self.query = structs.replace(self.query, **{field: (*values, value)})

    def _word(self, value: str) -> None:
        self._add("text", value[:MAX_WORD])

    def _state(self, value: str) -> None:
        state = _STATES.get(value.lower())
        if state is None:
            self.errors.append(f"is:{value} is no state: write is:open, is:resolved, is:ignored or is:all.")
        else:
            self.query = structs.replace(self.query, state=state)

    def _level(self, value: str) -> None:
        if value.lower() in _LEVELS:
            self._add("levels", value.lower())
        else:
            self.errors.append(f"level:{value} is no level: there are {', '.join(level.value for level in Level)}.")

    def _kind(self, value: str) -> None:
        kind = value.lower().replace("-", "_")
        if kind in _KINDS:
            self._add("kinds", kind)
        else:
            self.errors.append(f"kind:{value} is no kind of issue: there are {', '.join(sorted(_KINDS))}.")

    def _tag(self, value: str) -> None:
        key, mark, wanted = value.partition("=")
        if not mark or not key or not wanted:
            self.errors.append(f"tag:{value} needs a name and a value: write tag:name=value.")
        else:
            self._add("tags", (key[:64], wanted[:200]))

    def _time(self, key: str, field: str, value: str) -> None:
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.errors.append(f"{key}:{value} is no date: write {key}:2027-01-31 or {key}:2027-01-31T08:30.")
            return
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        self.query = structs.replace(self.query, **{field: max(0, int(moment.timestamp() * 1_000_000))})
