"""Event items: errors with their chains of causes, messages, white screens, failed resources, CSP violations."""

from __future__ import annotations

from typing import Final

from appliance.decoding import bound_event, cut, cut_tags, hash_id, hex_id, json_object, line, text, texts, truth, whole
from appliance.decoding import span_id as span_hex
from appliance.model import (
    MAX_BREADCRUMBS,
    MAX_EXCEPTIONS,
    MAX_FRAMES,
    MAX_LABEL,
    MAX_MESSAGE,
    MAX_URL,
    Breadcrumb,
    DebugImage,
    Event,
    ExceptionValue,
    Frame,
    Json,
    JsonObject,
    Kind,
    Level,
    Request,
)
from condev_plugins.condev_protocol.common import object_of
from condev_plugins.condev_protocol.stacks import parse_stack, split_title, title_of, top_frame

from .envelope import Envelope, label, user_of

_KINDS: Final = {kind.value: kind for kind in Kind}
_LEVELS: Final = {level.value: level for level in Level}
_USUAL_LEVELS: Final = {Kind.MESSAGE: Level.INFO, Kind.CUSTOM: Level.INFO, Kind.FEEDBACK: Level.INFO,
                        Kind.WHITE_SCREEN: Level.FATAL}  # fmt: skip
_MAX_PARTS: Final = 32  # of a fingerprint
_MAX_IMAGES: Final = 250  # bundles of one page
_DEPTH: Final = 6  # of a breadcrumb's data


def decode_event(found: JsonObject, raw: bytes, place: int, envelope: Envelope) -> Event:
    """One event.

    Args:
        found: the item.
        raw: its line.
        place: the number of the line.
        envelope: what it came in.
    """
    notes: list[str] = []
    kind = _kind(found)
    route = label(found.get("route")) or envelope.route
    url = cut(text(found.get("url")), MAX_URL) or envelope.url
    images = _debug_images(found.get("debug_ids"))
    event = Event(
        id=hex_id(text(found.get("id"))) or hash_id("condev2", envelope.project_id, envelope.id, place, raw),
        kind=kind,
        timestamp=envelope.time(found.get("at")),
        level=_LEVELS.get(line(found.get("level")).lower(), _USUAL_LEVELS.get(kind, Level.ERROR)),
        message=text(found.get("message")),
        logger=label(found.get("logger")),
        transaction=label(found.get("transaction")) or route,
        url=url,
        release=envelope.release,
        dist=envelope.dist,
        environment=envelope.environment,
        fingerprint=[part for part in texts(found.get("fingerprint"), _MAX_PARTS) if part],
        exceptions=_exceptions(found.get("exceptions"), images, notes),
        breadcrumbs=_breadcrumbs(found.get("breadcrumbs"), envelope),
        user=user_of(found.get("user")) or envelope.user,
        request=_request(found, url, envelope),
        user_agent=envelope.user_agent,
        tags=cut_tags({**envelope.tags, **json_object(found.get("tags"), 2)}, notes),
        contexts={**envelope.contexts, **_contexts(found)},
        extra=json_object(found.get("extra")),
        debug_images=[
            DebugImage(code_file=_without_query(file), debug_id=debug_id) for file, debug_id in images.items()
        ],
        sdk_name=envelope.sdk_name,
        sdk_version=envelope.sdk_version,
        trace_id=hex_id(text(found.get("trace_id"))),
        span_id=span_hex(text(found.get("span_id"))),
        session_id=envelope.session_id,
        page_view_id=envelope.page_view_id,
        replay_id=hex_id(text(found.get("replay_id"))),
        truncated=notes,
    )
    if kind is Kind.WHITE_SCREEN:
        _name_white_screen(event)
    # The header's tags and contexts are in every event of a short line too.
    return bound_event(event, len(raw) + _COMMON_SIZE)


_COMMON_SIZE: Final = 1 << 30  # bytes: what the header adds is not counted, so the result is measured


def _kind(found: JsonObject) -> Kind:
    said = line(found.get("kind"))
    if said in _KINDS:
        return _KINDS[said]
    return Kind.ERROR if not said or found.get("exceptions") else Kind.CUSTOM


def _exceptions(value: Json, images: dict[str, str], notes: list[str]) -> list[ExceptionValue]:
    entries = value if isinstance(value, list) else []
    if len(entries) > MAX_EXCEPTIONS:
        notes.append(f"exceptions: the outermost {MAX_EXCEPTIONS} of {len(entries)} kept")
    return [_exception(entry, images) for entry in entries[-MAX_EXCEPTIONS:]]


def _exception(value: Json, images: dict[str, str]) -> ExceptionValue:
    found = object_of(value)
    kind, said, stack = line(found.get("type")), text(found.get("value")), text(found.get("stack"))
    if not found:
        kind, said = split_title(text(value))
    named, message = title_of(stack) if stack else ("", "")
    if not kind and not named:
        kind, said = split_title(said)
    frames = (parse_stack(stack) if stack else []) or _frames(found.get("frames"))
    for frame in frames:
        frame.debug_id = images.get(frame.filename, "")
        frame.filename, frame.abs_path = _without_query(frame.filename), _without_query(frame.abs_path)
    return ExceptionValue(
        type=cut(kind or named or "Error", MAX_LABEL),
        value=said or message,
        mechanism=label(found.get("mechanism")),
        handled=truth(found.get("handled")),
        frames=frames,
    )


def _without_query(address: str) -> str:
    """A script's address up to its path: an inline script has its page's, with what is secret in it."""
    return address.partition("?")[0].partition("#")[0]


def _frames(value: Json) -> list[Frame]:
    """Frames that the SDK read itself, as where there is a position and no stack."""
    entries = value if isinstance(value, list) else []
    frames: list[Frame] = []
    for entry in entries[-MAX_FRAMES:]:
        found = object_of(entry)
        made = top_frame(text(found.get("file")), _position(found.get("line")), _position(found.get("column")))
        for frame in made:
            frame.function = cut(line(found.get("function")), MAX_LABEL) or frame.function
        frames += made
    return frames


def _position(value: Json) -> int | None:
    found = whole(value)
    return found if found is not None and found >= 0 else None


def _breadcrumbs(value: Json, envelope: Envelope) -> list[Breadcrumb]:
    entries = value if isinstance(value, list) else []
    return [_breadcrumb(object_of(entry), envelope) for entry in entries[-MAX_BREADCRUMBS:] if isinstance(entry, dict)]


def _breadcrumb(found: JsonObject, envelope: Envelope) -> Breadcrumb:
    at = found.get("at")
    return Breadcrumb(
        timestamp=envelope.clock_at(at) if at is not None else None,
        type=label(found.get("type")),
        category=label(found.get("category")),
        level=label(found.get("level")),
        message=cut(text(found.get("message")), MAX_MESSAGE),
        data=json_object(found.get("data"), _DEPTH),
    )


def _debug_images(value: Json) -> dict[str, str]:
    """Debug ids by the address of the bundle."""
    found = {
        cut(text(file), MAX_URL): debug_id
        for file, said in list(object_of(value).items())[:_MAX_IMAGES]
        if (debug_id := label(said).lower()) and file
    }
    return {file: debug_id for file, debug_id in found.items() if file}


def _request(found: JsonObject, url: str, envelope: Envelope) -> Request | None:
    """The request that failed, where the event is about one; else the page."""
    said = object_of(found.get("request"))
    if said.get("url"):
        return Request(url=text(said.get("url")), method=label(said.get("method")).upper())
    referrer = cut(text(envelope.page.get("referrer")), MAX_URL)
    return Request(url=url, headers={"Referer": referrer} if referrer else {}) if url else None


def _contexts(found: JsonObject) -> dict[str, Json]:
    contexts: dict[str, Json] = {}
    contexts.update(json_object(found.get("contexts")))
    white_screen = json_object(found.get("white_screen"))
    if white_screen:
        contexts["white_screen"] = white_screen
    status = whole(object_of(found.get("request")).get("status"))
    if status:
        contexts["response"] = {"status_code": status}
    count = whole(found.get("count"))
    if count is not None and count > 1:
        contexts["flood"] = {"count": count}
    return contexts


def _name_white_screen(event: Event) -> None:
    reason = label(object_of(event.contexts.get("white_screen")).get("reason"))
    if reason:
        event.tags.setdefault("white_screen.reason", reason)
    if not event.message:
        event.message = f"White screen on {event.transaction or event.url or 'a page'}"
