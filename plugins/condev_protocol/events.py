"""Errors of all kinds and what the page itself captured, to the model's events."""

from __future__ import annotations

from typing import Final

from appliance.decoding import bound_event, cut, cut_tags, hex_id, json_object, line, text, whole
from appliance.model import (
    MAX_MESSAGE,
    Event,
    ExceptionValue,
    Json,
    JsonObject,
    Kind,
    Level,
    Request,
    User,
)

from .common import Report, object_of
from .stacks import parse_stack, split_title, strip_uncaught, title_of, top_frame

# Keys that became fields; the rest of an entry is kept in `extra`.
_KNOWN: Final = frozenset(
    {
        "_clientCreatedAt",
        "_eventId",
        "at",
        "browserInfo",
        "colno",
        "componentStack",
        "dist",
        "environment",
        "event_type",
        "eventData",
        "exception",
        "filename",
        "framework",
        "lineno",
        "message",
        "path",
        "reason",
        "release",
        "replayId",
        "result",
        "stack",
        "tagName",
        "traceId",
        "type",
        "url",
        "userEmail",
        "userId",
    }
)

_NO_DETAILS: Final = "captured without details: the SDK sent an empty object"


def decode_error(report: Report) -> Event:
    """An entry with event_type "error"."""
    match report.type:
        case "resource":
            return _resource(report)
        case "whiteScreen":
            return _white_screen(report)
        case _:
            return _exception(report)


def decode_custom(report: Report) -> Event:
    """An entry with event_type "custom": captureException, captureMessage, captureEvent."""
    message = text(report.found.get("message"))
    match report.type:
        case "customError":
            return _captured_exception(report, message)
        case "customMessage":
            return _event(report, Kind.MESSAGE, level=Level.INFO, message=message)
        case _:
            said = object_of(report.found.get("eventData"))
            name = line(said.get("eventType")) or line(report.type)
            data = said.get("data")
            extra: JsonObject = dict(object_of(data)) if isinstance(data, dict) else {"data": data}
            return _event(
                report, Kind.CUSTOM, level=Level.INFO, message=message or name, tags={"event": name}, extra=extra
            )


def decode_other(report: Report, kind: str) -> Event:
    """An entry of a server-side SDK that is a fact and no span: ai_feedback, ai_evaluation, ai_ingestion_run."""
    message = text(report.found.get("message")) or text(report.found.get("name")) or kind
    return _event(report, Kind.CUSTOM, level=Level.INFO, message=message, tags={"event": kind})


def _exception(report: Report) -> Event:
    """A JavaScript error, a rejection, or what a React boundary caught."""
    found = report.found
    stack, said = text(found.get("stack")), text(found.get("message"))
    named, value = split_title(said)
    from_stack, stack_value = title_of(stack) if stack else ("", "")
    rejection = report.type == "unhandledrejection"
    framework = line(found.get("framework"))
    # The SDK's type is the error's name; where it only says "Error", the stack's title may know a subclass.
    exact = "" if rejection or report.type in {"error", "Error"} else report.type
    kind = exact or from_stack or named or ("UnhandledRejection" if rejection else "Error")
    if named != kind:
        value = strip_uncaught(said)
    frames = parse_stack(stack) if stack else []
    if not frames:
        frames = top_frame(text(found.get("filename")), whole(found.get("lineno")), whole(found.get("colno")))
    exception = ExceptionValue(
        type=cut(kind, 200),
        value=value or stack_value,
        mechanism="onunhandledrejection" if rejection else (f"{framework}.error_boundary" if framework else "onerror"),
        handled=bool(framework),  # a boundary caught it
        frames=frames,
    )
    contexts: dict[str, Json] = {}
    components = text(found.get("componentStack"))
    if components:
        contexts["react"] = {"componentStack": cut(components, MAX_MESSAGE)}
    event = _event(report, Kind.ERROR, exceptions=[exception], contexts=contexts)
    if framework:
        event.tags["framework"] = cut(framework, 200)
    return event


def _captured_exception(report: Report, message: str) -> Event:
    """captureException; the recorded SDK serialises an Error to {}, so that nothing of it arrives."""
    found = object_of(report.found.get("exception"))
    stack = text(found.get("stack"))
    named, value = title_of(stack) if stack else ("", "")
    exception = ExceptionValue(
        type=line(found.get("name")) or named or "Error",
        value=text(found.get("message")) or value or message or _NO_DETAILS,
        mechanism="captureException",
        handled=True,
        frames=parse_stack(stack) if stack else [],
    )
    rest = {name: entry for name, entry in found.items() if name not in {"name", "message", "stack"}}
    return _event(report, Kind.ERROR, exceptions=[exception], extra=rest)


def _resource(report: Report) -> Event:
    address, tag = text(report.found.get("url")), line(report.found.get("tagName"))
    message = text(report.found.get("message")) or f"Failed to load resource: {address}"
    event = _event(
        report,
        Kind.RESOURCE_ERROR,
        message=message,
        tags={"resource.tag": tag} if tag else {},
        contexts={"resource": {"url": cut(address, MAX_MESSAGE), "tag": tag}},
    )
    if address:
        event.message_template = f"Failed to load resource: {address.partition('?')[0].partition('#')[0]}"
    return bound_event(event, 0)


def _white_screen(report: Report) -> Event:
    reason = line(report.found.get("reason")) or "auto"
    where = report.path or "a page without a path"
    return _event(
        report,
        Kind.WHITE_SCREEN,
        level=Level.FATAL,
        message=f"White screen on {where}",
        tags={"white_screen.reason": reason},
        contexts={"white_screen": {"reason": reason, "result": json_object(report.found.get("result"))}},
    )


def _event(
    report: Report,
    kind: Kind,
    *,
    level: Level = Level.ERROR,
    message: str = "",
    exceptions: list[ExceptionValue] | None = None,
    tags: JsonObject | None = None,
    contexts: dict[str, Json] | None = None,
    extra: JsonObject | None = None,
) -> Event:
    notes: list[str] = []
    rest = {name: value for name, value in report.found.items() if name not in _KNOWN}
    if report.language:
        contexts = {**(contexts or {}), "culture": {"locale": report.language}}
    event = Event(
        id=report.id,
        kind=kind,
        timestamp=report.timestamp,
        level=level,
        message=message,
        transaction=report.path,
        url=report.url,
        release=report.release,
        dist=report.dist,
        environment=report.environment,
        exceptions=exceptions or [],
        user=User(id=report.user_id, email=report.email) if report.user_id or report.email else None,
        request=Request(url=report.url, headers={"Referer": report.referrer} if report.referrer else {}),
        user_agent=report.user_agent,
        tags=cut_tags(tags or {}, notes),
        contexts=contexts or {},
        extra=json_object({**rest, **(extra or {})}),
        sdk_name=report.sdk_name,
        sdk_version=report.sdk_version,
        trace_id=hex_id(text(report.found.get("traceId"))),
        replay_id=report.replay_id,
        truncated=notes,
    )
    return bound_event(event, _SIZE_UNKNOWN)


_SIZE_UNKNOWN: Final = 1 << 30  # bytes: the entry is one of many in its body, so the result is measured
