"""What the list of issues shows around its rows: state tabs, filter menus, chips, sorting, links that change the text.

The text in the search field is the one truth; a menu entry is a link with that text changed. Pure; asks nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import urlencode

from msgspec import Struct, structs

from appliance.issues.views import IssueQuery, StateCounts

HOUR: Final = 3_600_000_000  # µs
PERIODS: Final[Mapping[str, tuple[str, int]]] = {
    "": ("Any time", 0),
    "1h": ("Last hour", HOUR),
    "24h": ("Last 24 hours", 24 * HOUR),
    "7d": ("Last 7 days", 7 * 24 * HOUR),
    "14d": ("Last 14 days", 14 * 24 * HOUR),
    "30d": ("Last 30 days", 30 * 24 * HOUR),
}
SORT_NAMES: Final[Mapping[str, str]] = {
    "last_seen": "Last seen",
    "first_seen": "First seen",
    "events": "Events",
    "users": "Users",
}
# Fields with a menu: the word of the search syntax → the menu's label. Values come from the service.
MENUS: Final[Mapping[str, str]] = {
    "level": "Level",
    "environment": "Environment",
    "release": "Release",
    "browser": "Browser",
}
LEVELS: Final = ("fatal", "error", "warning", "info", "debug")
_TERM: Final = re.compile(r'(?:[\w.\-]+:)?"(?:[^"\\]|\\.)*"|\S+')


class Choice(Struct, frozen=True, kw_only=True):
    """One link that changes the list."""

    text: str
    href: str
    on: bool = False
    count: int | None = None


class ListAddress(Struct, frozen=True, kw_only=True):
    """Where the list stands: everything that its address says."""

    q: str = ""
    project: str = ""
    sort: str = "last_seen"
    period: str = ""

    def href(self, path: str = "/issues", **more: str) -> str:
        """This list as an address; defaults are left out."""
        pairs = {"project": self.project, "q": self.q, "sort": self.sort, "period": self.period, **more}
        kept = {name: value for name, value in pairs.items() if value and (name, value) != ("sort", "last_seen")}
        return f"{path}?{urlencode(kept)}" if kept else path

    def but(self, **changes: str) -> str:
        """The address with some of it changed."""
        return structs.replace(self, **changes).href()


class ListControls(Struct, frozen=True, kw_only=True):
    """The controls around the rows."""

    states: tuple[Choice, ...]
    levels: tuple[Choice, ...]
    periods: tuple[Choice, ...]
    sorts: tuple[Choice, ...]
    chips: tuple[Choice, ...]  # what filters now; each link takes it away
    clear: str  # the address without search and filters
    period_name: str
    sort_name: str


def terms(q: str) -> list[str]:
    """The search text in terms: words, "phrases", key:value."""
    return _TERM.findall(q)


def key_of(term: str) -> str:
    """The field of a term; "" for plain words. `-` never starts a field."""
    head, colon, tail = term.partition(":")
    return head.lower() if colon and tail and not head.startswith(("-", '"')) else ""


def quoted(key: str, value: str) -> str:
    """A term for a field and a value, quoted when needed."""
    plain = re.fullmatch(r'[^\s"\\]+', value)
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f"{key}:{value}" if plain else f'{key}:"{escaped}"'


def with_term(q: str, key: str, value: str) -> str:
    """The text with this field set to this one value; an empty value takes the field away."""
    kept = [term for term in terms(q) if key_of(term) != key and not (key == "is" and key_of(term) == "state")]
    return " ".join([*kept, quoted(key, value)] if value else kept)


def without(q: str, term: str) -> str:
    """The text without one term."""
    return " ".join(kept for kept in terms(q) if kept != term)


def value_choices(address: ListAddress, key: str, values: Iterable[str]) -> tuple[Choice, ...]:
    """Menu entries for the values of a field; the one that is on leads away from it."""
    present = set(terms(address.q))
    return tuple(
        Choice(
            text=value,
            on=quoted(key, value) in present,
            href=address.but(
                q=without(address.q, quoted(key, value))
                if quoted(key, value) in present
                else with_term(address.q, key, value)
            ),
        )
        for value in values
    )


def controls(address: ListAddress, query: IssueQuery, counts: StateCounts) -> ListControls:
    """Everything around the rows.

    Args:
        address: where the list stands.
        query: the search text as it was understood.
        counts: issues in each state, for the tabs.
    """
    numbers = {"open": counts.open, "resolved": counts.resolved, "ignored": counts.ignored}
    states = tuple(
        Choice(
            text=name.capitalize(),
            # "open" is what an address without a state means.
            href=address.but(q=with_term(address.q, "is", "" if name == "open" else name)),
            on=query.state == name,
            count=numbers.get(name),
        )
        for name in ("open", "resolved", "ignored", "all")
    )
    return ListControls(
        states=states,
        levels=value_choices(address, "level", LEVELS),
        periods=tuple(
            Choice(text=text, href=address.but(period=key), on=key == address.period)
            for key, (text, _) in PERIODS.items()
        ),
        sorts=tuple(
            Choice(text=text, href=address.but(sort=key), on=key == address.sort) for key, text in SORT_NAMES.items()
        ),
        chips=tuple(
            Choice(text=term, href=address.but(q=without(address.q, term)), on=True)
            for term in terms(address.q)
            if key_of(term) not in ("", "is", "state")
        ),
        clear=ListAddress(project=address.project).href(),
        period_name=PERIODS[address.period][0],
        sort_name=SORT_NAMES[address.sort],
    )
