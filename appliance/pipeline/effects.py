"""The one metadata transaction of a batch: issues, counters, drops, dead letters, outbox, and the intent done."""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from msgspec import Struct
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from appliance.alerts.service import enqueue_changes
from appliance.config import Pipeline as Limits
from appliance.hookspecs import IssueChange
from appliance.issues.recording import record_batch
from appliance.metadata.database import Database
from appliance.model import ORDINALS_PER_RECORD, EventRow
from appliance.pipeline import dead_letters, intents
from appliance.pipeline.batches import Work
from appliance.pipeline.counts import add_counts, add_drops, count_project_events
from appliance.projects.models import ProjectModel

log = structlog.get_logger(__name__)


class Applied(Struct, kw_only=True):
    """What a batch changed."""

    changes: list[IssueChange]
    refused: dict[int, str]  # record index → why the metadata would not take its events


async def live_projects(database: Database, ids: frozenset[int]) -> frozenset[int]:
    """Which of some projects are there and not deleted."""
    if not ids:
        return ids
    async with database.read() as session:
        rows = await session.scalars(
            select(ProjectModel.id).where(ProjectModel.id.in_(ids), ProjectModel.deleted_at.is_(None))
        )
        return frozenset(rows)


async def apply_metadata(database: Database, work: Work, limits: Limits, now: int, *, one_by_one: bool) -> Applied:
    """Commit everything that a batch means for the metadata, or nothing.

    Args:
        database: the metadata.
        work: stored already.
        limits: of new issues.
        now: µs.
        one_by_one: record by record within the transaction, leaving out those that raise: after a batch was
            refused for a reason that trying again does not mend.
    """
    async with database.write() as session:
        if one_by_one:
            applied = await _record_apart(session, work, limits, now)
        else:
            changes = await record_batch(session, work.batch.events, work.groupings, limits=limits, now=now)
            applied = Applied(changes=changes, refused={})
        events = [row for row in work.batch.events if row.ordinal // ORDINALS_PER_RECORD not in applied.refused]
        await count_project_events(session, events)
        await add_drops(session, work.drops)
        await add_counts(session, _counts(work, events))
        await enqueue_changes(session, applied.changes, now)
        await _conclude(session, work, now)
    return applied


async def _record_apart(session: AsyncSession, work: Work, limits: Limits, now: int) -> Applied:
    applied = Applied(changes=[], refused={})
    by_record: dict[int, list[EventRow]] = {}
    for row in work.batch.events:
        by_record.setdefault(row.ordinal // ORDINALS_PER_RECORD, []).append(row)
    for index, rows in by_record.items():
        try:
            async with session.begin_nested():
                applied.changes += await record_batch(session, rows, work.groupings, limits=limits, now=now)
        except Exception as error:
            log.error("metadata refused a record", record=index, intent=work.intent, exc_info=error)
            applied.refused[index] = f"{type(error).__name__}: {error}"[:500]
    return applied


def _counts(work: Work, events: Sequence[EventRow]) -> dict[str, int]:
    batch = work.batch
    return {
        "batches": 1,
        "records": work.records if work.retry is None else 0,  # a retried record was counted when it came
        "bytes": work.bytes if work.retry is None else 0,
        "events": len(events),
        "measurements": len(batch.measurements),
        "page_views": len(batch.page_views),
        "sessions": len(batch.sessions),
        "spans": len(batch.spans),
        "replay_segments": len(batch.replay_segments),
        "duplicates": work.duplicates,
        "withheld_payloads": sum(row.payload_withheld for row in events),
        "dead_letters": len(work.dead) if work.retry is None else 0,
    }


async def _conclude(session: AsyncSession, work: Work, now: int) -> None:
    """The batch is done, and with it the cursor moves; or the retry is over."""
    if work.retry is None:
        await dead_letters.add(session, work.dead, now)
        await intents.finish(session, work.intent, now)
        return
    await intents.forget(session, work.intent)
    if work.dead:
        await dead_letters.kept_again(session, work.retry.id, work.dead[0].reason, work.dead[0].detail)
    else:
        await dead_letters.retried(session, work.retry.id)
