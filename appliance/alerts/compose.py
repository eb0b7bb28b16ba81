"""Writes messages: subject, text and HTML from Jinja templates, and the same facts as data for machines.

Text from events is hostile: it is cleaned of control characters, cut, escaped, and never made into a link.
Links lead to `site.url` alone.
"""

from __future__ import annotations

import secrets
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Final, Literal, TypeAlias

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from msgspec import Struct

from appliance.alerts.facts import EventFacts, IssueFacts, ProjectFacts
from appliance.hookspecs import IssueChange, Notification
from appliance.model import JsonObject

AccountMail: TypeAlias = Literal["invitation", "password_reset"]

MAX_SUBJECT: Final = 180  # what mail programs show at most; longer ones are folded by every server on the way
MAX_LINE: Final = 300
MAX_NOTICE: Final = 800  # of what the appliance says about itself: its own words, and an error's
DIGEST_LINES: Final = 20  # more than that nobody reads in a mail; the rest is one link away

HEADLINES: Final = {"opened": "New issue", "regressed": "Regression", "resolved": "Resolved"}
PLURALS: Final = {"opened": "new issues", "regressed": "regressions", "resolved": "resolved issues"}
KINDS: Final = {"opened": "new_issue", "regressed": "regression", "resolved": "resolved"}


class RuleFacts(Struct, frozen=True, kw_only=True):
    """The rule that fired."""

    id: int
    name: str
    condition: str
    own_recipients: bool  # it names them; else it tells the project's people


class Notice(Struct, frozen=True, kw_only=True):
    """Something about the appliance itself, for its owners and admins."""

    name: str  # of the condition, for machines and for the documentation
    step: Literal["raised", "reminder", "cleared"]
    title: str
    text: str
    mend: str
    since: int  # µs
    urgent: bool = False


class Site(Struct, frozen=True, kw_only=True):
    """Where links lead."""

    url: str
    name: str


def compose_alert(
    site: Site,
    project: ProjectFacts,
    rule: RuleFacts,
    change: IssueChange,
    issue: IssueFacts | None,
    event: EventFacts,
    recipients: Sequence[str],
) -> Notification:
    """The message about one issue."""
    headline = HEADLINES.get(change.change, change.change)
    title = clean(change.title) or "(no message)"
    url = f"{site.url}/issues/{change.issue_id}"
    context = {
        "headline": headline,
        "title": title,
        "culprit": clean(change.culprit),
        "level": clean(change.level, 20),
        "event_count": issue.event_count if issue else change.event_count,
        "user_count": issue.user_count if issue else 0,
        "release": clean(change.release),
        "environment": clean(change.environment),
        "page": clean(event.url),
        "browser": clean(event.browser),
        "os": clean(event.os),
        "frames": [clean(frame) for frame in event.frames],
        "unhandled": change.unhandled,
        "overflow": change.overflow,
        "at": _utc(change.at),
        "url": url,
        **_frame_of(site, project, rule),
    }
    return _notification(
        kind=KINDS.get(change.change, change.change),
        subject=f"[{clean(project.name, 40)}] {headline}: {title}",
        template="alert",
        context=context,
        recipients=recipients,
        url=url,
        data={
            "project": _project(project),
            "rule": {"id": rule.id, "name": rule.name, "condition": rule.condition},
            "change": change.change,
            "issue": _issue(site, change, issue),
            "page_url": event.url,
            "frames": list(event.frames),
        },
    )


def compose_digest(
    site: Site,
    project: ProjectFacts,
    rule: RuleFacts,
    changes: Sequence[IssueChange],
    total: int,
    issues: Mapping[int, IssueFacts],
    recipients: Sequence[str],
) -> Notification:
    """The message about many firings of one rule.

    Args:
        site: where links lead.
        project: the rule's.
        rule: what fired.
        changes: the first ones, oldest first.
        total: how many there were in all.
        issues: counters of those in `changes`.
        recipients: whom to tell.
    """
    shown = list(changes[:DIGEST_LINES])
    kinds = {change.change for change in changes}
    kind = PLURALS.get(shown[0].change, "alerts") if len(kinds) == 1 else "alerts"
    first = clean(shown[0].title, 100) or "(no message)"
    url = f"{site.url}/issues?project={project.slug}"
    lines = [
        {
            "headline": HEADLINES.get(change.change, change.change),
            "title": clean(change.title) or "(no message)",
            "culprit": clean(change.culprit),
            "event_count": issues[change.issue_id].event_count if change.issue_id in issues else change.event_count,
            "url": f"{site.url}/issues/{change.issue_id}",
        }
        for change in shown
    ]
    context = {
        "total": total,
        "kind": kind,
        "lines": lines,
        "more": total - len(lines),
        "since": _utc(shown[0].at),
        "url": url,
        **_frame_of(site, project, rule),
    }
    return _notification(
        kind="digest",
        subject=f"[{clean(project.name, 40)}] {total:,} {kind}: {first} and {total - 1:,} more",
        template="digest",
        context=context,
        recipients=recipients,
        url=url,
        data={
            "project": _project(project),
            "rule": {"id": rule.id, "name": rule.name, "condition": rule.condition},
            "total": total,
            "issues": [_issue(site, change, issues.get(change.issue_id)) for change in shown],
        },
    )


def compose_account_mail(site: Site, kind: AccountMail, *, to: str, link: str, hours: int, by: str) -> Notification:
    """An invitation or a password reset. The link is in text and HTML alone, never in the data for machines."""
    invitation = kind == "invitation"
    name = clean(site.name, 60)
    context = {"invitation": invitation, "link": link, "hours": hours, "by": clean(by), "site": site, "to": to}
    return _notification(
        kind=kind,
        subject=f"You are invited to {name}" if invitation else f"Set a new password for {name}",
        template="account",
        context=context,
        recipients=(to,),
        url=site.url,
        data={},
    )


def compose_test(site: Site, channel: str, recipients: Sequence[str], *, at: int, why: str) -> Notification:
    """What `condev notify test` and the test buttons send."""
    return _notification(
        kind="test",
        subject=f"Test message from {clean(site.name, 60)}",
        template="test",
        context={"channel": channel, "at": _utc(at), "site": site, "why": clean(why)},
        recipients=recipients,
        url=site.url,
        data={"channel": channel, "test": True},
    )


def compose_notice(site: Site, notice: Notice, recipients: Sequence[str]) -> Notification:
    """The message about a condition of the appliance itself."""
    over = notice.step == "cleared"
    kicker = {"raised": "Problem", "reminder": "Still a problem", "cleared": "Over"}[notice.step]
    url = f"{site.url}/system"
    return _notification(
        kind="appliance_recovered" if over else "appliance_problem",
        subject=f"[{clean(site.name, 40)}] {kicker}: {clean(notice.title)}",
        template="notice",
        context={
            "kicker": kicker,
            "title": clean(notice.title),
            "text": clean(notice.text, MAX_NOTICE),
            "mend": clean(notice.mend, MAX_NOTICE),
            "since": _utc(notice.since),
            "name": notice.name,
            "over": over,
            "url": url,
            "site": site,
        },
        recipients=recipients,
        url=url,
        data={
            "condition": notice.name,
            "step": notice.step,
            "title": notice.title,
            "text": notice.text,
            "mend": notice.mend,
            "since": notice.since,
            "urgent": notice.urgent,
        },
    )


def clean(text: str, limit: int = MAX_LINE) -> str:
    """One line without control, format and bidirectional-override characters, at most `limit` characters."""
    # What is cut off later need not be looked at: a message may have 8,192 characters.
    visible = "".join(" " if _is_control(character) else character for character in text[: 4 * limit])
    line = " ".join(visible.split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def _is_control(character: str) -> bool:
    return unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}


def _notification(
    *,
    kind: str,
    subject: str,
    template: str,
    context: Mapping[str, object],
    recipients: Sequence[str],
    url: str,
    data: JsonObject,
) -> Notification:
    subject = clean(subject, MAX_SUBJECT)
    environment = _environment()
    return Notification(
        # Random, not the outbox's number: two appliances may share one account at a provider.
        id=f"condev-{secrets.token_hex(16)}",
        kind=kind,
        subject=subject,
        text=environment.get_template(f"{template}.txt").render(context, subject=subject),
        html=environment.get_template(f"{template}.html").render(context, subject=subject),
        recipients=tuple(recipients),
        url=url,
        data=data,
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=select_autoescape(("html",), default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["number"] = lambda value: f"{int(value):,}"
    return environment


def _frame_of(site: Site, project: ProjectFacts, rule: RuleFacts) -> dict[str, object]:
    return {
        "project": clean(project.name, 80),
        "rule": clean(rule.name, 80),
        "own_recipients": rule.own_recipients,
        "rules_url": f"{site.url}/projects/{project.slug}/alerts",
        "site": site,
    }


def _project(project: ProjectFacts) -> JsonObject:
    return {"id": project.id, "slug": project.slug, "name": project.name}


def _issue(site: Site, change: IssueChange, issue: IssueFacts | None) -> JsonObject:
    return {
        "id": change.issue_id,
        "title": change.title,
        "culprit": change.culprit,
        "level": change.level,
        "kind": change.kind,
        "event_id": change.event_id,
        "event_count": issue.event_count if issue else change.event_count,
        "user_count": issue.user_count if issue else 0,
        "release": change.release,
        "environment": change.environment,
        "at": change.at,
        "url": f"{site.url}/issues/{change.issue_id}",
    }


def _utc(microseconds: int) -> str:
    return datetime.fromtimestamp(microseconds / 1_000_000, UTC).strftime("%-d %B %Y, %H:%M UTC")
