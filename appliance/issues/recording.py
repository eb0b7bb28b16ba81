"""Events into issues, inside the pipeline's metadata transaction: hashes to issues, counters, states, new issues.

The transaction holds the mark that the batch is done, so a batch is recorded once; batches may come in any order, and
all updates commute (sums, minima, maxima). About 1,000 events in 800 issues a batch is the load it is made for: a
handful of statements, each for all rows. What comes back is told to rules and hooks by the caller, through the outbox.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from appliance.hookspecs import IssueChange
from appliance.issues import opening, sketch, tables
from appliance.issues.collecting import Key, Seen, collect, merge_seen
from appliance.issues.grouping import Grouping
from appliance.issues.returning import find_returns
from appliance.issues.tables import Known
from appliance.model import EventRow

__all__ = ["MAX_RELEASES", "Limits", "record_batch"]

MAX_RELEASES: Final = 200  # of one issue; a site that deploys hourly reaches it in a week, and nobody reads more


class Limits(Protocol):
    """The bounds that recording keeps; `appliance.config.Pipeline` has them."""

    @property
    def new_issues_per_hour(self) -> int:
        """Per project; 0 = no bound."""
        ...


async def record_batch(
    session: AsyncSession,
    rows: Sequence[EventRow],
    groupings: Mapping[int, Grouping],
    *,
    limits: Limits,
    now: int,
) -> list[IssueChange]:
    """Record a batch's events in their issues.

    Args:
        session: a write session; everything happens in its transaction.
        rows: the batch's event rows that are stored for the first time. Those with `group_hash` 0 are left out, and
            those of projects that are gone.
        groupings: by group hash; only needed for hashes that open an issue. A missing one costs its explanation.
        limits: the bounds.
        now: µs; when issues are noted to have opened or come back.

    Returns:
        Issues opened and issues that came back, in the order of the events.
    """
    seen = collect(rows)
    connection = await session.connection()
    project_ids = sorted({key.project_id for key in seen})
    await tables.lock_projects(connection, project_ids)
    existing = await tables.existing_projects(connection, project_ids)
    seen = {key: value for key, value in seen.items() if key.project_id in existing}
    if not seen:
        return []
    known = await tables.load_known(connection, list(seen))
    opened = await opening.open_issues(
        connection,
        {key: seen[key] for key in seen if key not in known or known[key].overflow},
        known,
        groupings,
        limit=limits.new_issues_per_hour,
        now=now,
    )
    known.update(opened.known)
    issues = _by_issue(seen, known, opened.overflowed)
    returns = await find_returns(connection, rows, issues, known, now)
    await _count(connection, seen, known, issues)
    await _count_releases(connection, issues)
    return [*opened.changes, *returns]


def _by_issue(
    seen: Mapping[Key, Seen], known: Mapping[Key, Known], overflowed: Mapping[Key, Known]
) -> dict[int, tuple[Known, Seen]]:
    """What the batch holds of each issue, by issue id and in that order: rows are locked in one order everywhere."""
    issues: dict[int, tuple[Known, Seen]] = {}
    for key, value in seen.items():
        issue = known.get(key) or overflowed[key]
        before = issues.get(issue.issue_id)
        issues[issue.issue_id] = (issue, value if before is None else merge_seen(before[1], value))
    return dict(sorted(issues.items()))


async def _count(
    connection: AsyncConnection,
    seen: Mapping[Key, Seen],
    known: Mapping[Key, Known],
    issues: Mapping[int, tuple[Known, Seen]],
) -> None:
    users: dict[int, int] = {}  # issue id → estimate, where it may have changed
    hashes: list[tables.Row] = []
    sketched: list[tables.Row] = []
    for key, value in sorted(seen.items()):
        issue = known.get(key)
        if issue is None:  # beyond the bound on hashes: counted on the overflow issue alone
            continue
        row = tables.hash_update(key, value)
        merged = sketch.add(issue.hash_sketch, value.users)
        if merged is issue.hash_sketch:
            hashes.append(row)
            continue
        row["sketch"] = merged
        sketched.append(row)
        if not issue.issue_sketch:
            users[issue.issue_id] = sketch.count(merged)
    own: list[tables.Row] = []
    for issue_id, (issue, value) in issues.items():
        if issue.issue_sketch:
            merged = sketch.add(issue.issue_sketch, value.users)
            if merged is not issue.issue_sketch:
                own.append({"b_id": issue_id, "sketch": merged})
                users[issue_id] = sketch.count(merged)
    await tables.run(connection, tables.UPDATE_HASH, hashes)
    await tables.run(connection, tables.UPDATE_HASH_AND_SKETCH, sketched)
    await tables.run(connection, tables.UPDATE_ISSUE_SKETCH, own)
    await tables.run(
        connection,
        tables.UPDATE_ISSUE,
        [tables.issue_update(issue_id, value, users.get(issue_id, 0)) for issue_id, (_, value) in issues.items()],
    )


async def _count_releases(connection: AsyncConnection, issues: Mapping[int, tuple[Known, Seen]]) -> None:
    rows: dict[tuple[int, str], tables.Row] = {
        (issue_id, release): {"b_issue": issue_id, "b_release": release, "n": n, "first": first, "last": last}
        for issue_id, (_, value) in issues.items()
        for release, (n, first, last) in value.releases.items()
    }
    if not rows:
        return
    there = await tables.load_releases(connection, issues, _releases(issues))
    await tables.run(connection, tables.UPDATE_RELEASE, [row for key, row in rows.items() if key in there])
    fresh = [row for key, row in rows.items() if key not in there]
    if fresh:
        counts = await tables.count_releases(connection, {row["b_issue"] for row in fresh})
        kept: list[tables.Row] = []
        for row in fresh:
            issue_id = row["b_issue"]
            if counts.get(issue_id, 0) < MAX_RELEASES:
                counts[issue_id] = counts.get(issue_id, 0) + 1
                kept.append(row)
        await tables.run(connection, tables.INSERT_RELEASE, kept)


def _releases(issues: Mapping[int, tuple[Known, Seen]]) -> Iterable[str]:
    return {release for _, value in issues.values() for release in value.releases}
