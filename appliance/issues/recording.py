"""Events into issues, inside the pipeline's metadata transaction: hashes to issues, counters, states, new issues.

The transaction holds the mark that the batch is done, so a batch is recorded once; batches may come in any order, and
all updates commute (sums, minima, maxima). About 1,000 events in 800 issues a batch is the load it is made for: a
handful of statements, each for all rows. What comes back is told to rules and hooks by the caller, through the outbox.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol
from weakref import WeakKeyDictionary

from sqlalchemy import Engine, UpdateBase
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
MAX_LISTED: Final = 20_000  # pairs kept in memory, about 3 MB


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
    updates: dict[UpdateBase, list[tables.Row]] = {}
    of_hashes: dict[UpdateBase, list[tables.Row]] = {}
    for issue, value in issues.values():
        alone, with_users, row = tables.issue_update(issue, value)
        merged = sketch.add(issue.sketch, value.users)
        if merged is not issue.sketch:
            row["sketch"] = merged
            row["users"] = sketch.count(merged)
        updates.setdefault(alone if merged is issue.sketch else with_users, []).append(row)
    for key, value in sorted(seen.items()):
        issue = known.get(key)
        if issue is None or not issue.shared:  # without a row, beyond the bound on hashes; or counted by its issue
            continue
        row = tables.hash_update(key, value)
        merged = sketch.add(issue.hash_sketch, value.users)
        if merged is not issue.hash_sketch:
            row["sketch"] = merged
        statement = tables.UPDATE_HASH if merged is issue.hash_sketch else tables.UPDATE_HASH_AND_SKETCH
        of_hashes.setdefault(statement, []).append(row)
    for statement, rows in updates.items():
        await tables.run_often(connection, statement, rows)
    for statement, rows in of_hashes.items():
        await tables.run(connection, statement, rows)


async def _count_releases(connection: AsyncConnection, issues: Mapping[int, tuple[Known, Seen]]) -> None:
    rows: dict[tuple[int, str], tables.Row] = {
        (issue_id, release): {"b_issue": issue_id, "b_release": release, "n": n, "first": first, "last": last}
        for issue_id, (_, value) in issues.items()
        for release, (n, first, last) in value.releases.items()
    }
    listed = _listed_releases(connection)
    unsure = [pair for pair in rows if pair not in listed]
    if unsure:
        there = await tables.load_releases(connection, unsure)
        listed.add(there)
        fresh = [pair for pair in unsure if pair not in there]
        counts = await tables.count_releases(connection, {issue_id for issue_id, _ in fresh})
        for issue_id, release in fresh:
            counts[issue_id] = counts.get(issue_id, 0) + 1
            if counts[issue_id] > MAX_RELEASES:
                del rows[issue_id, release]
    await tables.run_often(connection, tables.UPSERT_RELEASE[connection.dialect.name], list(rows.values()))


class _Listed:
    """Pairs of issue and release that have their row: spares asking for the same ones in every batch.

    Only what was read goes in. A pair that has been deleted since costs no count, since the row is then made again.
    """

    def __init__(self) -> None:
        self._pairs: set[tuple[int, str]] = set()

    def __contains__(self, pair: tuple[int, str]) -> bool:
        return pair in self._pairs

    def add(self, pairs: set[tuple[int, str]]) -> None:
        if len(self._pairs) + len(pairs) > MAX_LISTED:
            self._pairs.clear()
        self._pairs |= pairs


_listed: Final[WeakKeyDictionary[Engine, _Listed]] = WeakKeyDictionary()


def _listed_releases(connection: AsyncConnection) -> _Listed:
    return _listed.setdefault(connection.sync_engine, _Listed())
