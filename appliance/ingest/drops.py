"""What ingest counts: requests accepted, and those not accepted by (project, reason, category).

Drops go to the core as records of the spool itself, every few seconds and at shutdown: ingest has no database.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from msgspec import Struct, field

from appliance.spool.record import DropCount, SpooledDrops

MAX_COUNTS: Final = 10_000  # distinct (project, reason, category) that wait; further ones are counted on project 0
UNKNOWN_PROJECT: Final = 0


class Drop(StrEnum):
    """Why a request was not accepted; what the System page shows."""

    UNKNOWN_KEY = "unknown_key"
    FORBIDDEN_ORIGIN = "forbidden_origin"
    MALFORMED = "malformed"
    TOO_LARGE = "too_large"
    RATE_LIMITED_PROJECT = "rate_limited_project"
    RATE_LIMITED_ADDRESS = "rate_limited_address"
    SHED = "shed"  # the spool is filling; less important kinds go first
    SPOOL_FULL = "spool_full"
    SPOOL_FAILED = "spool_failed"
    IN_FLIGHT = "in_flight"  # too many body bytes at once
    TIMED_OUT = "timed_out"
    DISCONNECTED = "disconnected"
    NOT_READY = "not_ready"  # no admission table yet
    REPLAY_DISABLED = "replay_disabled"
    INTERNAL = "internal"


class IngestCounters(Struct):
    """For /metrics and the System page; since the process started."""

    accepted: int = 0
    accepted_bytes: int = 0  # as received
    in_flight_requests: int = 0
    in_flight_bytes: int = 0
    faults: int = 0  # of ours or of a plugin's; each is in the log
    drops: dict[str, int] = field(default_factory=dict)  # by reason


class DropCounter:
    """Counts until `take` hands the counts over."""

    def __init__(self, counters: IngestCounters) -> None:
        self._counters = counters
        self._waiting: dict[tuple[int, str, str], int] = {}

    def add(self, project_id: int, reason: str, category: str, quantity: int = 1) -> None:
        """Count one more."""
        drops = self._counters.drops
        drops[reason] = drops.get(reason, 0) + quantity
        self._put((project_id, reason, category), quantity)

    def take(self, now: int) -> SpooledDrops | None:
        """All counts that wait, as one record; None when there are none."""
        if not self._waiting:
            return None
        waiting, self._waiting = self._waiting, {}
        return SpooledDrops(counted_at=now, drops=[DropCount(*key, quantity) for key, quantity in waiting.items()])

    def put_back(self, record: SpooledDrops) -> None:
        """The spool did not take them: keep them for the next time."""
        for drop in record.drops:
            self._put((drop.project_id, drop.reason, drop.category), drop.quantity)

    def _put(self, key: tuple[int, str, str], quantity: int) -> None:
        if key not in self._waiting and len(self._waiting) >= MAX_COUNTS:
            key = (UNKNOWN_PROJECT, key[1], key[2])
        self._waiting[key] = self._waiting.get(key, 0) + quantity
