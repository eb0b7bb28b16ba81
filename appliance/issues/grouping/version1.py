"""Grouping, version 1. What is hashed, in this order of preference:

1. the SDK's fingerprint, in which `{{ default }}` stands for what follows;
2. errors: for the thrown exception and its causes, the type and the named in-app frames. Where the frame that threw
   has no name (an arrow function, minified code) and the type is one that anything throws (TypeError, Error), the
   message joins. Where no frame has a name, their files and the message; without in-app frames, the message alone.
   A built-in error's message counts in its canonical wording, any other without its values;
3. messages: their template; white screens: the page; failed resources: tag, host and path; CSP: directive and what
   was blocked.

Never: lines, columns, releases, users, query strings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from msgspec import Struct

from appliance.issues.grouping.frames import (
    FrameReading,
    clean_path,
    host_of,
    read_frame,
)
from appliance.issues.grouping.parameterise import one_line, parameterise
from appliance.issues.grouping.result import MAX_RAW, Grouping, GroupingPart, hash_parts, write_explanation
from appliance.issues.grouping.wording import ENGINE_ERRORS, ENGINE_TYPES, Wording, without_prefix, wording_of
from appliance.model import MAX_LABEL, MAX_TITLE, Event, ExceptionValue, Frame, Json, Kind

VERSION: Final = 1
MAX_FRAMES: Final = 50  # newest named ones that count: what Sentry's SDKs send at most
MAX_CHAIN: Final = 5  # the thrown exception and its nearest causes: SDKs follow five links by default
MAX_FINGERPRINT: Final = 20
GENERIC_TYPES: Final = ENGINE_ERRORS | {"", "Error", "UnhandledRejection"}  # they say nothing of what went wrong
_BROWSER_PLATFORMS: Final = frozenset({"", "javascript", "node"})
_DEFAULT: Final = frozenset({"{{ default }}", "{{default}}"})
Part = GroupingPart


class Derived(Struct, gc=False):
    """What the kind of an event says, before any fingerprint."""

    method: str
    summary: str
    parts: list[GroupingPart]
    title: str
    culprit: str
    type: str


def group(event: Event) -> Grouping:
    """Group one event. Never raises on what an event may hold, and never returns hash 0.

    Args:
        event: as the processors left it, source maps applied.
    """
    derived = _BY_KIND.get(event.kind, _message)(event)
    method, summary, parts = derived.method, derived.summary, derived.parts
    if event.fingerprint and not (len(event.fingerprint) == 1 and event.fingerprint[0] in _DEFAULT):
        method, summary, parts = _fingerprint(event.fingerprint, derived)
    return Grouping(
        hash_parts(VERSION, method, parts),
        VERSION,
        derived.title[:MAX_TITLE] or "(no message)",
        derived.culprit[:MAX_TITLE],
        derived.type[:MAX_LABEL],
        write_explanation(method, summary, parts),
    )


def _fingerprint(fingerprint: Sequence[str], derived: Derived) -> tuple[str, str, list[GroupingPart]]:
    parts: list[GroupingPart] = []
    for value in fingerprint[:MAX_FINGERPRINT]:
        if value in _DEFAULT:
            parts += [Part("default", value, derived.method), *derived.parts]
        else:
            parts.append(Part("fingerprint", value[:MAX_RAW], one_line(value)))
    return "fingerprint", "The SDK sent a fingerprint, and it is the same.", parts


# ── errors ──


def _error(event: Event) -> Derived:
    if not event.exceptions:
        return _bare_error(event)
    chain = event.exceptions[-MAX_CHAIN:][::-1]  # the thrown one first
    thrown = chain[0]
    browser = event.platform in _BROWSER_PLATFORMS
    kind, message = without_prefix(thrown.type, thrown.value or (event.message if not thrown.type else ""))
    method, parts, culprit = _exception(thrown, kind, message, browser)
    if len(chain) > 1:
        causes = [_cause_parts(cause, browser) for cause in chain[1:]]
        if kind in {"AggregateError", "ExceptionGroup", "BaseExceptionGroup"}:
            # Its errors have no order that means anything, and ten alike say no more than one.
            causes = [list(parts) for parts in sorted({tuple(cause) for cause in causes}, key=str)]
        for cause in causes:
            parts += cause
    return Derived(
        method,
        _ERROR_SUMMARIES[method],
        parts,
        _title(kind, message),
        culprit or event.transaction or clean_path(event.url),
        kind or "Error",
    )


_ERROR_SUMMARIES: Final[Mapping[str, str]] = {
    "stack": "The same type of error was thrown from the same functions of the application.",
    "unnamed_stack": "The same type of error with the same message was thrown from the same files; "
    "their functions have no names.",
    "message": "The same type of error with the same message; no stack frame is the application's own.",
}


def _exception(value: ExceptionValue, kind: str, message: str, browser: bool) -> tuple[str, list[GroupingPart], str]:
    wording = wording_of(kind, message) if browser and kind in ENGINE_TYPES else None
    parts = [Part("type", value.type, wording.type if wording else kind)]
    named, unnamed, thrower = _frames(value.frames)
    culprit = _culprit(thrower)
    if named:
        parts += named
        if thrower is not None and not thrower.function and kind in GENERIC_TYPES:
            parts.append(_message_part(kind, message, browser, detailed=True))
        return "stack", parts, culprit
    if unnamed:
        return "unnamed_stack", [*parts, *unnamed, _message_part(kind, message, browser, detailed=True)], culprit
    return "message", [*parts, _message_part(kind, message, browser, detailed=False)], culprit


def _cause_parts(value: ExceptionValue, browser: bool) -> list[GroupingPart]:
    kind, message = without_prefix(value.type, value.value)
    method, parts, _ = _exception(value, kind, message, browser)
    return [Part("cause", value.type, method), *parts]


def _frames(frames: Sequence[Frame]) -> tuple[list[GroupingPart], list[GroupingPart], FrameReading | None]:
    """Named in-app frames newest first, the files of those without a name, and the frame that threw.

    Each once: how deep a recursion went, and where a browser cut the stack, does not matter.
    """
    named: list[GroupingPart] = []
    unnamed: list[GroupingPart] = []
    seen: set[str] = set()
    thrower: FrameReading | None = None
    for frame in reversed(frames):
        if frame.in_app is False:
            continue
        reading = read_frame(frame)
        if not reading.in_app:
            continue
        thrower = thrower or reading
        part = reading.part
        value = part.value
        if not value or value in seen:
            continue
        seen.add(value)
        if reading.function:
            named.append(part)
            if len(named) == MAX_FRAMES:
                break
        else:
            unnamed.append(part)
    return named, unnamed[:MAX_FRAMES], thrower


def _message_part(kind: str, message: str, browser: bool, *, detailed: bool) -> GroupingPart:
    wording = wording_of(kind, message) if browser else None
    if wording is not None:
        return _wording_part(message, wording, detailed=detailed)
    return Part("message", message[:MAX_RAW], parameterise(message))


def _wording_part(message: str, wording: Wording, *, detailed: bool) -> GroupingPart:
    # The member tells two accesses in one unnamed function apart. Without a stack it is a quoted value like any other.
    value = f"{wording.text}: {wording.member}" if detailed and wording.member else wording.text
    return Part("message", message[:MAX_RAW], value)


def _bare_error(event: Event) -> Derived:
    """An error without an exception: a server's log line, or an SDK that had only a message."""
    kind, message = without_prefix("", event.message_template or event.message)
    value = ExceptionValue(type=kind, value=message, frames=event.stack)
    method, parts, culprit = _exception(value, kind, message, event.platform in _BROWSER_PLATFORMS)
    _, shown = without_prefix("", event.message or message)
    place = culprit or event.transaction or clean_path(event.url)
    return Derived(method, _ERROR_SUMMARIES[method], parts, _title(kind, shown), place, kind or "Error")


def _culprit(thrower: FrameReading | None) -> str:
    if thrower is None:
        return ""
    if thrower.function and thrower.module:
        return f"{thrower.module} in {thrower.function}"
    return thrower.function or thrower.module


def _title(kind: str, message: str) -> str:
    first = one_line(message[: MAX_TITLE * 2].strip().partition("\n")[0])
    return f"{kind}: {first}" if kind and first else kind or first


# ── the other kinds ──


def _message(event: Event) -> Derived:
    """A message: by its template when the SDK kept one apart from the values, else by the message without them."""
    shown = event.message or event.message_template
    if not shown and event.exceptions:  # SDKs that attach a stack to a message put its text into an exception
        shown = event.exceptions[-1].value
    template = event.message_template
    if template and (event.message_params or template != event.message):
        part = Part("template", template[:MAX_RAW], one_line(template))
        method, summary = "template", "The same message template."
    else:
        part = Part("message", shown[:MAX_RAW], parameterise(shown))
        method, summary = "message", "The same message, but for numbers, ids, addresses, dates and quoted values."
    parts = [Part("logger", event.logger, event.logger), part] if event.logger else [part]
    return Derived(
        method, summary, parts, _title("", shown), event.transaction or clean_path(event.url), event.kind.capitalize()
    )


def _white_screen(event: Event) -> Derived:
    # A transaction may be the page's address as it is, ids and all.
    named = event.transaction
    page = clean_path(named or event.url) if not named or "/" in named else named
    return Derived(
        "white_screen",
        "The page stayed empty, on the same page.",
        [Part("path", event.url[:MAX_RAW], page)],
        f"White screen on {page or 'a page'}",
        page,
        "White screen",
    )


def _resource(event: Event) -> Derived:
    details = _mapping(event.contexts.get("resource"))
    tag = _text(details, "tag", "tag_name", "tagName") or event.tags.get("resource.tag", "")
    url = _text(details, "url", "src", "href") or event.tags.get("resource.url", "")
    if not url:  # "Failed to load resource: https://…"
        url = event.message.rpartition(" ")[2]
    tag, host, path = tag.lower(), host_of(url), clean_path(url)
    if host == host_of(event.url):  # the application's own files: its host differs from stage to stage
        host = ""
    return Derived(
        "resource",
        "The same file could not be loaded.",
        [Part("tag", tag, tag), Part("host", host, host), Part("path", url[:MAX_RAW], path)],
        f"Failed to load {tag or 'resource'}: {host}{path}",
        event.transaction or clean_path(event.url),
        "Resource error",
    )


def _csp(event: Event) -> Derived:
    report = _mapping(event.contexts.get("csp")) or _mapping(event.extra)
    directive = (
        _text(report, "effective_directive", "effective-directive", "effectiveDirective")
        or _text(report, "violated_directive", "violated-directive", "violatedDirective").partition(" ")[0]
    )
    directive = directive or event.tags.get("effective-directive", "")
    blocked = _text(report, "blocked_uri", "blocked-uri", "blockedURL", "blocked_url", "blockedURI")
    blocked = blocked or event.tags.get("blocked-uri", "")
    if not directive and not blocked:
        return _message(event)
    source = host_of(blocked) or blocked.partition(":")[0].lower() or "inline"  # inline, eval, data, blob
    return Derived(
        "csp",
        "The same policy directive blocked the same source.",
        [Part("directive", directive, directive.lower()), Part("host", blocked[:MAX_RAW], source)],
        f"Blocked by {directive or 'policy'}: {source}",
        event.transaction or clean_path(event.url),
        "Content security policy",
    )


def _mapping(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, dict) else {}


def _text(values: Mapping[str, Json], *names: str) -> str:
    for name in names:
        value = values.get(name)
        if isinstance(value, str) and value:
            return value
    return ""


_BY_KIND: Final[Mapping[Kind, Callable[[Event], Derived]]] = {
    Kind.ERROR: _error,
    Kind.WHITE_SCREEN: _white_screen,
    Kind.RESOURCE_ERROR: _resource,
    Kind.CSP: _csp,
}
