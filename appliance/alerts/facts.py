"""What a message needs to know from the other nouns: project, issue, event, and whom to tell. Reads only."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Final, cast

import structlog
from msgspec import Struct
from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from structlog.typing import FilteringBoundLogger

from appliance.accounts.models import ProjectMemberModel, UserModel
from appliance.alerts.models import RuleModel
from appliance.hookspecs import EventStore, EventStoreError, IssueChange
from appliance.issues.models import IssueModel
from appliance.model import Event, Frame
from appliance.projects.models import ProjectModel

EVENT_SECONDS: Final = 5.0  # a mail without frames now is better than one with frames later
MAX_FRAMES: Final = 6  # what fits a phone's screen
# One address: no spaces, no brackets, no control characters; the server has the last word.
ADDRESS: Final = re.compile(r"[^\s<>()\[\],;:\\\"@]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")

log = cast("FilteringBoundLogger", structlog.get_logger(__name__))


class ProjectFacts(Struct, frozen=True, kw_only=True):
    """The project that a message is about."""

    id: int
    slug: str
    name: str


class IssueFacts(Struct, frozen=True, kw_only=True):
    """An issue as it is when the message is written."""

    event_count: int
    user_count: int


class EventFacts(Struct, frozen=True, kw_only=True):
    """The event that caused the change, as far as it could be read."""

    url: str = ""
    browser: str = ""
    os: str = ""
    frames: tuple[str, ...] = ()  # newest call first


async def project_facts(session: AsyncSession, project_id: int) -> ProjectFacts | None:
    """The project, or None when it was deleted."""
    project = await session.get(ProjectModel, project_id)
    if project is None or project.deleted_at is not None:
        return None
    return ProjectFacts(id=project.id, slug=project.slug, name=project.name)


async def issue_facts(session: AsyncSession, issue_ids: Sequence[int]) -> dict[int, IssueFacts]:
    """Counters by issue id."""
    columns = (IssueModel.id, IssueModel.event_count, IssueModel.user_count)
    rows = await session.execute(select(*columns).where(IssueModel.id.in_(issue_ids)))
    return {row.id: IssueFacts(event_count=row.event_count, user_count=row.user_count) for row in rows}


async def recipients_of(session: AsyncSession, rule: RuleModel) -> tuple[str, ...]:
    """Whom a rule tells: its own list, else the project's members with all owners and admins who can sign in."""
    own = addresses(rule.recipients)
    if own:
        return own
    member = (
        select(ProjectMemberModel.user_id)
        .where(ProjectMemberModel.project_id == rule.project_id, ProjectMemberModel.user_id == UserModel.id)
        .exists()
    )
    query = (
        select(UserModel.email)
        .where(UserModel.disabled_at.is_(None), UserModel.password_hash != "")
        .where(or_(UserModel.role.in_(("owner", "admin")), member))
        .order_by(UserModel.id)
    )
    return addresses("\n".join((await session.scalars(query)).all()))


async def operators(session: AsyncSession) -> tuple[str, ...]:
    """Whom the appliance tells of itself: owners and admins who can sign in."""
    query = (
        select(UserModel.email)
        .where(UserModel.disabled_at.is_(None), UserModel.password_hash != "")
        .where(UserModel.role.in_(("owner", "admin")))
        .order_by(UserModel.id)
    )
    return addresses("\n".join((await session.scalars(query)).all()))


def addresses(text: str) -> tuple[str, ...]:
    """The well-formed mail addresses in a text, one a line or separated by commas; each once."""
    words = (word.strip() for line in text.splitlines() for word in line.split(","))
    return tuple(dict.fromkeys(word for word in words if ADDRESS.fullmatch(word)))


def malformed_addresses(text: str) -> tuple[str, ...]:
    """What `addresses` leaves out."""
    words = (word.strip() for line in text.splitlines() for word in line.split(","))
    return tuple(word for word in words if word and not ADDRESS.fullmatch(word))


async def event_facts(store: EventStore, change: IssueChange) -> EventFacts:
    """What the store knows of the event; empty facts when it does not answer or has it no more."""
    if not change.event_id:
        return EventFacts()
    try:
        async with asyncio.timeout(EVENT_SECONDS):
            summary, event = await store.event((change.project_id,), change.event_id)
    except (EventStoreError, TimeoutError) as error:
        log.info("mail goes without the event", event_id=change.event_id, reason=str(error) or "timed out")
        return EventFacts()
    return EventFacts(
        url=summary.url,
        browser=f"{summary.browser} {summary.browser_version}".strip(),
        os=f"{summary.os} {summary.os_version}".strip(),
        frames=_top_frames(event) if event is not None else (),
    )


def _top_frames(event: Event) -> tuple[str, ...]:
    frames = event.exceptions[-1].frames if event.exceptions else event.stack
    own = [frame for frame in frames if frame.in_app] or frames
    return tuple(_frame(frame) for frame in reversed(own[-MAX_FRAMES:]))


def _frame(frame: Frame) -> str:
    place = ":".join(
        str(part) for part in (frame.filename or frame.abs_path, frame.lineno, frame.colno) if part not in (None, "")
    )
    return f"{frame.function or '<anonymous>'} ({place})" if place else frame.function or "<anonymous>"
