"""Counting events: by group, by time, in all. Closed hours come from the hourly sums where those can answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal

from appliance.hookspecs import Bucket, EventFilter, GroupStats

from .engine import Parameters, Reader
from .filters import (
    EVENT_FIELDS,
    FAR,
    Conditions,
    Range,
    along_key,
    needs_base_rows,
    select_fields,
    select_rows,
    whole_range,
)
from .summaries import HOUR, SummaryState

MAX_GROUPS: Final = 10_000
MAX_BUCKETS: Final = 20_000  # of all groups together: 50 sparklines of 400 bars
SUMMARY_FIELDS: Final = {"environments": "environment", "levels": "level", "kinds": "kind"}
_ORDERS: Final = {
    "last_seen": "last_seen DESC",
    "first_seen": "first_seen DESC",
    "events": "events DESC",
    "users": "users DESC",
}
_BASE_BUCKET: Final = "intDiv(toUnixTimestamp64Micro(timestamp), {bucket:Int64}) * {bucket:Int64}"
_HOUR_BUCKET: Final = "intDiv(toInt64(toUnixTimestamp(hour)) * 1000000, {bucket:Int64}) * {bucket:Int64}"


class _Counts:
    """SQL that counts events by some keys, from base rows and, where they hold, hourly sums.

    Its columns: the keys, `n` events, `u` users (with `users`), `f` and `l` the first and last time.
    """

    def __init__(
        self, where: EventFilter, state: SummaryState, keys: Sequence[str], bucket: int, *, users: bool
    ) -> None:
        self._keys = keys
        self._users = users
        self._bucket = bucket
        self._conditions = Conditions()
        use_sums = not needs_base_rows(where, tuple(SUMMARY_FIELDS)) and (not bucket or bucket % HOUR == 0)
        closed, rest = state.split(whole_range(where)) if use_sums else ([], [whole_range(where)])
        if closed:
            # Users of both can only be united as sketches; making those from base rows doubles the time of a query.
            parts = [self._sums(where, closed), *([self._base(where, rest, "State")] if rest else [])]
            users_column = ", uniqCombined64Merge(12)(u) AS u" if users else ""
            self.sql = f"""
                SELECT {"".join(f"{key}, " for key in keys)} sum(n) AS n, min(f) AS f, max(l) AS l {users_column}
                FROM ({" UNION ALL ".join(parts)}) {self._group_by()}
            """
        else:
            self.sql = self._base(where, rest, "")

    @property
    def parameters(self) -> Parameters:
        """The values in `sql`."""
        return {**self._conditions.parameters, "bucket": self._bucket}

    def _named_keys(self, bucket: str) -> str:
        return "".join(f"{bucket if key == 'bucket' else key} AS {key}, " for key in self._keys)

    def _group_by(self) -> str:
        return f"GROUP BY {', '.join(self._keys)}" if self._keys else ""

    def _base(self, where: EventFilter, ranges: Sequence[Range], state: str) -> str:
        mine = self._conditions.sibling()
        select_rows(mine, where, EVENT_FIELDS, ranges)
        if "group_hash" in self._keys:
            mine.add("group_hash != 0")
        users = f", uniqCombined64{state}If(12)(user_hash, user_hash != 0) AS u" if self._users else ""
        return f"""
            SELECT {self._named_keys(_BASE_BUCKET)} count() AS n, min(timestamp) AS f, max(timestamp) AS l {users}
            FROM events WHERE {mine.sql} {self._group_by()}
        """

    def _sums(self, where: EventFilter, ranges: Sequence[Range]) -> str:
        mine = self._conditions.sibling()
        select_fields(mine, where, SUMMARY_FIELDS)
        mine.within("hour", ranges)
        if "group_hash" in self._keys:
            mine.add("group_hash != 0")
        users = ", uniqCombined64MergeState(12)(users) AS u" if self._users else ""
        return f"""
            SELECT {self._named_keys(_HOUR_BUCKET)} sum(events) AS n, min(first_seen) AS f, max(last_seen) AS l {users}
            FROM issue_summary WHERE {mine.sql} {self._group_by()}
        """


async def group_stats(
    reader: Reader,
    state: SummaryState,
    where: EventFilter,
    order: Literal["last_seen", "first_seen", "events", "users"],
    limit: int,
) -> list[GroupStats]:
    """Which groups occurred, how often, for how many users."""
    counts = _Counts(where, state, ["group_hash"], 0, users=True)
    sql = f"""
        SELECT group_hash, n AS events, u AS users,
            toUnixTimestamp64Micro(f) AS first_seen, toUnixTimestamp64Micro(l) AS last_seen
        FROM ({counts.sql}) WHERE n > 0 ORDER BY {_ORDERS[order]}, group_hash LIMIT {max(1, min(limit, MAX_GROUPS))}
    """
    rows = await reader.query("counting events by group", sql, counts.parameters)
    return [
        GroupStats(group_hash=group, events=events, users=users, first_seen=first, last_seen=last)
        for group, events, users, first, last in rows
    ]


async def group_histograms(
    reader: Reader, state: SummaryState, where: EventFilter, bucket: int
) -> Mapping[int, list[Bucket]]:
    """Events per bucket for each of the filter's group hashes."""
    _check_bucket(where, bucket)
    if not where.group_hashes:
        return {}
    counts = _Counts(where, state, ["group_hash", "bucket"], bucket, users=False)
    sql = f"""
        SELECT group_hash, bucket, n FROM ({counts.sql}) ORDER BY group_hash, bucket LIMIT {MAX_BUCKETS}
    """
    result: dict[int, list[Bucket]] = {group: [] for group in where.group_hashes}
    for group, start, count in await reader.query("drawing sparklines", sql, counts.parameters):
        result[group].append(Bucket(start=start, events=count))
    return result


async def histogram(reader: Reader, state: SummaryState, where: EventFilter, bucket: int) -> list[Bucket]:
    """Events and users per bucket."""
    _check_bucket(where, bucket)
    counts = _Counts(where, state, ["bucket"], bucket, users=True)
    sql = f"SELECT bucket, n, u FROM ({counts.sql}) ORDER BY bucket LIMIT {MAX_BUCKETS} {along_key(where)}"
    rows = await reader.query("counting events over time", sql, counts.parameters)
    return [Bucket(start=start, events=count, users=users) for start, count, users in rows]


async def count(reader: Reader, state: SummaryState, where: EventFilter) -> tuple[int, int]:
    """(events, users)."""
    counts = _Counts(where, state, [], 0, users=True)
    sql = f"SELECT n, u FROM ({counts.sql})"
    events, users = (await reader.query("counting events", sql, counts.parameters))[0]
    return events, users


def _check_bucket(where: EventFilter, bucket: int) -> None:
    if bucket <= 0:
        raise ValueError(f"a bucket of {bucket} µs: it must be positive")
    start, end = whole_range(where)
    if start and end < FAR and (end - start) // bucket > MAX_BUCKETS:
        raise ValueError(f"more than {MAX_BUCKETS} buckets: take longer ones or a shorter time")
