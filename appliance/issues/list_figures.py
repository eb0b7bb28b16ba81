"""The figures above the list in words: what each is called, how it compares, where it leads. Pure."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from appliance.issues.figures import ListFigures
from appliance.issues.list_page import ListAddress, quoted
from appliance.web.formats import THIN, compact, iso, number, percent

FOLD: Final = 5  # from so many times on, the figure before says more than percent


class Tile(Struct, frozen=True, kw_only=True):
    """One figure."""

    name: str
    value: str
    note: str
    href: str = ""
    tone: str = ""
    title: str = ""  # the figure in full


def tiles(address: ListAddress, figures: ListFigures | None, *, system: bool) -> tuple[Tile, ...]:
    """What stands above the list; without figures yet the same tiles, so that nothing moves when they come.

    Args:
        address: of the list; its project is kept, its filters are not counted here.
        figures: None while they are asked for.
        system: whether its reader may see the System page.
    """
    day = ListAddress(project=address.project, q="is:all", period="24h")
    by_events, by_users = (day.but(sort="events"), day.but(sort="users"))
    if figures is None:
        waiting = (("Events, 24 h", by_events), ("Users, 24 h", by_users), ("New issues, 24 h", day.but()))
        return tuple(Tile(name=_thin(name), value="…", note="is counted", href=href) for name, href in waiting)
    since = iso(figures.since)[:19]
    opened = f"is:all {quoted('opened-after', since)}"
    shown = [
        *_of_store(figures, by_events, by_users),
        _tile(
            "New issues, 24 h",
            figures.new,
            figures.new_before,
            ListAddress(project=address.project, q=opened, sort="first_seen").href(),
        ),
    ]
    if figures.not_kept:
        shown.append(
            Tile(
                name="Not kept",
                value=compact(figures.not_kept),
                note=f"since yesterday, most: {figures.not_kept_reason.replace('_', ' ')}",
                tone="warn",
                href="/system#drops" if system else "",
                title=f"{number(figures.not_kept)} since yesterday, 00:00 UTC",
            )
        )
    return tuple(shown)


def _of_store(figures: ListFigures, by_events: str, by_users: str) -> list[Tile]:
    if figures.events is None:
        words = "the event store does not answer"
        return [
            Tile(name=_thin(name), value="?", note=words, tone="warn", href=href)
            for name, href in (("Events, 24 h", by_events), ("Users, 24 h", by_users))
        ]
    return [
        _tile("Events, 24 h", figures.events, figures.events_before, by_events),
        _tile("Users, 24 h", figures.users, figures.users_before, by_users, about=True),
    ]


def _tile(name: str, now: int, before: int, href: str, *, about: bool = False) -> Tile:
    note, tone = compared(now, before)
    words = "about " if about else ""
    title = f"{words}{number(now)}; the day before {words}{number(before)}"
    return Tile(name=_thin(name), value=compact(now), note=note, tone=tone, href=href, title=title)


def compared(now: int, before: int) -> tuple[str, str]:
    """How a day compares with the one before, and whether that is good: (words, tone). More is worse here, always."""
    if now == before:
        return "as the day before" if now else "none, as the day before", ""
    if not before:
        return "none the day before", ""
    if now > before * FOLD:
        return f"▲ from {compact(before)} the day before", "bad"
    share = percent(abs(now - before) / before)
    return (f"▲ {share} more than before", "bad") if now > before else (f"▼ {share} fewer than before", "good")


def _thin(name: str) -> str:
    return name.replace(" h", f"{THIN}h")
