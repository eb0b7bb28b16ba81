"""Hourly sums: which hours they hold for, and how they are made again.

A sum is believed for an hour only when it was compared with its base rows (count and checksum of the receive times) and
nothing was written to that hour since. All other hours are read from base rows, so a query never mixes a stale sum in:
a crash, a late row, a dropped day only cost speed until the next `summarise`. What this does not know is what another
process writes to a shared server; there a late row shows up with the next `summarise`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct

from appliance.model import MICROSECONDS

from .engine import Engine
from .filters import FAR, Conditions, Range, newest_values
from .rows import DAY

HOUR: Final = 3_600 * MICROSECONDS
MAX_FRAGMENTS: Final = 64  # ranges in one query; a summary with more holes than this is not worth its conditions
OF_ALL: Final = "all"  # scopes of measurements' sums
BY_ROUTE: Final = "route"
MAX_DAYS_PER_CALL: Final = 8  # an offline client's late rows may touch a month; the rest is done at the next call


class Summary(Struct, frozen=True):
    """A summary table and how it follows from its base table."""

    name: str
    base: str
    count: str  # the column that holds the number of base rows
    columns: str
    select: str  # what fills `columns`
    keys: str
    condition: str = "1"  # of base rows
    checked: str = "1"  # of sums: those that hold each base row once
    replaced: bool = False  # whether base rows may take each other's place


ISSUES: Final = Summary(
    name="issue_summary",
    base="events",
    count="events",
    columns="project_id, group_hash, hour, environment, level, kind, events, users, received_sum, first_seen, "
    "last_seen",
    select="""project_id, group_hash, toDateTime(toStartOfHour(timestamp), 'UTC') AS at, environment, level, kind,
        count(), uniqCombined64StateIf(12)(user_hash, user_hash != 0),
        sum(toUInt64(toUnixTimestamp64Micro(received_at))), min(timestamp), max(timestamp)""",
    keys="project_id, group_hash, at, environment, level, kind",
)
# A project's own sums and those of its routes are made of one reading, in one step.
MEASUREMENTS: Final = Summary(
    name="measurement_hours",
    base="measurements",
    count="samples",
    columns="project_id, scope, metric, hour, route, samples, good, needs_improvement, poor, received_sum, percentiles",
    select=f"""project_id, if(grouping(route) = 0, '{BY_ROUTE}', '{OF_ALL}'), metric,
        toDateTime(toStartOfHour(timestamp), 'UTC') AS at, route, count(), countIf(rating = 'good'),
        countIf(rating IN ('needs-improvement', 'needs_improvement')),
        countIf(rating = 'poor'), sum(toUInt64(toUnixTimestamp64Micro(received_at))),
        quantilesTDigestState(0.5, 0.75, 0.95)(value)""",
    keys="GROUPING SETS ((project_id, metric, at), (project_id, metric, at, route))",
    condition="isFinite(value)",
    checked=f"scope = '{OF_ALL}'",
    replaced=True,
)


class SummaryState:
    """Which hours of a summary table can be believed. Lives in memory: after a start everything is checked anew."""

    def __init__(self) -> None:
        self._horizon = 0  # µs; all hours before it were checked
        self._stale: set[int] = set()  # hours before the horizon that do not hold
        self._writes: dict[int, int] = {}  # hour → number of its last write, for hours written while a summary was made
        self._clock = 0

    def touch(self, hours: Iterable[int]) -> None:
        """Rows of these hours are being written or dropped. Called before and again after."""
        self._clock += 1
        for hour in hours:
            self._writes[hour] = self._clock
            if hour < self._horizon:
                self._stale.add(hour)

    def begin(self) -> int:
        """Start to make a summary; `believe` takes what this returns."""
        # A write in progress touched its hours before its rows were visible; it will touch them again.
        self._writes.clear()
        return self._clock

    def believe(self, hours: Iterable[int], begun: int) -> None:
        """These hours were found right, unless something was written to them since."""
        self._stale.difference_update(hour for hour in hours if self._writes.get(hour, 0) <= begun)

    def extend(self, horizon: int, stale: Iterable[int]) -> None:
        """Everything before `horizon` was compared, and these hours do not hold."""
        self._stale.update(hour for hour in stale if hour < horizon)
        self._stale.update(hour for hour in self._writes if hour < horizon)
        self._horizon = max(self._horizon, horizon)

    def forget(self) -> None:
        """Believe nothing any more: the rows are others now."""
        self._horizon = 0
        self._stale.clear()
        self._clock += 1

    @property
    def horizon(self) -> int:
        """µs; hours from here on were never summed up."""
        return self._horizon

    @property
    def stale(self) -> frozenset[int]:
        """Hours before the horizon whose sums do not hold."""
        return frozenset(self._stale)

    def split(self, whole: Range) -> tuple[list[Range], list[Range]]:
        """Divide a time range into what sums can answer and what base rows must."""
        start, end = whole
        first, last = -(-start // HOUR) * HOUR, min(end, self._horizon) // HOUR * HOUR
        holes = sorted(hour for hour in self._stale if first <= hour < last)
        if first >= last or len(holes) > MAX_FRAGMENTS:
            return [], [whole]
        closed: list[Range] = []
        rest: list[Range] = [(start, first)] if start < first else []
        at = first
        for hole in holes:
            if at < hole:
                closed.append((at, hole))
            if rest and rest[-1][1] == hole:
                rest[-1] = (rest[-1][0], hole + HOUR)
            else:
                rest.append((hole, hole + HOUR))
            at = hole + HOUR
        if at < last:
            closed.append((at, last))
        if last < end:
            if rest and rest[-1][1] == last:
                rest[-1] = (rest[-1][0], end)
            else:
                rest.append((last, end))
        return closed, rest


class Summariser:
    """Makes the sums of one summary table again where they do not hold."""

    def __init__(self, engine: Engine, summary: Summary, state: SummaryState) -> None:
        self._engine = engine
        self._summary = summary
        self._state = state

    async def run(self, now: int) -> int:
        """Sum up the closed hours that need it; returns how many were done."""
        horizon = now // HOUR * HOUR
        begun = self._state.begin()
        wrong = await self._compare((self._state.horizon, horizon))
        self._state.extend(horizon, wrong)
        days: dict[int, list[int]] = {}
        for hour in self._state.stale:
            days.setdefault(hour // DAY * DAY, []).append(hour)
        done = 0
        for day in sorted(days, reverse=True)[:MAX_DAYS_PER_CALL]:
            hours = sorted(days[day])
            await self._replace(day, hours)
            still_wrong = await self._compare((day, min(day + DAY, horizon)))
            self._state.believe([hour for hour in hours if hour not in still_wrong], begun)
            done += sum(hour not in still_wrong for hour in hours)
        return done

    async def _compare(self, span: Range) -> frozenset[int]:
        """The hours whose sums differ from their base rows."""
        if span[0] >= span[1]:
            return frozenset()
        base = Conditions()
        base.within("timestamp", [span])
        base.received_since(span[0])
        base.add(self._summary.condition)
        if self._summary.replaced:
            newest_values(base, (), [span])
        sums = base.sibling()
        sums.within("hour", [span])
        sums.add(self._summary.checked)
        sql = f"""
            SELECT toInt64(h) * 1000000 FROM (
                SELECT toUnixTimestamp(toStartOfHour(timestamp)) AS h, count() AS n,
                    sum(toUInt64(toUnixTimestamp64Micro(received_at))) AS r, toUInt64(0) AS m, toUInt64(0) AS s
                FROM {self._summary.base} WHERE {base.sql} GROUP BY h
                UNION ALL
                SELECT toUnixTimestamp(hour) AS h, toUInt64(0) AS n, toUInt64(0) AS r,
                    sum({self._summary.count}) AS m, sum(received_sum) AS s
                FROM {self._summary.name} WHERE {sums.sql} GROUP BY h
            ) GROUP BY h HAVING sum(n) != sum(m) OR sum(r) != sum(s)
        """
        rows = await self._engine.query(f"checking {self._summary.name}", sql, base.parameters)
        return frozenset(int(hour) for (hour,) in rows)

    async def _replace(self, day: int, hours: Sequence[int]) -> None:
        """Put a day together beside the old one, then exchange them in one step that readers never see half done."""
        summary, staging = self._summary, f"{self._summary.name}_staging"
        doing = f"summing up {summary.base}"
        await self._engine.maintain(doing, f"TRUNCATE TABLE {staging}")
        fresh = Conditions()
        ranges = _joined(hours)
        fresh.within("timestamp", ranges)
        fresh.received_since(hours[0])
        fresh.add(summary.condition)
        if summary.replaced:
            newest_values(fresh, (), ranges)
        await self._engine.maintain(
            doing,
            f"""INSERT INTO {staging} ({summary.columns}) SELECT {summary.select}
            FROM {summary.base} WHERE {fresh.sql} GROUP BY {summary.keys}""",
            fresh.parameters,
        )
        kept = Conditions()
        kept.within("hour", [(day, day + DAY)])
        for start, end in _joined(hours):
            kept.add(f"NOT (hour >= {kept.time(start)} AND hour < {kept.time(end)})")
        await self._engine.maintain(
            doing,
            f"INSERT INTO {staging} ({summary.columns}) SELECT {summary.columns} FROM {summary.name} WHERE {kept.sql}",
            kept.parameters,
        )
        partition = f"'{_date(day)}'"
        rows = await self._engine.query(doing, f"SELECT count() FROM {staging}")
        if rows[0][0]:
            await self._engine.maintain(
                doing, f"ALTER TABLE {summary.name} REPLACE PARTITION {partition} FROM {staging}"
            )
        else:
            await self._engine.maintain(doing, f"ALTER TABLE {summary.name} DROP PARTITION {partition}")
        await self._engine.maintain(doing, f"TRUNCATE TABLE {staging}")


def _joined(hours: Sequence[int]) -> list[Range]:
    """Sorted hours as ranges."""
    result: list[Range] = []
    for hour in hours:
        if result and result[-1][1] == hour:
            result[-1] = (result[-1][0], hour + HOUR)
        else:
            result.append((hour, hour + HOUR))
    return result


def _date(day: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(day // MICROSECONDS, UTC).strftime("%Y-%m-%d")


__all__ = ["FAR", "HOUR", "ISSUES", "MEASUREMENTS", "Summariser", "SummaryState"]
