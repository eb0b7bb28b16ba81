"""What a batch holds of each group hash, in one pass over its rows. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from msgspec import Struct, field

from appliance.model import EventRow


class Key(NamedTuple):
    """A group hash of a project, as `issue_hashes` knows it."""

    project_id: int
    version: int
    hash: int


class Seen(Struct, gc=False):
    """A batch's events of one hash, or of one issue."""

    opening: EventRow  # the first in the batch: the one that opens an issue
    newest: EventRow  # by time, then by id, so that the order of batches does not matter
    oldest: EventRow
    count: int = 0
    withheld: int = 0
    users: set[int] = field(default_factory=set)
    releases: dict[str, tuple[int, int, int]] = field(default_factory=dict)  # events, first and last seen


def collect(rows: Sequence[EventRow]) -> dict[Key, Seen]:
    """Rows that are grouped, by their hash; in the order of each hash's first row."""
    seen: dict[Key, Seen] = {}
    for row in rows:
        if row.group_hash == 0:
            continue
        key = Key(row.project_id, row.grouping_version, row.group_hash)
        value = seen.get(key)
        if value is None:
            value = seen[key] = Seen(row, row, row)
        value.count += 1
        if row.payload_withheld:
            value.withheld += 1
        if row.user_hash:
            value.users.add(row.user_hash)
        timestamp = row.timestamp
        if (timestamp, row.event_id) > (value.newest.timestamp, value.newest.event_id):
            value.newest = row
        if (timestamp, row.event_id) < (value.oldest.timestamp, value.oldest.event_id):
            value.oldest = row
        release = row.release
        if release:
            n, first, last = value.releases.get(release, (0, timestamp, timestamp))
            value.releases[release] = (n + 1, min(first, timestamp), max(last, timestamp))
    return seen


def merge_seen(left: Seen, right: Seen) -> Seen:
    """Two hashes of one issue together; `left` came first in the batch."""
    releases = dict(left.releases)
    for release, (n, first, last) in right.releases.items():
        m, early, late = releases.get(release, (0, first, last))
        releases[release] = (n + m, min(first, early), max(last, late))
    return Seen(
        left.opening,
        max(left.newest, right.newest, key=_when),
        min(left.oldest, right.oldest, key=_when),
        left.count + right.count,
        left.withheld + right.withheld,
        left.users | right.users,
        releases,
    )


def _when(row: EventRow) -> tuple[int, str]:
    return row.timestamp, row.event_id
