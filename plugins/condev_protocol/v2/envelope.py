"""The header line of an envelope: what its items have in common, and the page view and visit that it tells of."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qs

from msgspec import Struct, field

from appliance.decoding import (
    ClientClock,
    cut,
    hash_id,
    hex_id,
    json_object,
    json_value,
    line,
    number,
    parse_milliseconds,
    text,
    whole,
)
from appliance.model import MAX_LABEL, MAX_TITLE, MAX_URL, Json, JsonObject, PageView, Record, Session, User
from condev_plugins.condev_protocol.common import SDK_NAME, object_of

MAX_SEQUENCE: Final = 1_000_000  # in one page view; a page that captures more than that is a loop
MAX_SEQUENCES: Final = 50_000  # of one envelope, dropped ones included; each is four bytes of a row
_MAX_ERRORS: Final = 1_000_000
_MAX_USER_ENTRIES: Final = 30
_STATUSES: Final = frozenset({"ok", "errored", "crashed"})  # a page cannot see how a visit ends


class Envelope(Struct, kw_only=True):
    """A header, cut to the model's bounds; `seen` notes what the items tell about the page view as they are read."""

    project_id: int
    clock: ClientClock
    id: str
    url: str
    route: str
    page: JsonObject
    page_view_id: str
    started: int | None  # of the page view
    session: JsonObject
    session_id: str
    last: int
    release: str
    dist: str
    environment: str
    user: User | None
    tags: JsonObject
    contexts: dict[str, Json]
    user_agent: str
    sdk_name: str
    sdk_version: str
    sequences: set[int] = field(default_factory=set[int])
    latest: int = 0  # µs; the last time that an item names

    @classmethod
    def of(cls, found: JsonObject, record: Record) -> Envelope:
        """Args: found: the header line; {} when it could not be read. record: as accepted."""
        page, session = object_of(found.get("page_view")), object_of(found.get("session"))
        clock = ClientClock.of(record.received_at, parse_milliseconds(found.get("sent_at")))
        started = parse_milliseconds(page.get("started"))
        sdk_name, sdk_version = _sdk(found.get("sdk"), record.query)
        return cls(
            project_id=record.project_id,
            clock=clock,
            id=hex_id(text(found.get("id"))) or hash_id("envelope", record.project_id, record.body),
            url=cut(text(page.get("url")) or record.headers.get("referer", ""), MAX_URL),
            route=label(page.get("route")),
            page=page,
            page_view_id=hex_id(text(page.get("id"))),
            started=clock.at(started) if started is not None else None,
            session=session,
            session_id=hex_id(text(session.get("id"))),
            last=sequence_of(found.get("last")),
            release=label(found.get("release")),
            dist=label(found.get("dist")),
            environment=label(found.get("environment")),
            user=user_of(found.get("user")),
            tags=json_object(found.get("tags"), 2),
            contexts=_contexts(found, page),
            user_agent=record.headers.get("user-agent", "")[:MAX_URL],
            sdk_name=sdk_name,
            sdk_version=sdk_version,
        )

    @property
    def user_id(self) -> str:
        """What identifies the user for counting."""
        return (self.user.id or self.user.email or self.user.username) if self.user is not None else ""

    def time(self, at: Json) -> int:
        """Our time of an item's `at`; the receive time when it has none."""
        said = parse_milliseconds(at)
        found = self.clock.at(said)
        if said is not None:
            self.latest = max(self.latest, found)
        return found

    def clock_at(self, at: Json) -> int:
        """Our time of something that is no item, such as a breadcrumb."""
        return self.clock.at(parse_milliseconds(at))

    def note(self, found: JsonObject) -> int:
        """Note an item's number in its page view; returns it, 0 for none."""
        number = sequence_of(found.get("n"))
        self.account_for(number)
        return number

    def account_for(self, sequence: int) -> None:
        """This number is no gap."""
        if sequence and len(self.sequences) < MAX_SEQUENCES:
            self.sequences.add(sequence)

    def page_view(self) -> PageView | None:
        """What this request tells of its page view; None when it names none."""
        if not self.page_view_id:
            return None
        return PageView(
            id=self.page_view_id,
            envelope_id=self.id,
            timestamp=self.started or self.latest or self.clock.received_at,
            url=self.url,
            route=self.route,
            title=cut(line(self.page.get("title")), MAX_TITLE),
            referrer=cut(text(self.page.get("referrer")), MAX_URL),
            release=self.release,
            environment=self.environment,
            user_agent=self.user_agent,
            user_id=self.user_id,
            session_id=self.session_id,
            last_sequence=max(self.last, *self.sequences, 0),
            sequences=sorted(self.sequences),
        )

    def visit(self) -> Session | None:
        """The visit as it stood when the envelope was made; None when it names none.

        Its time is that of the last item: an envelope that waited offline must not undo what a later one said.
        """
        if not self.session_id:
            return None
        at = self.latest or self.started or self.clock.received_at
        started = parse_milliseconds(self.session.get("started"))
        status, errors = line(self.session.get("status")), whole(self.session.get("errors")) or 0
        return Session(
            id=self.session_id,
            started=min(at, self.clock.at(started)) if started is not None else at,
            timestamp=at,
            status=status if status in _STATUSES else "ok",
            errors=min(max(0, errors), _MAX_ERRORS),
            user_id=self.user_id,
            release=self.release,
            environment=self.environment,
            user_agent=self.user_agent,
        )


def label(value: Json) -> str:
    """A text of one line, as long as a label may be."""
    return cut(line(value), MAX_LABEL)


def sequence_of(value: Json) -> int:
    """A number in a page view; 0 for what is none."""
    found = whole(value)
    return found if found is not None and 0 < found <= MAX_SEQUENCE else 0


def user_of(value: Json) -> User | None:
    """Who it happened to; None when nothing is said."""
    found = object_of(value)
    rest = {name: entry for name, entry in found.items() if name not in {"id", "email", "username", "ip_address"}}
    data = object_of(json_value(dict(list(rest.items())[:_MAX_USER_ENTRIES]), 2))
    user = User(
        id=label(found.get("id")), email=label(found.get("email")), username=label(found.get("username")), data=data
    )
    return user if user.id or user.email or user.username or data else None


def _sdk(said: Json, query: str) -> tuple[str, str]:
    found = object_of(said)
    asked = (parse_qs(query[:2_048]).get("sdk") or [""])[0].partition("/")
    return label(found.get("name")) or label(asked[0]) or SDK_NAME, label(found.get("version")) or label(asked[2])


def _contexts(found: JsonObject, page: JsonObject) -> dict[str, Json]:
    """The browser's surroundings, for each event."""
    shown: JsonObject = {
        "viewport": _size(found.get("viewport")),
        "screen": _size(found.get("screen")),
        "connection": label(found.get("connection")),
        "memory_gb": number(found.get("memory")),
        "title": cut(line(page.get("title")), MAX_TITLE),
        "referrer": cut(text(page.get("referrer")), MAX_URL),
    }
    culture: JsonObject = {"locale": label(found.get("language")), "timezone": label(found.get("timezone"))}
    contexts: dict[str, Json] = {}
    for name, values in (("page", shown), ("culture", culture)):
        known: JsonObject = {key: value for key, value in values.items() if value not in ("", None)}
        if known:
            contexts[name] = known
    return contexts


def _size(value: Json) -> str:
    if not isinstance(value, list) or len(value) != 2:
        return ""
    width, height = (number(side) for side in value)
    return f"{width:.0f} × {height:.0f}" if width is not None and height is not None else ""
