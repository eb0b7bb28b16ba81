"""Cuts what was decoded to the bounds of the model and says in `Event.truncated` what was cut.

Not for hiding anything: `scrub` does that, afterwards, on everything that is left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Final, cast

import msgspec

from appliance.decoding.coerce import clean, text
from appliance.model import (
    MAX_BREADCRUMBS,
    MAX_EXCEPTIONS,
    MAX_FRAMES,
    MAX_LABEL,
    MAX_MESSAGE,
    MAX_PAYLOAD_BYTES,
    MAX_TAG_KEY,
    MAX_TAG_VALUE,
    MAX_TAGS,
    MAX_URL,
    Event,
    Frame,
    Item,
    Json,
    Outcome,
    Request,
)

# Items of one record. A batch has 65,536 places for a record's items; no SDK sends more than a thousand at once.
MAX_ITEMS: Final = 10_000
MAX_FUNCTION: Final = 512  # characters of a function's name; minified ones are short, C++ templates are not ours
MAX_SOURCE_LINE: Final = 512  # characters; a line of a minified bundle is the whole bundle
MAX_CONTEXT_LINES: Final = 10  # before and after; SDKs send 5 to 7
MAX_FINGERPRINT: Final = 32  # parts; Sentry's SDKs send two or three
MAX_IMAGES: Final = 250  # bundles of a page, as many as frames
MAX_MODULES: Final = 500  # packages of a server; a large Python service has about 300
MAX_REQUEST_ENTRIES: Final = 60  # headers, cookies, environment variables
MAX_PARAMS: Final = 32  # of a message template
MAX_NOTES: Final = 40  # entries of `truncated`
MAX_NOTE: Final = 200
_SURELY_SMALL: Final = MAX_PAYLOAD_BYTES // 4  # of JSON as received; normalising never makes it four times as long

_LABELS: Final = (
    "release",
    "dist",
    "environment",
    "transaction",
    "server_name",
    "logger",
    "platform",
    "sdk_name",
    "sdk_version",
    "session_id",
    "page_view_id",
)
_labels: Final = cast("Callable[[Event], tuple[str, ...]]", attrgetter(*_LABELS))


class Unkept:
    """Counts what a record held and we did not keep, one `Outcome` for each reason and category."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], int] = {}

    def add(self, reason: str, category: str, quantity: int = 1) -> None:
        """Count something; `category` may come from the client."""
        key = (reason, _category(category))
        self._counts[key] = self._counts.get(key, 0) + quantity

    def outcomes(self, timestamp: int) -> list[Item]:
        """What was counted, in the order in which it was first seen."""
        return [
            Outcome(reason=reason, category=category, timestamp=timestamp, quantity=quantity, source="server")
            for (reason, category), quantity in self._counts.items()
        ]

    def __bool__(self) -> bool:
        return bool(self._counts)


def cut(value: str, limit: int) -> str:
    """At most `limit` characters, an ellipsis for the rest."""
    return value if len(value) <= limit else value[: limit - 1] + "…"


def cut_tags(tags: Mapping[str, Json], notes: list[str]) -> dict[str, str]:
    """Tags as the model has them: text to text, within its bounds; what has no value is left out."""
    kept: dict[str, str] = {}
    for key, value in tags.items():
        found = value if type(value) is str else " ".join(text(value).split())
        if not found or not key:
            continue
        if len(kept) >= MAX_TAGS:
            notes.append(f"tags: {MAX_TAGS} of {len(tags)} kept")
            break
        if len(found) > MAX_TAG_VALUE:
            notes.append(f"tag {key[:MAX_TAG_KEY]}: cut to {MAX_TAG_VALUE} characters")
            found = cut(found, MAX_TAG_VALUE)
        kept[cut(key, MAX_TAG_KEY)] = found
    return kept


def bound_event(event: Event, size: int, *, entries: bool = True) -> Event:
    """Cut an event in place to the bounds of the model and say so in `truncated`. Tags are cut by `cut_tags`.

    Args:
        event: with clean strings (`coerce.clean`) and bounded JSON (`coerce.json_value`).
        size: bytes of the JSON it was decoded from; a small one spares measuring the result.
        entries: False when each frame and breadcrumb is known to be within its bounds: the types that they were read
            into said so, which costs a tenth of looking at each here. Their number is bounded all the same.
    """
    notes = event.truncated
    if max(map(len, _labels(event))) > MAX_LABEL:
        _bound_labels(event, notes)
    if len(event.message) > MAX_MESSAGE or len(event.message_template) > MAX_MESSAGE or len(event.url) > MAX_URL:
        _bound_texts(event, notes)
    if len(event.user_agent) > MAX_URL:
        event.user_agent = event.user_agent[:MAX_URL]
    _bound_stacks(event, notes, entries=entries)
    _bound_rest(event, notes, entries=entries)
    if event.request is not None:
        _bound_request(event.request, notes)
    if (user := event.user) is not None:
        user.id, user.email = cut(user.id, MAX_LABEL), cut(user.email, MAX_LABEL)
        user.username, user.ip_address = cut(user.username, MAX_LABEL), cut(user.ip_address, MAX_LABEL)
    if size > _SURELY_SMALL:
        _fit_payload(event, notes)
    if notes:
        event.truncated = [cut(clean(note), MAX_NOTE) for note in notes[:MAX_NOTES]]
    return event


def _bound_texts(event: Event, notes: list[str]) -> None:
    for name, limit in (("message", MAX_MESSAGE), ("message_template", MAX_MESSAGE), ("url", MAX_URL)):
        found: str = getattr(event, name)
        if len(found) > limit:
            notes.append(f"{name}: cut to {limit} characters")
            setattr(event, name, cut(found, limit))


def _bound_labels(event: Event, notes: list[str]) -> None:
    for name, label in zip(_LABELS, _labels(event), strict=True):
        if len(label) > MAX_LABEL:
            notes.append(f"{name}: cut to {MAX_LABEL} characters")
            setattr(event, name, cut(label, MAX_LABEL))


def _bound_stacks(event: Event, notes: list[str], *, entries: bool) -> None:
    if len(event.exceptions) > MAX_EXCEPTIONS:
        notes.append(f"exceptions: the outermost {MAX_EXCEPTIONS} of {len(event.exceptions)} kept")
        del event.exceptions[:-MAX_EXCEPTIONS]
    for exception in event.exceptions:
        if len(exception.value) > MAX_MESSAGE:
            notes.append(f"exception message: cut to {MAX_MESSAGE} characters")
            exception.value = cut(exception.value, MAX_MESSAGE)
        if len(exception.type) + len(exception.module) + len(exception.mechanism) > MAX_LABEL:
            exception.type, exception.module, exception.mechanism = (
                cut(found, MAX_LABEL) for found in (exception.type, exception.module, exception.mechanism)
            )
        exception.frames = _bound_frames(exception.frames, notes, entries=entries)
    event.stack = _bound_frames(event.stack, notes, entries=entries)


def _bound_frames(frames: list[Frame], notes: list[str], *, entries: bool) -> list[Frame]:
    if len(frames) > MAX_FRAMES:
        half = MAX_FRAMES // 2  # a stack overflow shows how it began and where it ended
        notes.append(f"frames: the first and last {half} of {len(frames)} kept")
        frames = frames[:half] + frames[-half:]
    for frame in frames if entries else ():
        if len(frame.filename) + len(frame.function) > MAX_FUNCTION:
            frame.filename, frame.function = cut(frame.filename, MAX_URL), cut(frame.function, MAX_FUNCTION)
        if frame.abs_path or frame.module or frame.context_line is not None:
            _bound_frame(frame)
    return frames


def _bound_frame(frame: Frame) -> None:
    frame.abs_path = cut(frame.abs_path, MAX_URL)
    frame.module = cut(frame.module, MAX_FUNCTION)
    if frame.context_line is not None:
        frame.context_line = cut(frame.context_line, MAX_SOURCE_LINE)
    if frame.pre_context:
        frame.pre_context = [cut(source, MAX_SOURCE_LINE) for source in frame.pre_context[-MAX_CONTEXT_LINES:]]
    if frame.post_context:
        frame.post_context = [cut(source, MAX_SOURCE_LINE) for source in frame.post_context[:MAX_CONTEXT_LINES]]


def _bound_rest(event: Event, notes: list[str], *, entries: bool) -> None:
    if len(event.breadcrumbs) > MAX_BREADCRUMBS:
        notes.append(f"breadcrumbs: the last {MAX_BREADCRUMBS} of {len(event.breadcrumbs)} kept")
        del event.breadcrumbs[:-MAX_BREADCRUMBS]
    for crumb in event.breadcrumbs if entries else ():
        if len(crumb.message) > MAX_MESSAGE:
            crumb.message = cut(crumb.message, MAX_MESSAGE)
        if len(crumb.category) + len(crumb.type) + len(crumb.level) > MAX_LABEL:
            crumb.category, crumb.type, crumb.level = (
                cut(found, MAX_LABEL) for found in (crumb.category, crumb.type, crumb.level)
            )
    if event.fingerprint:
        event.fingerprint = [cut(part, MAX_URL) for part in event.fingerprint[:MAX_FINGERPRINT]]
    if len(event.debug_images) > MAX_IMAGES:
        notes.append(f"debug images: {MAX_IMAGES} of {len(event.debug_images)} kept")
        del event.debug_images[MAX_IMAGES:]
    if len(event.modules) > MAX_MODULES:
        notes.append(f"modules: {MAX_MODULES} of {len(event.modules)} kept")
        event.modules = dict(list(event.modules.items())[:MAX_MODULES])
    if len(event.message_params) > MAX_PARAMS:
        del event.message_params[MAX_PARAMS:]


def _bound_request(request: Request, notes: list[str]) -> None:
    if (
        len(request.url) <= MAX_URL
        and len(request.query_string) <= MAX_MESSAGE
        and len(request.method) <= MAX_LABEL
        and len(request.headers) + len(request.cookies) + len(request.env) <= MAX_REQUEST_ENTRIES
    ):
        return
    for name, limit in (("url", MAX_URL), ("query_string", MAX_MESSAGE), ("method", MAX_LABEL)):
        found: str = getattr(request, name)
        if len(found) > limit:
            notes.append(f"request {name}: cut to {limit} characters")
            setattr(request, name, cut(found, limit))
    for name in ("headers", "cookies", "env"):
        entries: dict[str, Json] = getattr(request, name)
        if len(entries) > MAX_REQUEST_ENTRIES:
            notes.append(f"request {name}: {MAX_REQUEST_ENTRIES} of {len(entries)} kept")
            setattr(request, name, dict(list(entries.items())[:MAX_REQUEST_ENTRIES]))


def _fit_payload(event: Event, notes: list[str]) -> None:
    """Leave out what is least missed until the event's JSON fits, biggest freight first."""
    for what in ("extra", "contexts", "breadcrumbs", "variables", "request", "modules"):
        if _fits(event):
            return
        _leave_out(event, what)
        notes.append(f"{what}: left out, the event was larger than {MAX_PAYLOAD_BYTES // 1024} KiB")
    most = MAX_FRAMES
    while not _fits(event) and most > 1:
        most //= 2
        for stack in (event.stack, *(exception.frames for exception in event.exceptions)):
            if len(stack) > most:
                del stack[most // 2 : len(stack) - (most - most // 2)]
    if most < MAX_FRAMES:
        notes.append(f"frames: {most} of each stack kept, the event was larger than {MAX_PAYLOAD_BYTES // 1024} KiB")
    if not _fits(event):  # twenty exceptions with long texts, escaped to six bytes a character
        del event.exceptions[:-1]
        event.debug_images, event.message_params = [], []
        notes.append("exceptions: the outermost kept")


def _fits(event: Event) -> bool:
    return len(msgspec.json.encode(event)) <= MAX_PAYLOAD_BYTES - MAX_NOTES * MAX_NOTE


def _leave_out(event: Event, what: str) -> None:
    match what:
        case "extra":
            event.extra = {}
        case "contexts":
            event.contexts = {
                name: value for name, value in event.contexts.items() if name == "trace" and _small(value)
            }
        case "breadcrumbs":
            event.breadcrumbs = []
        case "variables":
            for frame in (*event.stack, *(frame for value in event.exceptions for frame in value.frames)):
                frame.vars, frame.pre_context, frame.post_context = {}, [], []
        case "request":
            if event.request is not None:
                event.request = Request(url=event.request.url, method=event.request.method)
            if event.user is not None:
                event.user.data = {}
        case _:
            event.modules = {}


def _small(value: Json) -> bool:
    return len(msgspec.json.encode(value)) <= MAX_MESSAGE


def _category(value: str) -> str:
    """A category's name in few characters: it comes from the client and goes into a column of few values."""
    found = value[:40].lower().replace("-", "_")
    return found if found.replace("_", "").isalnum() and found.isascii() else "unknown"
