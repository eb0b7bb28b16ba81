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
    along_key,
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
    wanted = list(dict.fromkeys(keys))[:MAX_KEYS]
    built_in = [key for key in BUILT_IN if not wanted or key in wanted]
    conditions = Conditions()
    select_rows(conditions, where, EVENT_FIELDS)
    # One aggregate a column and two over the map: half the time of unfolding each event into its pairs. Nothing is done
    # with the answer in SQL: of a few thousand events, understanding a query takes longer than running it.
    bounds = f"({top}, {EXACT_VALUES})"
    columns = "".join(f"countIf({key} != ''), approx_top_countIf{bounds}({key}, {key} != ''), " for key in built_in)
    tags = _tags(conditions, [key for key in wanted if key not in BUILT_IN], all_of_them=not wanted)
    sql = f"""
        SELECT count(), {columns} countMap({tags}), approx_top_countMap{bounds}({tags})
        FROM events WHERE {conditions.sql} {along_key(where)}
    """
    (total, *counted, tagged, tops), *_ = await reader.query("counting tags", sql, conditions.parameters)
    if not total:
        return []
    found = dict(zip(built_in, zip(counted[::2], counted[1::2], strict=True), strict=True))
    # A tag may bear the name of a column or none: the column counts, and a name is needed to show it.
    names = sorted((key for key in tagged if key and key not in BUILT_IN), key=lambda key: (-tagged[key], key))
    found |= {key: (tagged[key], tops[key]) for key in names[:MAX_KEYS]}
    result: list[TagCount] = []
    for key in keys or list(found):
        with_it, top_values = found.get(key, (0, []))
        ordered = sorted(
            ((str(one["item"]), int(one["count"])) for one in top_values), key=lambda one: (-one[1], one[0])
        )
        result.extend(TagCount(key=key, value=value, events=number) for value, number in ordered)
        if total > with_it:
            result.append(TagCount(key=key, value="", events=total - with_it))
    return result


def _tags(conditions: Conditions, keys: Sequence[str], *, all_of_them: bool) -> str:
    """SQL for the tags of an event that are counted: those asked for, else all. A value that is empty is none."""
    chosen = "" if all_of_them else f" AND key IN {conditions.bind(list(keys), 'Array(String)')}"
    return f"mapFilter((key, value) -> value != ''{chosen}, CAST(tags, 'Map(String, String)'))"  # counted by plain keys


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
