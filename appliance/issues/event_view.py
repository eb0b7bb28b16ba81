"""An event as its page shows it: frames in folds, breadcrumbs against the clock, nested values as text.

Pure: takes a decoded `Event`, hands out plain structs for the template. All text stays text; the template escapes it.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import Final

import msgspec
from msgspec import Struct, field

from appliance.issues.white_screen import CONTEXT as WHITE_SCREEN
from appliance.issues.white_screen import WhiteScreenView, white_screen_view
from appliance.model import Breadcrumb, Event, ExceptionValue, Frame, Json, Kind, User

MAX_VALUE: Final = 2_000  # characters of one value on the page; the whole stands in the raw JSON
MAX_PAIRS: Final = 60  # of one table on the page
OWN_PLACE: Final = frozenset({WHITE_SCREEN, "flood", "response"})
SHOWN_BREADCRUMBS: Final = 30  # the last ones; earlier ones are folded


class Line(Struct, frozen=True):
    """One line of source."""

    number: int
    text: str
    hit: bool = False


class FrameView(Struct, frozen=True, kw_only=True):
    """One stack frame."""

    function: str
    place: str  # file:line:column
    path: str  # the whole of it, for hovering
    in_app: bool
    lines: tuple[Line, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()


class FrameFold(Struct, frozen=True, kw_only=True):
    """Neighbouring frames: each of the app's own by itself, a run of library frames as one fold."""

    in_app: bool
    frames: tuple[FrameView, ...]
    opened: bool = False

    @property
    def label(self) -> str:
        """What the closed fold says."""
        count = len(self.frames)
        return f"{count} library frame{'s' if count > 1 else ''}"


class StackView(Struct, frozen=True, kw_only=True):
    """An exception, or a message's stack, newest call first."""

    type: str
    value: str
    mechanism: str
    handled: bool | None
    folds: tuple[FrameFold, ...]
    frame_count: int
    cause: bool  # it led to the one above


class Crumb(Struct, frozen=True, kw_only=True):
    """One breadcrumb."""

    at: int | None
    offset: float | None  # seconds against the event, negative before it
    category: str
    level: str
    message: str
    data: tuple[tuple[str, str], ...]


class ValueTable(Struct, frozen=True, kw_only=True):
    """A titled table of names and values."""

    title: str
    pairs: tuple[tuple[str, str], ...]
    more: int = 0  # how many are left out


class EventView(Struct, frozen=True, kw_only=True):
    """All parts of an event's page."""

    stacks: tuple[StackView, ...]
    crumbs: tuple[Crumb, ...]  # oldest first
    folded_crumbs: int  # how many at the start are folded
    request: ValueTable | None
    request_url: str
    user: ValueTable | None
    contexts: tuple[ValueTable, ...]
    extra: ValueTable | None
    modules: ValueTable | None
    debug_images: tuple[tuple[str, str], ...]
    truncated: tuple[str, ...] = field(default_factory=tuple)
    message: str = ""
    white_screen: WhiteScreenView | None = None
    count: int = 1  # how often the SDK saw it for this one that it sent


def event_view(event: Event) -> EventView:
    """Lay an event out.

    Args:
        event: as stored: scrubbed, within the model's bounds.
    """
    crumbs = tuple(_crumb(crumb, event.timestamp) for crumb in event.breadcrumbs)
    # What has a place of its own on the page is not shown twice.
    contexts = (_table(name, value) for name, value in sorted(event.contexts.items()) if name not in OWN_PLACE)
    return EventView(
        stacks=tuple(_stacks(event)),
        crumbs=crumbs,
        folded_crumbs=max(0, len(crumbs) - SHOWN_BREADCRUMBS),
        request=_request(event),
        request_url=(event.request.url if event.request else "") or event.url,
        user=_user(event.user) if event.user else None,
        contexts=tuple(table for table in contexts if table.pairs),
        extra=_table("Extra", event.extra) if event.extra else None,
        modules=_table("Modules", dict[str, Json](event.modules)) if event.modules else None,
        debug_images=tuple((image.code_file, image.debug_id) for image in event.debug_images),
        truncated=tuple(event.truncated),
        message=event.message,
        white_screen=white_screen_view(event),
        count=_count(event.contexts.get("flood")),
    )


def as_text(value: Json) -> str:
    """A value on one line or as indented JSON, cut to what a page can show."""
    if isinstance(value, str):
        text = value
    elif value is None or isinstance(value, bool | int | float):
        text = msgspec.json.encode(value).decode()
    else:
        text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    return text if len(text) <= MAX_VALUE else text[:MAX_VALUE] + "…"


def _stacks(event: Event) -> Iterable[StackView]:
    # The thrown exception is the last of the chain; it is read first, then what caused it.
    for index, exception in enumerate(reversed(event.exceptions)):
        yield _stack(exception, cause=index > 0)
    if event.stack and not any(exception.frames for exception in event.exceptions):
        title = "Stack" if event.kind == Kind.ERROR else "Stack of the message"
        yield _stack(ExceptionValue(type=title, frames=event.stack), cause=False)


def _stack(exception: ExceptionValue, *, cause: bool) -> StackView:
    views = [_frame(frame) for frame in reversed(exception.frames)]
    anything_own = any(view.in_app for view in views)
    folds: list[FrameFold] = []
    for in_app, run in groupby(views, key=lambda view: view.in_app):
        frames = tuple(run)
        if in_app:
            folds.extend(FrameFold(in_app=True, frames=(frame,), opened=bool(frame.lines)) for frame in frames)
        else:
            folds.append(FrameFold(in_app=False, frames=frames, opened=not anything_own))
    return StackView(
        type=exception.type,
        value=exception.value,
        mechanism=exception.mechanism,
        handled=exception.handled,
        folds=tuple(folds),
        frame_count=len(views),
        cause=cause,
    )


def _frame(frame: Frame) -> FrameView:
    path = frame.abs_path or frame.filename or frame.module
    place = frame.filename or frame.abs_path or frame.module or "unknown file"
    for number in (frame.lineno, frame.colno):
        if number is None:
            break
        place += f":{number}"
    return FrameView(
        function=frame.function or "(anonymous)",
        place=place,
        path=path,
        in_app=frame.in_app is not False,
        lines=tuple(_lines(frame)),
        variables=_pairs(frame.vars),
    )


def _lines(frame: Frame) -> Iterable[Line]:
    if frame.context_line is None:
        return
    first = (frame.lineno or 1) - len(frame.pre_context)
    for index, text in enumerate([*frame.pre_context, frame.context_line, *frame.post_context]):
        yield Line(number=first + index, text=text, hit=index == len(frame.pre_context))


def _crumb(crumb: Breadcrumb, event_at: int) -> Crumb:
    offset = None if crumb.timestamp is None else (crumb.timestamp - event_at) / 1_000_000
    return Crumb(
        at=crumb.timestamp,
        offset=offset,
        category=crumb.category or crumb.type or "note",
        level=crumb.level or "info",
        message=crumb.message,
        data=_pairs(crumb.data),
    )


def _request(event: Event) -> ValueTable | None:
    request = event.request
    if request is None:
        return None
    pairs: list[tuple[str, str]] = []
    answer = event.contexts.get("response")
    status = answer.get("status_code") if isinstance(answer, dict) else None
    for name, value in (("Method", request.method), ("Answered", as_text(status)), ("Query", request.query_string)):
        if value not in ("", "null"):
            pairs.append((name, value))
    pairs.extend(sorted(request.headers.items()))
    pairs.extend((f"Cookie {name}", as_text(value)) for name, value in request.cookies.items())
    if request.data is not None:
        pairs.append(("Body", as_text(request.data)))
    pairs.extend((name, as_text(value)) for name, value in request.env.items())
    return ValueTable(title="Request", pairs=tuple(pairs[:MAX_PAIRS]), more=max(0, len(pairs) - MAX_PAIRS))


def _count(flood: Json) -> int:
    """From what the SDK's flood guard says."""
    count = flood.get("count") if isinstance(flood, dict) else None
    return count if isinstance(count, int) and not isinstance(count, bool) and count > 1 else 1


def _user(user: User) -> ValueTable:
    named = (("Id", user.id), ("E-mail", user.email), ("Name", user.username), ("Address", user.ip_address))
    pairs = [(name, value) for name, value in named if value]
    pairs.extend(_pairs(user.data))
    return ValueTable(title="User", pairs=tuple(pairs[:MAX_PAIRS]))


def _table(title: str, value: Json) -> ValueTable:
    if not isinstance(value, dict):
        return ValueTable(title=title, pairs=(("value", as_text(value)),))
    shown = {name: inner for name, inner in value.items() if not (name == "type" and inner == title)}
    return ValueTable(title=title, pairs=_pairs(shown), more=max(0, len(shown) - MAX_PAIRS))


def _pairs(values: dict[str, Json]) -> tuple[tuple[str, str], ...]:
    return tuple((name, as_text(value)) for name, value in list(values.items())[:MAX_PAIRS])
