"""Which values occur: the distribution of tags on an issue's page, the values in filter menus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from appliance.hookspecs import EventFilter, FieldTable, TagCount

from .engine import Reader
from .filters import (
    EVENT_FIELDS,
    MEASUREMENT_FIELDS,
    PAGE_VIEW_FIELDS,
    SESSION_FIELDS,
    SPAN_FIELDS,
    Conditions,
    select_fields,
    select_rows,
    whole_range,
)

BUILT_IN: Final = ("browser", "os", "device", "release", "environment", "url", "level")
MENU_FIELDS: Final = (*BUILT_IN, "kind", "user_id")
MAX_TOP: Final = 50
MAX_KEYS: Final = 200  # of tags on one page
MAX_VALUES: Final = 500
# Values told apart exactly for one key; beyond that the most frequent are found approximately, in bounded memory.
EXACT_VALUES: Final = 1_000
# Of the tables beside `events`: what filters them, and what their filter menus offer.
TABLE_FILTERS: Final[Mapping[FieldTable, dict[str, str]]] = {
    "measurements": MEASUREMENT_FIELDS, "page_views": PAGE_VIEW_FIELDS, "sessions": SESSION_FIELDS,
    "spans": SPAN_FIELDS,
}  # fmt: skip
_CLIENT: Final = frozenset({"release", "environment", "browser", "os", "device"})
TABLE_FIELDS: Final[Mapping[FieldTable, frozenset[str]]] = {
    "measurements": _CLIENT | {"route"}, "page_views": _CLIENT | {"route"}, "sessions": _CLIENT | {"status"},
    "spans": _CLIENT | {"status", "op"},
}  # fmt: skip


async def tag_distribution(reader: Reader, where: EventFilter, keys: Sequence[str], top: int) -> list[TagCount]:
    """The most frequent values of each key, and how many events are without it."""
    top = max(1, min(top, MAX_TOP))
    conditions = Conditions()
    select_rows(conditions, where, EVENT_FIELDS)
    pairs = _pairs(conditions, list(dict.fromkeys(keys))[:MAX_KEYS])
    # `total` is the count of all events of the filter, in a row of its own.
    sql = f"""
        SELECT key, count(), arrayMap(one -> (one.1, one.2), approx_top_count({top}, {EXACT_VALUES})(value)) FROM (
            SELECT arrayJoin(arrayConcat([('', 'total')], {pairs})) AS pair, pair.1 AS key, pair.2 AS value
            FROM events WHERE {conditions.sql}
        ) WHERE value != '' GROUP BY key ORDER BY count() DESC, key LIMIT {MAX_KEYS + len(BUILT_IN) + 1}
    """
    rows = await reader.query("counting tags", sql, conditions.parameters)
    found = {str(key): (int(with_it), values) for key, with_it, values in rows}
    total, _ = found.pop("", (0, []))
    if not total:
        return []
    result: list[TagCount] = []
    for key in keys or [*BUILT_IN, *(key for key in found if key not in BUILT_IN)]:
        with_it, values = found.get(key, (0, []))
        counted = sorted(((str(value), int(number)) for value, number in values), key=lambda pair: (-pair[1], pair[0]))
        result.extend(TagCount(key=key, value=value, events=number) for value, number in counted)
        if total > with_it:
            result.append(TagCount(key=key, value="", events=total - with_it))
    return result


def _pairs(conditions: Conditions, keys: Sequence[str]) -> str:
    """SQL for an array of (key, value) of one event."""
    built_in = [key for key in BUILT_IN if not keys or key in keys]
    items = [f"('{key}', CAST({key}, 'String'))" for key in built_in]
    items += [
        f"({name}, tags[{name}])" for name in (conditions.bind(key, "String") for key in keys if key not in BUILT_IN)
    ]
    named = f"[{', '.join(items)}]"
    if keys:
        return named
    # A tag that bears the name of a built-in field is that field's, as in the filter menus.
    own = ", ".join(f"'{key}'" for key in BUILT_IN)
    return f"""
        arrayConcat({named}, arrayFilter(pair -> pair.1 NOT IN ('', {own}),
            arrayMap((key, value) -> (CAST(key, 'String'), value), mapKeys(tags), mapValues(tags))))
    """


async def values(reader: Reader, where: EventFilter, name: str, prefix: str, limit: int) -> list[TagCount]:
    """The values of a built-in field or tag, most frequent first."""
    conditions = Conditions()
    select_rows(conditions, where, EVENT_FIELDS)
    tag = conditions.bind(name, "String")
    column = f"CAST({name}, 'String')" if name in MENU_FIELDS else f"tags[{tag}]"
    conditions.add(f"{column} != ''")
    if prefix:
        conditions.add(f"startsWith(lowerUTF8({column}), {conditions.bind(prefix.lower(), 'String')})")
    sql = f"""
        SELECT {column} AS value, count() AS events, toUnixTimestamp64Micro(max(timestamp)) AS last_seen
        FROM events WHERE {conditions.sql} GROUP BY value
        ORDER BY events DESC, value LIMIT {max(1, min(limit, MAX_VALUES))}
    """
    rows = await reader.query("listing values", sql, conditions.parameters)
    return [TagCount(key=name, value=value, events=events, last_seen=last) for value, events, last in rows]


async def field_values(reader: Reader, table: FieldTable, where: EventFilter, name: str, limit: int) -> list[TagCount]:
    """The values of a field of a table that does not hold events, most frequent first."""
    if name not in TABLE_FIELDS[table]:
        return []
    time = "start" if table == "spans" else "timestamp"
    conditions = Conditions()
    select_fields(conditions, where, TABLE_FILTERS[table])
    conditions.within(time, [whole_range(where)])
    conditions.received_since(where.start)
    conditions.add(f"{name} != ''")
    sql = f"""
        SELECT CAST({name}, 'String') AS value, count() AS found, toUnixTimestamp64Micro(max({time}))
        FROM {table} WHERE {conditions.sql} GROUP BY value
        ORDER BY found DESC, value LIMIT {max(1, min(limit, MAX_VALUES))}
    """
    rows = await reader.query("listing values", sql, conditions.parameters)
    return [TagCount(key=name, value=value, events=found, last_seen=last) for value, found, last in rows]
