"""Removing rows of the metadata that nobody asks for any more."""

from __future__ import annotations

from typing import Final

from sqlalchemy import delete

from appliance.issues.models import NewIssueWindowModel
from appliance.metadata.database import Database
from appliance.model import MICROSECONDS
from appliance.pipeline.dead_letters import forget_old
from appliance.pipeline.models import DropCountModel

DAY: Final = 86_400 * MICROSECONDS
HOUR: Final = 3_600 * MICROSECONDS
DROP_COUNT_DAYS: Final = 90  # three times what the System page shows
WINDOW_HOURS: Final = 48  # the bound on new issues looks at the hour that is received, which may be a backlog's
DEAD_LETTER_DAYS: Final = 30  # rows of those that were retried or discarded: who looks for one does so soon


async def tidy(database: Database, now: int) -> int:
    """Remove old counts, windows and finished dead letters; how many rows went."""
    removed = await forget_old(database, now - DEAD_LETTER_DAYS * DAY)
    for table, too_old in (
        (DropCountModel, DropCountModel.day < now // DAY - DROP_COUNT_DAYS),
        (NewIssueWindowModel, NewIssueWindowModel.hour < now // HOUR - WINDOW_HOURS),
    ):
        async with database.write() as session:
            result = await session.execute(delete(table).where(too_old))
            removed += max(0, getattr(result, "rowcount", 0))
    return removed
