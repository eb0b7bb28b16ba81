"""The bound on payloads: beyond so many an hour, events keep their row and lose their payload, so that one noisy issue
cannot push out the rest. Counted in memory by receive time; a restart within an hour begins that hour anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from appliance.model import MICROSECONDS, EventRow

HOUR: Final = 3_600 * MICROSECONDS
MAX_GROUPS: Final = 50_000  # 8 MB; groups beyond so many in one hour are held by their project's bound alone


class PayloadBounds:
    """Counts of the hour being received."""

    def __init__(self, per_issue: int, per_project: int) -> None:
        """Args: per_issue, per_project: payloads an hour; 0 = no bound. An issue is counted by group hash."""
        self._per_issue = per_issue
        self._per_project = per_project
        self.closed = False  # True: no payload is kept, whatever the counts
        self._hour = 0
        self._projects: dict[int, int] = {}
        self._groups: dict[tuple[int, int], int] = {}

    def apply(self, rows: Sequence[EventRow]) -> int:
        """Take the payload from the rows that are over a bound.

        Args:
            rows: in order of their ordinals.

        Returns:
            How many lost it.
        """
        withheld = 0
        for row in rows:
            if not self._may_keep(row):
                row.payload = b""
                row.payload_withheld = True
                withheld += 1
        return withheld

    def _may_keep(self, row: EventRow) -> bool:
        if self.closed:
            return False
        hour = row.received_at // HOUR
        if hour > self._hour:
            self._hour = hour
            self._projects.clear()
            self._groups.clear()
        in_project = self._projects.get(row.project_id, 0)
        if self._per_project and in_project >= self._per_project:
            return False
        key = (row.project_id, row.group_hash)
        in_group = self._groups.get(key, 0)
        if self._per_issue and row.group_hash:
            if in_group >= self._per_issue:
                return False
            if in_group or len(self._groups) < MAX_GROUPS:
                self._groups[key] = in_group + 1
        self._projects[row.project_id] = in_project + 1
        return True
