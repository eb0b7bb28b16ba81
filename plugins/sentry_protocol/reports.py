"""Reports that are no SDK's events: the browser's own CSP reports, and the user reports of browser 7 and 8."""

from __future__ import annotations

from collections import Counter
from typing import Final
from urllib.parse import urlsplit

from appliance.decoding import (
    MAX_ITEMS,
    Unkept,
    UnreadableError,
    bound_event,
    cut_tags,
    hash_id,
    hex_id,
    json_object,
    line,
    number,
    read_json,
    read_object,
    text,
)
from appliance.model import Event, Item, Json, JsonObject, Kind, Level, Request, User

from .sender import Sender, credentials_of

# The Reporting API's names of what the older format calls with hyphens.
_MODERN: Final = {
    "documentURL": "document-uri",
    "effectiveDirective": "effective-directive",
    "blockedURL": "blocked-uri",
    "originalPolicy": "original-policy",
    "sourceFile": "source-file",
    "lineNumber": "line-number",
    "columnNumber": "column-number",
    "statusCode": "status-code",
    "sample": "script-sample",
}
_MAX_AGE_MS: Final = 24 * 3600 * 1000  # browsers give a report up after a few tries


def decode_security(body: bytes, query: str, sender: Sender) -> list[Item]:
    """A body of /security/: `{"csp-report": {…}}`, or the Reporting API's array, of which only CSP is kept.

    Raises:
        UnreadableError: it is neither.
    """
    found = read_json(body)
    if isinstance(found, dict) and isinstance(found.get("csp-report"), dict):
        return [_csp_event(_object(found["csp-report"]), query, sender, 0.0, "")]
    reports = found if isinstance(found, list) else [found]
    unkept = Unkept()
    items: list[Item] = []
    seen: Counter[str] = Counter()
    for entry in reports[:MAX_ITEMS]:
        report = _object(entry)
        if report.get("type") != "csp-violation" or not isinstance(report.get("body"), dict):
            unkept.add("unsupported_item", text(report.get("type")) or "security")
            continue
        age = min(max(0.0, number(report.get("age")) or 0.0), _MAX_AGE_MS)
        renamed = {_MODERN.get(name, name): value for name, value in _object(report["body"]).items()}
        renamed.setdefault("document-uri", report.get("url"))
        event = _csp_event(renamed, query, sender, age, text(report.get("user_agent")))
        seen[event.id] += 1
        if seen[event.id] > 1:  # the same violation several times in one body is several
            event.id = hash_id(event.id, seen[event.id])
        items.append(event)
    if not items and not any(isinstance(entry, dict) for entry in reports):
        raise UnreadableError("expected a CSP report or an array of reports")
    return items + unkept.outcomes(sender.clock.received_at)


def _csp_event(report: JsonObject, query: str, sender: Sender, age_ms: float, user_agent: str) -> Event:
    """One violation. Browsers give reports no id: the same one from the same browser is the same event."""
    said = credentials_of(query, "")
    directive = line(report.get("effective-directive")) or line(report.get("violated-directive")).partition(" ")[0]
    blocked = text(report.get("blocked-uri")) or "self"
    page = text(report.get("document-uri"))
    agent = user_agent or sender.user_agent
    notes: list[str] = []
    event = Event(
        id=hash_id("csp", sender.project_id, sender.address, agent, query, text(report)),
        kind=Kind.CSP,
        timestamp=sender.clock.received_at - round(age_ms * 1_000),
        level=Level.WARNING if report.get("disposition") == "report" else Level.ERROR,
        platform="javascript",
        message=f"Blocked {_source(blocked, full=True)} by {directive or 'an unnamed directive'}",
        message_template=f"Blocked {_source(blocked, full=False)} by {directive or 'an unnamed directive'}",
        logger="csp",
        url=page,
        release=line(said.get("sentry_release")),
        environment=line(said.get("sentry_environment")),
        request=Request(url=page, headers={"Referer": text(referrer)} if (referrer := report.get("referrer")) else {}),
        user_agent=agent,
        tags=cut_tags({"effective-directive": directive, "blocked-uri": _source(blocked, full=False)}, notes),
        contexts={"csp": json_object(report)},
        truncated=notes,
    )
    return bound_event(event, len(text(report)))


def _source(blocked: str, *, full: bool) -> str:
    """What was blocked: a keyword such as inline or eval, or an address, of which the origin groups."""
    if "://" not in blocked:
        return blocked.partition(":")[0] or blocked  # `data` of `data:image/png;…`
    if full:
        return blocked
    try:
        parts = urlsplit(blocked)
        return f"{parts.scheme}://{parts.netloc}"
    except ValueError:  # an unclosed bracket in the host
        return blocked.partition("?")[0]


def decode_user_report(payload: bytes, sender: Sender) -> list[Item]:
    """What a person wrote in the crash dialog of browser 7 and 8, as feedback about an event.

    Raises:
        UnreadableError: the payload is not a JSON object.
    """
    found = read_object(payload)
    about = hex_id(text(found.get("event_id"))) or sender.event_id
    email, name, comments = line(found.get("email")), line(found.get("name")), text(found.get("comments"))
    event = Event(
        id=hash_id("user_report", sender.project_id, about, email, name, comments),
        kind=Kind.FEEDBACK,
        timestamp=sender.clock.received_at,
        level=Level.INFO,
        message=comments,
        user=User(email=email, username=name) if email or name else None,
        user_agent=sender.user_agent,
        release=sender.release,
        environment=sender.environment,
        contexts={
            "feedback": {"message": comments, "contact_email": email, "name": name, "associated_event_id": about}
        },
        sdk_name=sender.sdk_name,
        sdk_version=sender.sdk_version,
    )
    return [bound_event(event, len(payload))]


def _object(value: Json) -> JsonObject:
    return value if isinstance(value, dict) else {}
