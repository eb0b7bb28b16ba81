"""Which projects and issues an actor may see: what every read and write of the service begins with."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from sqlalchemy import bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from appliance.accounts.access import Actor, Permission
from appliance.issues.models import IssueHashModel, IssueModel
from appliance.issues.tables import PROJECTS, chunks
from appliance.issues.views import IssueNotFoundError

MAX_ALIASES: Final = 10  # merging flattens chains to one; a longer one would be a loop
MAX_HASHES: Final = 500  # of one issue in a question to the event store: the newest; a question is a URL to a server
MAX_LISTED: Final = 20  # of each issue in a list, for its sparkline
_HASHES_OF_ONE: Final = (
    select(IssueHashModel.hash)
    .where(IssueHashModel.issue_id == bindparam("issue_id"))
    .order_by(IssueHashModel.last_seen.desc(), IssueHashModel.hash)
    .limit(MAX_HASHES)
)
NOT_FOUND: Final = "There is no such issue, or it belongs to a project that you are not a member of."


async def visible_projects(session: AsyncSession, actor: Actor, asked: Collection[int] = ()) -> list[int]:
    """Of the asked projects (none: of all) those that exist and that the actor sees, in order.

    Raises:
        ForbiddenError: the actor may not read issues at all.
    """
    actor.require(Permission.ISSUES_READ)
    visible = actor.visible(frozenset(asked) if asked else None)
    statement = select(PROJECTS.c.id).where(PROJECTS.c.deleted_at.is_(None)).order_by(PROJECTS.c.id)
    if visible is not None:
        statement = statement.where(PROJECTS.c.id.in_(visible))
    return list(await session.scalars(statement))


async def find_issue(
    session: AsyncSession, actor: Actor, issue_id: int, permission: Permission = Permission.ISSUES_READ
) -> IssueModel:
    """An issue, or the one that it was merged into.

    Raises:
        IssueNotFoundError: there is none that the actor may see.
        ForbiddenError: they may see it, and may not do this.
    """
    for _ in range(MAX_ALIASES):
        issue = await session.get(IssueModel, issue_id)
        if issue is None or not actor.sees(issue.project_id):
            break
        if issue.merged_into is not None:
            issue_id = issue.merged_into
            continue
        if not await visible_projects(session, actor, [issue.project_id]):
            break
        actor.require(permission)
        return issue
    raise IssueNotFoundError(NOT_FOUND)


async def hashes_of(session: AsyncSession, issue_ids: Sequence[int]) -> dict[int, list[int]]:
    """The group hashes of issues, newest first: `MAX_HASHES` of one issue, `MAX_LISTED` of each of several."""
    if len(issue_ids) == 1:
        return {issue_ids[0]: list(await session.scalars(_HASHES_OF_ONE, {"issue_id": issue_ids[0]}))}
    found: dict[int, list[int]] = {issue_id: [] for issue_id in issue_ids}
    for some in chunks(issue_ids):
        order = (IssueHashModel.last_seen.desc(), IssueHashModel.hash)
        place = func.row_number().over(partition_by=IssueHashModel.issue_id, order_by=order).label("place")
        ranked = (
            select(IssueHashModel.issue_id, IssueHashModel.hash, place)
            .where(IssueHashModel.issue_id.in_(some))
            .subquery()
        )
        statement = (
            select(ranked.c.issue_id, ranked.c.hash).where(ranked.c.place <= MAX_LISTED).order_by(ranked.c.place)
        )
        for issue_id, hash_ in await session.execute(statement):
            found[issue_id].append(hash_)
    return found
