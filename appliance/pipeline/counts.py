"""Totals in the metadata: what was processed, and what was dropped and why. Additions commute."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from sqlalchemy import case, func, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from appliance.model import EventRow
from appliance.pipeline.models import DropCountModel, PipelineCountModel
from appliance.pipeline.wire import Drop
from appliance.projects.models import ProjectModel

ROWS_PER_INSERT: Final = 500  # parameters of one statement stay far below SQLite's 32,766
MAX_REASONS: Final = 200  # different lines that one batch may add: reasons come from SDKs, and those from strangers


def upsert(session: AsyncSession) -> type[sqlite.Insert] | type[postgresql.Insert]:
    """`Insert` with ON CONFLICT, in the session's dialect."""
    return sqlite.Insert if session.get_bind().dialect.name == "sqlite" else postgresql.Insert


async def add_drops(session: AsyncSession, drops: Iterable[Drop]) -> None:
    """Add to `drop_counts`."""
    sums: Counter[tuple[int, int, str, str, str]] = Counter()
    for drop in drops:
        key = (drop.day, drop.project_id, drop.source, drop.reason[:64], drop.category[:32])
        if key not in sums and len(sums) >= MAX_REASONS:
            key = (drop.day, drop.project_id, drop.source, "other", "other")
        sums[key] += drop.quantity
    names = ("day", "project_id", "source", "reason", "category")
    rows = [dict(zip(names, key, strict=True)) | {"quantity": total} for key, total in sorted(sums.items())]
    for start in range(0, len(rows), ROWS_PER_INSERT):
        statement = upsert(session)(DropCountModel).values(rows[start : start + ROWS_PER_INSERT])
        added = DropCountModel.quantity + statement.excluded.quantity
        await session.execute(statement.on_conflict_do_update(index_elements=list(names), set_={"quantity": added}))


async def add_counts(session: AsyncSession, counts: Mapping[str, int]) -> None:
    """Add to `pipeline_counts`."""
    rows = [{"name": name, "quantity": quantity} for name, quantity in sorted(counts.items()) if quantity]
    if rows:
        statement = upsert(session)(PipelineCountModel).values(rows)
        added = PipelineCountModel.quantity + statement.excluded.quantity
        await session.execute(statement.on_conflict_do_update(index_elements=["name"], set_={"quantity": added}))


async def count_project_events(session: AsyncSession, rows: Iterable[EventRow]) -> None:
    """Add to each project's event count, and move its first and last event."""
    counts: Counter[int] = Counter()
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for row in rows:
        counts[row.project_id] += 1
        first[row.project_id] = min(first.get(row.project_id, row.received_at), row.received_at)
        last[row.project_id] = max(last.get(row.project_id, row.received_at), row.received_at)
    for project_id, count in sorted(counts.items()):
        begun, seen = first[project_id], last[project_id]
        await session.execute(
            update(ProjectModel)
            .where(ProjectModel.id == project_id)
            .values(
                event_count=ProjectModel.event_count + count,
                first_event_at=case(
                    (func.coalesce(ProjectModel.first_event_at, begun) < begun, ProjectModel.first_event_at),
                    else_=begun,
                ),
                last_event_at=case(
                    (func.coalesce(ProjectModel.last_event_at, seen) > seen, ProjectModel.last_event_at), else_=seen
                ),
            )
            .execution_options(synchronize_session=False)
        )
