"""Goes through every text of an item, by the rules of `keys` and `values`."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Final, Literal, cast

from msgspec import Struct

from appliance.model import Breadcrumb, Event, Frame, Json, JsonObject, Request, User

from .keys import MAX_KEY, Judgement, Keys
from .values import FILTERED, Cleaner, Suspicion, is_card

# What a label may be hiding. A user's id may well be a long number or an address: the page set it on purpose.
_IN_LABELS: Final = Suspicion.PAIRS | Suspicion.TOKENS | Suspicion.BEARER
_SMALLEST_CARD: Final = 10**12
_LARGEST_CARD: Final = 10**19
_SCALARS: Final = frozenset({float, bool, type(None)})
_values: Final = cast("Callable[[JsonObject], Iterable[Json]]", dict[str, Json].values)


class Options(Struct, frozen=True):
    """What the operator chose."""

    addresses: Literal["keep", "anonymise", "drop"]
    drop_emails: bool


class Walk:
    """One pass over one item: the first hides by key and collects texts, a second cleans them of what is suspected."""

    def __init__(self, keys: Keys, cleaner: Cleaner, options: Options, suspected: Suspicion = Suspicion.NONE) -> None:
        self._keys = keys
        self._cleaner = cleaner
        self._options = options
        self._suspected = suspected
        self._seen: list[str] = []
        self._waiting: list[JsonObject] = []  # objects of the first pass, which are gone through together

    @property
    def drops_emails(self) -> bool:
        """Whether users' own e-mail addresses go too."""
        return self._options.drop_emails

    def suspicions(self) -> Suspicion:
        """End the first pass: what its texts may hold."""
        while self._waiting:
            found, self._waiting = self._waiting, []
            self._collect(found)
        return self._cleaner.suspicions("\x00".join(self._seen))

    def text(self, value: str) -> str:
        """One text."""
        if self._suspected:
            return self._cleaner.clean(value, self._suspected)
        self._seen.append(value)
        return value

    def label(self, value: str) -> str:
        """A text that names something: a release, a user, a function."""
        if self._suspected:
            return self._cleaner.clean(value, self._suspected & _IN_LABELS) if value else value
        self._seen.append(value.replace("@", " ") if "@" in value else value)  # not to be suspected of mail
        return value

    def object(self, found: JsonObject) -> None:
        """An object, in place."""
        if self._suspected:
            self._object(found)
        else:
            self._waiting.append(found)

    def _collect(self, found: list[JsonObject]) -> None:
        """Objects in the first pass, level by level: most of an event goes through here, so it costs no call a text."""
        collect = self._seen.append
        harmless = self._keys.harmless
        while found:
            if not harmless.issuperset(chain.from_iterable(found)):
                found = self._hide_by_key(found)
            inner: list[JsonObject] = []
            for value in chain.from_iterable(map(_values, found)):
                kind = type(value)
                if kind is str:
                    collect(cast("str", value))
                elif kind is int:
                    if cast("int", value) >= _SMALLEST_CARD:  # it takes its key to hide it
                        for entries in found:
                            self._object(entries)
                        return
                elif kind is dict:
                    inner.append(cast("JsonObject", value))
                elif kind is list:
                    self._collect_list(cast("list[Json]", value), inner)
                elif kind not in _SCALARS:  # a processor's own kind of text or object
                    self.value(value)
            found = inner

    def _collect_list(self, found: list[Json], inner: list[JsonObject]) -> None:
        """The same for a list's entries; objects in it go to the next level."""
        for place, value in enumerate(found):
            kind = type(value)
            if kind is str:
                self._seen.append(cast("str", value))
            elif kind is dict:
                inner.append(cast("JsonObject", value))
            elif kind is list:
                self._collect_list(cast("list[Json]", value), inner)
            elif kind not in _SCALARS:
                found[place] = self.value(value)

    def _hide_by_key(self, found: list[JsonObject]) -> list[JsonObject]:
        """Go through those that have a key that hides its value; the others are given back."""
        harmless: list[JsonObject] = []
        for entries in found:
            if self._keys.are_harmless(entries):
                harmless.append(entries)
            else:
                self._object(entries)
        return harmless

    def _object(self, found: JsonObject) -> None:
        """The same, key by key."""
        renamed: list[str] = []
        for key, value in found.items():
            judgement = self._keys.judge(key)
            if judgement is Judgement.RENAME:
                renamed.append(key)
            found[key] = self._judged(judgement, value)
        for key in renamed:
            found[self._cleaner.clean(key)[:MAX_KEY]] = found.pop(key)

    def value(self, value: Json) -> Json:
        """Any JSON value."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            self.object(value)
        elif isinstance(value, list):
            for place, entry in enumerate(value):
                value[place] = self.value(entry)
        elif isinstance(value, int) and _SMALLEST_CARD <= value < _LARGEST_CARD and is_card(str(value)):
            return FILTERED
        return value

    def _judged(self, judgement: Judgement, value: Json) -> Json:
        empty = value is None or value == "" or isinstance(value, bool)
        match judgement:
            case Judgement.ALWAYS if not empty:
                return FILTERED
            case Judgement.TEXT if isinstance(value, str) and not empty:
                return FILTERED
            case Judgement.ADDRESS if isinstance(value, str):
                return self.address(value)
            case Judgement.EMAIL if self._options.drop_emails and isinstance(value, str):
                return FILTERED if value else value
            case _:
                return self.value(value)

    def address(self, value: str) -> str:
        """An IP address, or the list of them in a Forwarded header, by the configured rule."""
        if self._options.addresses == "keep" or not value:
            return value
        if self._options.addresses == "drop":
            return ""
        return ", ".join(_anonymised(part.strip()) for part in value.split(",")[:20])

    def headers(self, found: dict[str, str]) -> None:
        """HTTP headers or tags, in place."""
        self.object(cast("JsonObject", found))  # every rule gives text for text

    def texts(self, found: list[str]) -> list[str]:
        """Several texts."""
        return [self.text(value) for value in found]

    def frames(self, frames: list[Frame]) -> None:
        """Stack frames, in place."""
        if not self._suspected:
            self._seen += {frame.filename for frame in frames}  # a stack goes through the same few files
            self._seen += [name for frame in frames if "=" in (name := frame.function) or ":" in name]
            frames = [frame for frame in frames if frame.module or frame.abs_path or frame.vars or frame.context_line]
        for frame in frames:
            if self._suspected:
                frame.filename = self.text(frame.filename)
                frame.function = self.label(frame.function)
            if frame.module:
                frame.module = self.label(frame.module)
            if frame.abs_path:
                frame.abs_path = self.text(frame.abs_path)
            if frame.vars:
                self.object(frame.vars)
            if frame.context_line:
                frame.pre_context = [self._source(line) for line in frame.pre_context]
                frame.context_line = self._source(frame.context_line)
                frame.post_context = [self._source(line) for line in frame.post_context]

    def breadcrumbs(self, crumbs: list[Breadcrumb]) -> None:
        """Breadcrumbs, in place."""
        if not self._suspected:
            self._seen += [crumb.message for crumb in crumbs]
            self._waiting += [crumb.data for crumb in crumbs if crumb.data]
            return
        for crumb in crumbs:
            if crumb.message:
                crumb.message = self.text(crumb.message)
            if crumb.data:
                self.object(crumb.data)

    def _source(self, line: str) -> str:
        """A line of source: `token = getToken()` is code, a literal token is a secret."""
        if self._suspected:
            return self._cleaner.clean(line, self._suspected & ~Suspicion.PAIRS)
        self._seen.append(line)
        return line

    def request(self, request: Request) -> None:
        """A request, in place: of cookies only the names stay."""
        request.url = self.text(request.url)
        if request.query_string:
            request.query_string = self.text(request.query_string)
        self.headers(request.headers)
        if request.cookies:
            request.cookies = dict.fromkeys(request.cookies, FILTERED)
        if request.env:
            self.object(request.env)
        if request.data is not None:
            request.data = self.value(request.data)

    def event(self, event: Event) -> None:
        """An event, in place, but for its user."""
        event.message = self.text(event.message)
        if event.message_template:
            event.message_template = self.text(event.message_template)
        if event.message_params:
            event.message_params = [self.value(value) for value in event.message_params]
        event.transaction, event.url = self.text(event.transaction), self.text(event.url)
        self._labels(event)
        if event.fingerprint:
            event.fingerprint = self.texts(event.fingerprint)
        for exception in event.exceptions:
            exception.value = self.text(exception.value)
            self.frames(exception.frames)
        if event.stack:
            self.frames(event.stack)
        self.breadcrumbs(event.breadcrumbs)
        if event.request is not None:
            self.request(event.request)
        self.headers(event.tags)
        self.object(event.contexts)
        if event.extra:
            self.object(event.extra)
        if event.modules:
            self.headers(event.modules)
        for image in event.debug_images:
            image.code_file = self.text(image.code_file)
        if event.truncated:
            event.truncated = self.texts(event.truncated)

    def _labels(self, event: Event) -> None:
        """The names in an event, in place."""
        if not self._suspected:  # without a call for each
            self._seen += (
                event.release,
                event.environment,
                event.dist,
                event.logger,
                event.server_name,
                event.platform,
            )
            for exception in event.exceptions:
                self._seen += (exception.type, exception.module, exception.mechanism)
            return
        for name in ("release", "environment", "dist", "logger", "server_name", "platform"):
            setattr(event, name, self.label(getattr(event, name)))
        for exception in event.exceptions:
            exception.type, exception.module = self.label(exception.type), self.label(exception.module)
            exception.mechanism = self.label(exception.mechanism)

    def user(self, user: User) -> None:
        """A user, in place: what the page set on purpose stays, further data is looked at."""
        user.id, user.username = self.label(user.id), self.label(user.username)
        user.ip_address = self.address(user.ip_address)
        if self._options.drop_emails:
            user.email = ""
        if user.data:
            self.object(user.data)


def _anonymised(address: str) -> str:
    """The network: the first three bytes of IPv4, the first 48 bits of IPv6; "" for anything else."""
    try:
        found = ipaddress.ip_address(address.strip('[]"'))
    except ValueError:
        return ""
    prefix = 24 if found.version == 4 else 48
    return str(ipaddress.ip_network(f"{found}/{prefix}", strict=False).network_address)
