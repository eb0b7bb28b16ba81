"""Event items to the model's events, whichever SDK and version sent them."""

from __future__ import annotations

import re
from typing import Final, cast

import msgspec

from appliance.decoding import bound_event, cut_tags, hash_id, hex_id, line, names_nul, parse_seconds, span_id, text
from appliance.model import (
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
    User,
)

from .lenient import read_event
from .sender import Sender
from .wire import MendedEvent, WireCrumb, WireEvent, WireException, WireExceptions, WireStacktrace

_decoder: Final = msgspec.json.Decoder(WireEvent)
# The typed way has no bound on the length of one string in extra, so it takes only what is no longer than that bound.
_TYPED_BYTES: Final = 65_536
_LEVELS: Final = {
    "fatal": Level.FATAL,
    "critical": Level.FATAL,
    "error": Level.ERROR,
    "warning": Level.WARNING,
    "warn": Level.WARNING,
    "log": Level.INFO,  # what the console integration calls console.log
    "info": Level.INFO,
    "debug": Level.DEBUG,
    "trace": Level.DEBUG,
}
_PLACEHOLDER: Final = re.compile(r"%(?:\([^)]{0,100}\))?[sdifoOjcrx]|\{[^{}]{0,100}\}")
_BROWSER_PLATFORM: Final = "javascript"


def read_wire(payload: bytes) -> tuple[WireEvent, list[str]]:
    """Read an event: typed when it is as SDKs make it, else forgivingly, with notes on what could not be used.

    Raises:
        UnreadableError: the payload is not a JSON object.
    """
    if len(payload) <= _TYPED_BYTES and not names_nul(payload):
        try:
            return _decoder.decode(payload), []
        except (ValueError, RecursionError):  # of another shape, not UTF-8, not JSON: the other way says which
            pass
    return read_event(payload)


def event_from(wire: WireEvent, notes: list[str], payload: bytes, sender: Sender) -> Event:
    """Make the model's event of what was read."""
    timestamp, shift = _when(wire, notes, sender)
    exceptions = _exceptions(wire.exception)
    tags = cut_tags(wire.tags, notes) if wire.tags else {}
    contexts = wire.contexts or {}
    sdk = wire.sdk
    event = Event(
        id=hex_id(wire.event_id or "") or sender.event_id or hash_id("event", sender.project_id, payload),
        kind=Kind.ERROR if exceptions else Kind.MESSAGE,
        timestamp=timestamp,
        platform=line(wire.platform) or "other",
        logger=line(wire.logger) if wire.logger else "",
        transaction=line(wire.transaction) or tags.get("transaction", "") or line(wire.culprit),
        release=line(wire.release),
        dist=line(wire.dist) if wire.dist else "",
        environment=line(wire.environment),
        server_name=line(wire.server_name) if wire.server_name else "",
        fingerprint=wire.fingerprint or [],
        exceptions=exceptions,
        tags=tags,
        contexts=contexts,
        extra=wire.extra or {},
        modules=wire.modules or {},
        sdk_name=line(sdk.name) if sdk and sdk.name else sender.sdk_name,
        sdk_version=line(sdk.version) if sdk and sdk.version else sender.sdk_version,
        truncated=notes,
    )
    event.level = _level(wire.level, notes)
    _set_message(event, wire)
    _set_stack(event, wire)
    _set_page(event, wire, sender)
    _set_user(event, wire, sender)
    _set_links(event)
    crumbs = wire.breadcrumbs if isinstance(wire.breadcrumbs, list) else (wire.breadcrumbs and wire.breadcrumbs.values)
    if crumbs:
        event.breadcrumbs = _crumbs(crumbs, shift)
    images = wire.debug_meta.images if wire.debug_meta else None
    if images:
        event.debug_images = [
            DebugImage(code_file=image.code_file, debug_id=image.debug_id)
            for image in images
            if image.code_file and image.debug_id
        ]
    if wire.type == "feedback" or "feedback" in contexts:
        _make_feedback(event)
    return bound_event(event, len(payload), entries=isinstance(wire, MendedEvent))


def _when(wire: WireEvent, notes: list[str], sender: Sender) -> tuple[int, int]:
    """When it happened by our clock, and by how much the client's times are moved."""
    said = wire.timestamp
    sent = parse_seconds(said)
    if sent is None:
        if said is not None:
            notes.append("timestamp: unreadable; the receive time stands for it")
        return sender.clock.received_at, sender.clock.skew
    if not sender.clock.believes(sent):
        notes.append("timestamp: in the future or over a month old; the receive time stands for it")
    timestamp = sender.clock.at(sent)
    return timestamp, timestamp - sent


def _level(level: str | None, notes: list[str]) -> Level:
    if level is None:
        return Level.ERROR
    found = _LEVELS.get(level) or _LEVELS.get(level.strip().lower())
    if found is None:
        notes.append(f"level: {level!r} is none we know; taken for an error")
        return Level.ERROR
    return found


def _exceptions(wire: WireExceptions | None) -> list[ExceptionValue]:
    if wire is None or not wire.values:
        return []
    found = [_exception(value) for value in wire.values]
    if wire.mechanism is not None and not found[-1].mechanism:  # browser 5 states it once for the chain
        found[-1].mechanism, found[-1].handled = wire.mechanism.type or "", wire.mechanism.handled
    return found


def _exception(wire: WireException) -> ExceptionValue:
    mechanism = wire.mechanism
    return ExceptionValue(
        type=line(wire.type),
        value=wire.value or "",
        module=line(wire.module) if wire.module else "",
        mechanism=line(mechanism.type) if mechanism is not None else "",
        handled=mechanism.handled if mechanism is not None else None,
        frames=_frames(wire.stacktrace),
    )


def _frames(wire: WireStacktrace | None) -> list[Frame]:
    return cast("list[Frame]", wire.frames) if wire is not None and wire.frames else []


def _set_message(event: Event, wire: WireEvent) -> None:
    event.message = wire.message or ""
    entry = wire.logentry
    if entry is None:
        return
    template, params = entry.message or "", entry.params or []
    event.message = entry.formatted or event.message or _formatted(template, params)
    event.message_params = params
    if template != event.message:
        event.message_template = template


def _formatted(template: str, params: list[Json]) -> str:
    """A message from its template, as `parameterize` of the browser SDK leaves it to the server."""
    if not params:
        return template
    left = iter(params)

    def fill(placeholder: re.Match[str]) -> str:
        try:
            return text(next(left))
        except StopIteration:
            return placeholder[0]

    return _PLACEHOLDER.sub(fill, template)


def _set_stack(event: Event, wire: WireEvent) -> None:
    """The stack of a message: its own, its thread's, or that of the typeless exception `attachStacktrace` makes."""
    if event.exceptions:
        if event.message and not any(value.type for value in event.exceptions):
            event.stack = event.exceptions[-1].frames
            event.exceptions, event.kind = [], Kind.MESSAGE
        return
    event.stack = _frames(wire.stacktrace)
    threads = wire.threads.values if wire.threads else None
    if event.stack or not threads:
        return
    chosen = max(threads, key=lambda thread: (thread.crashed is True, thread.current is True))
    event.stack = _frames(chosen.stacktrace)


def _set_page(event: Event, wire: WireEvent, sender: Sender) -> None:
    request = wire.request
    if request is not None:
        headers = request.headers or {}
        event.request = Request(
            url=request.url or "",
            method=line(request.method),
            query_string=request.query_string or "",
            headers=headers,
            data=request.data,
            cookies=dict(request.cookies) if request.cookies else {},
            env=request.env or {},
        )
        event.url = event.request.url
        event.user_agent = headers.get("User-Agent") or next(
            (value for name, value in headers.items() if name.lower() == "user-agent"), ""
        )
    if not event.user_agent and event.platform == _BROWSER_PLATFORM:
        event.user_agent = sender.user_agent


def _set_user(event: Event, wire: WireEvent, sender: Sender) -> None:
    settings = wire.sdk.settings if wire.sdk else None
    infer = settings.infer_ip if settings else None
    if not wire.user and infer != "auto":
        return
    found = wire.user or {}
    ip_address = line(found.pop("ip_address", None))
    if ip_address == "{{auto}}":
        ip_address = "" if infer == "never" else sender.address
    elif not ip_address and infer == "auto":
        ip_address = sender.address
    identity, email, username = (line(found.pop(name, None)) for name in ("id", "email", "username"))
    extra = found.pop("data", None)
    data = {**found, **extra} if isinstance(extra, dict) and extra else found
    if ip_address or identity or email or username or data:
        event.user = User(id=identity, email=email, username=username, ip_address=ip_address, data=data)


def _set_links(event: Event) -> None:
    contexts = event.contexts
    trace = contexts.get("trace")
    if isinstance(trace, dict):
        event.trace_id = hex_id(text(trace.get("trace_id")))
        event.span_id = span_id(text(trace.get("span_id")))
    replay = contexts.get("replay")
    replay_id = text(replay.get("replay_id")) if isinstance(replay, dict) else ""
    event.replay_id = hex_id(replay_id or event.tags.get("replayId", ""))


def _crumbs(wire: list[WireCrumb], shift: int) -> list[Breadcrumb]:
    """Breadcrumbs, moved in time as their event was. There are up to a hundred, so they are finished in place."""
    for crumb in wire:
        at = crumb.timestamp
        if at is not None:
            at = parse_seconds(at)
            crumb.timestamp = at + shift if at is not None else None
        if crumb.event_id:
            crumb.data["event_id"] = crumb.event_id
            crumb.event_id = ""
        if type(crumb.message) is not str:
            crumb.message = text(crumb.message)
    return cast("list[Breadcrumb]", wire)


def _make_feedback(event: Event) -> None:
    found = event.contexts.get("feedback")
    feedback: JsonObject = found if isinstance(found, dict) else {}
    event.kind = Kind.FEEDBACK
    event.message = text(feedback.get("message")) or event.message
    event.url = text(feedback.get("url")) or event.url
    event.replay_id = hex_id(text(feedback.get("replay_id"))) or event.replay_id
    email, name = line(feedback.get("contact_email")), line(feedback.get("name"))
    if event.user is None and (email or name):
        event.user = User(email=email, username=name)
