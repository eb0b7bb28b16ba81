"""How a disk is shared out: what may wait in the spool, what retention keeps, what stays free."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from appliance.config import GIB, MIB, Config
from appliance.deploy.plan import Days, PlanError, Setting, size_text

# The system (2 to 3 GiB) and the images of two releases, the running one and the one before it (1 GiB each).
FIXED: Final = 5 * GIB
FREE_SHARE: Final = 10  # a tenth stays free: merges write a part anew before they drop the old ones
LEAST_FREE: Final = 1 * GIB
LEAST_USABLE: Final = 1 * GIB
SPOOL_SHARE: Final = 8  # an eighth: at 10 KB a record, 390,000 records on a disk of 40 GiB
LEAST_SPOOL: Final = 128 * MIB
MOST_SPOOL: Final = 16 * GIB  # more than a day of full speed on one core; a longer stop is no queue any more
RETENTION_PERCENT: Final = 45  # and as much again for a backup of it on the same disk; the rest is metadata and logs
BYTES_PER_EVENT: Final = 1536  # measured: 1.5 KB with its payload, compressed


class DiskShares(Struct, frozen=True, kw_only=True):
    """Bytes for each purpose."""

    usable: int
    free: int
    spool: int
    retention: int


def share_disk(disk: int) -> DiskShares:
    """Share out a file system of `disk` bytes.

    Raises:
        PlanError: it is too small.
    """
    free = max(LEAST_FREE, disk // FREE_SHARE)
    usable = disk - FIXED - free
    if usable < LEAST_USABLE:
        needed = FIXED + LEAST_FREE + LEAST_USABLE
        raise PlanError(
            [
                f"the disk has {size_text(disk)}; at least {size_text(needed)} is needed: {size_text(FIXED)} for the "
                f"system and the images of two releases, {size_text(LEAST_FREE)} that stays free, "
                f"{size_text(LEAST_USABLE)} for data. Use a larger disk, or another one for the directory (--dir)"
            ]
        )
    return DiskShares(
        usable=usable,
        free=free,
        spool=min(MOST_SPOOL, max(LEAST_SPOOL, usable // SPOOL_SHARE)) // MIB * MIB,
        retention=usable * RETENTION_PERCENT // 100 // MIB * MIB,
    )


def disk_settings(config: Config, disk: int) -> tuple[list[Setting], Days, list[str]]:
    """What follows from the disk: settings, how many days fit, and what a person should know.

    Raises:
        PlanError: the disk is too small, or config.toml wants more of it than there is.
    """
    shares = share_disk(disk)
    spool, why_spool = int(config.ingest.spool_max_bytes), "as [ingest] spool_max_bytes says"
    if "ingest.spool_max_bytes" not in config.given:
        spool = shares.spool
        why_spool = f"an eighth of the {size_text(shares.usable)} for data: waits here when the pipeline stands still"
    kept, why_kept = int(config.retention.bytes), "as [retention] bytes says"
    if "retention.bytes" not in config.given:
        kept = shares.retention
        why_kept = (
            f"{RETENTION_PERCENT} % of the {size_text(shares.usable)} for data: a backup beside it takes as much again"
        )
    if spool + kept > shares.usable:
        raise PlanError(
            [
                f"spool {size_text(spool)} + retention {size_text(kept)} is more than the {size_text(shares.usable)} "
                f"for data on a disk of {size_text(disk)}: lower [ingest] spool_max_bytes or [retention] bytes, or "
                "leave them out to have them sized"
            ]
        )
    settings = [
        Setting(part="config", name="ingest.spool_max_bytes", value=spool, reason=why_spool, unit="bytes"),
        Setting(part="config", name="retention.bytes", value=kept, reason=why_kept, unit="bytes"),
    ]
    days = _days(config, kept)
    notes: list[str] = []
    if kept and config.retention.days and days.days < config.retention.days:
        notes.append(
            f"At {days.events_per_day:,} events a day the disk holds {days.days:.0f} days, not the "
            f"{config.retention.days} of [retention] days: the oldest are dropped for their bytes."
        )
    return settings, days, notes


def _days(config: Config, kept: int) -> Days:
    rate = config.deploy.events_per_day
    days = round(kept / (rate * BYTES_PER_EVENT), 1)
    limit = config.retention.days
    said = f"{size_text(kept)} at {BYTES_PER_EVENT / 1000:.1f} KB an event and {rate:,} events a day"
    if limit and limit <= days:
        said += f"; [retention] days drops them after {limit} already"
    return Days(events_per_day=rate, bytes_per_event=BYTES_PER_EVENT, days=days, reason=said)
