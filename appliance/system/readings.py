"""What the self-monitoring looks at: one struct of figures, and the small measurements behind it.

What others know (spool, store, channels) comes in the `SystemState`; how it is judged stands in `judging.py`.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct
from sqlalchemy import select

from appliance.alerts.models import DeliveryModel
from appliance.metadata.database import Database
from appliance.model import MICROSECONDS
from appliance.system.certificate import Certificate
from appliance.system.forecast import Sample
from appliance.system.memory import MemoryUse
from appliance.system.schemas import BackupState, SystemState

LAST_DELIVERIES: Final = 5  # tries that a notifier must have lost in a row, where its breaker does not say so
# Of all that is refused, what the appliance refuses because it cannot keep up. What is refused for its sender's fault
# (a wrong key, a forbidden origin, a body that is too large) or on purpose is no condition of the appliance.
LOSSES: Final = frozenset(
    {
        "shed", "spool_full", "spool_failed", "in_flight", "rate_limited_project", "internal", "spool_segment_lost",
    }
)  # fmt: skip
MARK_FILE: Final = "watchdog.json"


class Disk(Struct, frozen=True, kw_only=True):
    """The data directory's disk, in bytes."""

    free: int  # for us, without what is reserved for root
    total: int
    reserve: int  # below it ingest takes nothing


class NotifierRecord(Struct, frozen=True, kw_only=True):
    """How a notifier of some channel does."""

    name: str
    channels: tuple[str, ...]
    is_open: bool  # its breaker
    last: tuple[bool, ...]  # the last tries, newest first: whether it delivered
    last_error: str = ""


class Stuck(Struct, frozen=True, kw_only=True):
    """A call into the event store that does not come back."""

    call: str
    seconds: float
    restart_in: float | None  # seconds; None: never


class WatchdogMark(Struct, frozen=True, kw_only=True):
    """What the watchdog wrote down before it ended the process."""

    at: int  # µs
    why: str


class Readings(Struct, frozen=True, kw_only=True):
    """Everything at one moment. None: not known, or not to be watched here."""

    now: int
    state: SystemState
    disk: Disk
    samples: Sequence[Sample]
    memory: MemoryUse | None
    certificate: Certificate | None
    backup: BackupState | None
    notifiers: Sequence[NotifierRecord]
    stuck: Stuck | None
    mark: WatchdogMark | None


BackupSource = Callable[[], Awaitable[BackupState | None]]


def read_disk(directory: Path, reserve: int) -> Disk:
    """Ask the file system. Raises `OSError`."""
    found = os.statvfs(directory)
    return Disk(free=found.f_bavail * found.f_frsize, total=found.f_blocks * found.f_frsize, reserve=reserve)


def lost(dropped: dict[str, int]) -> int:
    """How many records were refused for want of capacity, of counts by reason."""
    return sum(quantity for reason, quantity in dropped.items() if reason in LOSSES)


def read_mark(data_dir: Path) -> WatchdogMark | None:
    """What the watchdog left; None when it never did anything, or the file makes no sense."""
    try:
        return msgspec.json.decode((data_dir / MARK_FILE).read_bytes(), type=WatchdogMark)
    except (OSError, msgspec.MsgspecError):
        return None


async def notifier_records(database: Database, state: SystemState, now: int) -> list[NotifierRecord]:
    """How each configured notifier of a channel did of late."""
    records: list[NotifierRecord] = []
    notifiers = {item.name: item for channel in state.channels for item in channel.notifiers if not item.problem}
    for name, item in sorted(notifiers.items()):
        query = (
            select(DeliveryModel.ok, DeliveryModel.reply)
            .where(DeliveryModel.notifier == name, DeliveryModel.skipped.is_(False))
            .where(DeliveryModel.started_at > now - 7 * 24 * 3_600 * MICROSECONDS)  # an older try says nothing of today
            .order_by(DeliveryModel.id.desc())
            .limit(LAST_DELIVERIES)
        )
        async with database.read() as session:
            rows = (await session.execute(query)).all()
        failed = next((row[1] for row in rows if not row[0]), "")
        records.append(
            NotifierRecord(
                name=name,
                channels=tuple(
                    channel.name
                    for channel in state.channels
                    if any(notifier.name == name for notifier in channel.notifiers)
                ),
                is_open=item.open_until is not None,
                last=tuple(bool(row[0]) for row in rows),
                last_error=(item.last_error or failed)[:300],
            )
        )
    return records
