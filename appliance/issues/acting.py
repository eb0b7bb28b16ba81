"""Changing the state of issues: resolve, ignore, reopen, the end of "ignored until". In the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, assert_never, cast

from msgspec import Struct
from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from appliance.accounts.access import Actor, Permission
from appliance.hookspecs import IssueChange
from appliance.issues import tables
from appliance.issues.models import IssueModel
from appliance.issues.scope import NOT_FOUND, find_issue, visible_projects
from appliance.issues.views import (
    MAX_BULK,
    ActionResult,
    Ignore,
    IssueAction,
    IssueActionError,
    IssueNotFoundError,
    IssueState,
    Reopen,
    ResolveIn,
    ResolveNow,
)

REOPEN_AT_ONCE: Final = 500  # in one run of the job; the next run does the rest


class Acted(Struct, frozen=True):
    """What came of an action, and what is to be told."""

    result: ActionResult
    changes: list[IssueChange]
    project_ids: frozenset[int]


async def find_all(session: AsyncSession, actor: Actor, issue_ids: Sequence[int]) -> list[IssueModel]:
    """The issues of a bulk action, each once, the projects locked against recording.

    Raises:
        IssueNotFoundError: one is not there for this actor; nothing is done then.
        IssueActionError: there are none, or too many.
    """
    wanted = list(dict.fromkeys(issue_ids))
    if not wanted:
        raise IssueActionError("Select at least one issue.")
    if len(wanted) > MAX_BULK:
        raise IssueActionError(f"At most {MAX_BULK} issues can be changed at once: select fewer.")
    visible = set(await visible_projects(session, actor))
    found = await _load(session, wanted)
    known: dict[int, IssueModel] = {}
    for issue_id in wanted:
        issue = found.get(issue_id)
        if issue is None or issue.project_id not in visible:
            raise IssueNotFoundError(NOT_FOUND)
        if issue.merged_into is not None:
            issue = await find_issue(session, actor, issue_id)
        known[issue.id] = issue
    actor.require(Permission.ISSUES_WRITE)
    await tables.lock_projects(await session.connection(), {issue.project_id for issue in known.values()})
    await _load(session, list(known))  # again: what was read before the lock may have changed until it was had
    return list(known.values())


async def _load(session: AsyncSession, issue_ids: Sequence[int]) -> dict[int, IssueModel]:
    found: dict[int, IssueModel] = {}
    for some in tables.chunks(issue_ids):
        statement = select(IssueModel).where(IssueModel.id.in_(some)).execution_options(populate_existing=True)
        found.update({issue.id: issue for issue in await session.scalars(statement)})
    return found


async def change_states(
    session: AsyncSession, actor: Actor, issue_ids: Sequence[int], action: IssueAction, now: int
) -> Acted:
    """Do it.

    Args:
        session: a write session.
        actor: who does it.
        issue_ids: at most `MAX_BULK`.
        action: what.
        now: µs.
    """
    _check(action, now)
    changed: list[int] = []
    unchanged: list[int] = []
    changes: list[IssueChange] = []
    issues = await find_all(session, actor, issue_ids)
    notes: list[tables.Row] = []
    before: set[IssueState | Literal[""]] = set()
    for issue in issues:
        was = _plain_state(issue)
        if not _apply(issue, action, now):
            unchanged.append(issue.id)
            continue
        changed.append(issue.id)
        before.add(was)
        notes.append(note_of(issue.id, actor, now, *_words(action)))
        if isinstance(action, ResolveNow | ResolveIn):
            changes.append(_resolved(issue, now))
    await session.flush()
    await tables.run(await session.connection(), insert(tables.ACTIVITY), notes)
    return Acted(
        ActionResult(
            changed=tuple(changed), unchanged=tuple(unchanged), before=before.pop() if len(before) == 1 else ""
        ),
        changes,
        frozenset(issue.project_id for issue in issues),
    )


def _plain_state(issue: IssueModel) -> IssueState | Literal[""]:
    """The state, when it is the whole of it: not resolved in a release, ignored until something, or a regression."""
    more = issue.resolved_in or issue.ignored_until or issue.ignored_until_count or issue.regressed_at
    return "" if more else cast("IssueState", issue.state)


def note_of(issue_id: int, actor: Actor, now: int, action: str, detail: str = "") -> tables.Row:
    """A row of `issue_activity`."""
    return {
        "issue_id": issue_id,
        "at": now,
        "user_id": actor.user_id or None,
        "actor": actor.email,
        "action": action,
        "detail": detail,
    }


def _check(action: IssueAction, now: int) -> None:
    match action:
        case ResolveIn(release=release):
            if not 0 < len(release) <= 200 or not release.isprintable():
                raise IssueActionError("Name the release, in at most 200 characters.")
        case Ignore(more_events=more, until=until):
            if more is not None and not 1 <= more <= 1_000_000_000:
                raise IssueActionError("Give a number of events from 1 to 1,000,000,000.")
            if until is not None and not now < until < 1 << 62:
                raise IssueActionError("Give a time that is still to come.")
        case ResolveNow() | Reopen():
            pass
        case _:
            assert_never(action)


def _apply(issue: IssueModel, action: IssueAction, now: int) -> bool:
    """Set the state; False when it already was so."""
    before = (issue.state, issue.resolved_in, issue.ignored_until, issue.ignored_until_count)
    match action:
        case Ignore(more_events=more, until=until):
            count = None if more is None else issue.event_count + more
            after = ("ignored", "", until, count)
        case ResolveIn(release=release):
            after = ("resolved", release, None, None)
        case ResolveNow():
            after = ("resolved", "", None, None)
        case Reopen():
            after = ("open", "", None, None)
        case _:
            assert_never(action)
    if before == after:
        return False
    issue.state, issue.resolved_in, issue.ignored_until, issue.ignored_until_count = after
    issue.resolved_at = now if after[0] == "resolved" else None
    issue.regressed_at = None
    return True


def _words(action: IssueAction) -> tuple[str, str]:
    match action:
        case ResolveNow():
            return "resolved", ""
        case ResolveIn(release=release):
            return "resolved", f"in {release}"
        case Reopen():
            return "reopened", ""
        case Ignore(more_events=more, until=until):
            parts: list[str] = []
            if more is not None:
                parts.append(f"until {more:,} more event{'' if more == 1 else 's'}")
            if until is not None:
                parts.append(f"until {tables.utc(until)}")
            return "ignored", " or ".join(parts) or "for ever"
        case _:
            assert_never(action)


def _resolved(issue: IssueModel, now: int) -> IssueChange:
    return IssueChange(
        change="resolved",
        project_id=issue.project_id,
        issue_id=issue.id,
        title=issue.title,
        culprit=issue.culprit,
        level=issue.level,
        kind=issue.kind,
        event_id=issue.last_event_id,
        release=issue.resolved_in or issue.last_release,
        environment="",
        event_count=issue.event_count,
        at=now,
        overflow=issue.overflow,
    )


async def reopen_due(session: AsyncSession, now: int) -> list[int]:
    """Open issues whose "ignored until" has passed, at most `REOPEN_AT_ONCE`; their projects' ids, one an issue."""
    due = select(IssueModel.id, IssueModel.project_id).where(
        IssueModel.state == "ignored", IssueModel.ignored_until <= now, IssueModel.merged_into.is_(None)
    )
    found = (await session.execute(due.order_by(IssueModel.id).limit(REOPEN_AT_ONCE))).all()
    for some in tables.chunks([row[0] for row in found]):
        await session.execute(
            update(IssueModel)
            .where(IssueModel.id.in_(some), IssueModel.state == "ignored", IssueModel.ignored_until <= now)
            .values(state="open", ignored_until=None, ignored_until_count=None)
            .execution_options(synchronize_session=False)
        )
    notes = [{"issue_id": row[0], "at": now, "action": "reopened", "detail": "was ignored until now"} for row in found]
    await tables.run(await session.connection(), insert(tables.ACTIVITY), notes)
    return [row[1] for row in found]
