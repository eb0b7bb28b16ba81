"""Filters that stand in a page's address: the period, menus of values, chips that take one away.

Pure, and knows no noun: a page says which names it filters by. Several values of one name are alternatives.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol
from urllib.parse import urlencode

from msgspec import Struct, structs

MINUTE: Final = 60_000_000  # µs
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
MAX_VALUES: Final = 20  # of one name: what the JSON API takes, too
MAX_VALUE: Final = 2_048  # characters: an address


class Period(Struct, frozen=True):
    """How far back a page looks; `bucket` is the width of a bar in its charts."""

    text: str
    length: int  # µs
    bucket: int  # µs


# Thirty bars or so each; whole hours where there are sums of whole hours.
PERIODS: Final[Mapping[str, Period]] = {
    "1h": Period("Last hour", HOUR, 2 * MINUTE),
    "24h": Period("Last 24 hours", DAY, HOUR),
    "7d": Period("Last 7 days", 7 * DAY, 6 * HOUR),
    "30d": Period("Last 30 days", 30 * DAY, DAY),
}


class Query(Protocol):
    """A request's query, as Litestar has it."""

    def getall(self, key: str, default: list[str], /) -> list[str]: ...


class Choice(Struct, frozen=True, kw_only=True):
    """One link that changes what a page shows."""

    text: str
    href: str
    on: bool = False
    count: int | None = None


class Menu(Struct, frozen=True, kw_only=True):
    """A menu whose values are fetched when it is opened."""

    name: str
    label: str
    href: str


class Filters(Struct, frozen=True, kw_only=True):
    """Where a page stands: its path, its period, its values by name."""

    path: str
    period: str
    usual: str  # the period that an address without one means
    values: tuple[tuple[str, str], ...] = ()
    fixed: tuple[tuple[str, str], ...] = ()  # what the page is about: no filter, and always in its address

    def of(self, name: str) -> tuple[str, ...]:
        """The values of a name."""
        return tuple(value for key, value in self.values if key == name)

    def one(self, name: str) -> str:
        """The only value of a name, or ""."""
        return next(iter(self.of(name)), "")

    def href(self, path: str = "", **more: str) -> str:
        """This page as an address, or another one about the same; names in `more` replace theirs."""
        pairs = [pair for pair in self.fixed if pair[0] not in more]
        pairs += [("period", self.period)] if self.period != self.usual else []
        pairs += [pair for pair in self.values if pair[0] not in more]
        pairs += [(name, value) for name, value in more.items() if value]
        return f"{path or self.path}?{urlencode(pairs)}" if pairs else path or self.path

    def elsewhere(self, path: str, **more: str) -> str:
        """Another page with the same filters."""
        return structs.replace(self, fixed=()).href(path, **more)

    def toggled(self, name: str, value: str) -> str:
        """The address with one value more, or without it when it is there."""
        pair = (name, value)
        values = tuple(one for one in self.values if one != pair) if pair in self.values else (*self.values, pair)
        return structs.replace(self, values=values).href()

    def over(self, period: str) -> str:
        """The address with another period."""
        return structs.replace(self, period=period).href()

    def start(self, now: int) -> int:
        """µs; where the period begins."""
        return now - PERIODS[self.period].length


class Controls(Struct, frozen=True, kw_only=True):
    """What a page shows to change its filters."""

    periods: tuple[Choice, ...]
    menus: tuple[Menu, ...]
    chips: tuple[Choice, ...]  # what filters now; each link takes it away
    clear: str  # the address without any


def read_filters(
    query: Query, path: str, names: Sequence[str], usual: str = "24h", fixed: Mapping[str, str] | None = None
) -> Filters:
    """Filters from an address; nonsense becomes the default, and what is too much is left out.

    Args:
        query: of the request.
        path: of the page.
        names: which names it filters by.
        usual: the period that an address without one means.
        fixed: what the page is about; empty values are left out.
    """
    period = next(iter(query.getall("period", [])), "")
    values: list[tuple[str, str]] = []
    for name in names:
        given = dict.fromkeys(text.strip()[:MAX_VALUE] for text in query.getall(name, []))
        values += [(name, text) for text in list(given)[:MAX_VALUES] if text]
    return Filters(
        path=path,
        period=period if period in PERIODS else usual,
        usual=usual,
        values=tuple(values),
        fixed=tuple((name, value) for name, value in (fixed or {}).items() if value),
    )


def controls(filters: Filters, menus: Mapping[str, str], values_path: str, labels: Mapping[str, str]) -> Controls:
    """The period's segments, the menus and the chips.

    Args:
        filters: where the page stands.
        menus: name → label, of those that have a menu.
        values_path: the address below which a menu's values are fetched.
        labels: name → word before a chip's value, of those without a menu.
    """
    words = {**menus, **labels}
    return Controls(
        periods=tuple(
            Choice(
                text=period.text.removeprefix("Last ").capitalize(), href=filters.over(key), on=key == filters.period
            )
            for key, period in PERIODS.items()
        ),
        menus=tuple(
            Menu(name=name, label=label, href=filters.href(f"{values_path}/{name}")) for name, label in menus.items()
        ),
        chips=tuple(
            Choice(text=f"{words.get(name, name).lower()}: {value}", href=filters.toggled(name, value), on=True)
            for name, value in filters.values
        ),
        clear=structs.replace(filters, values=()).href(),
    )


def value_choices(filters: Filters, name: str, values: Iterable[tuple[str, int]]) -> tuple[Choice, ...]:
    """A menu's entries: each adds its value, or takes it away when it is on."""
    chosen = filters.of(name)
    return tuple(
        Choice(text=value, href=filters.toggled(name, value), on=value in chosen, count=count)
        for value, count in values
    )
