"""Which values occur: the distribution of tags on an issue's page, the values in filter menus."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from appliance.hookspecs import EventFilter, TagCount

from .engine import Reader
from .filters import EVENT_FIELDS, Conditions, select_rows

BUILT_IN: Final = ("browser", "os", "device", "release", "environment", "url", "level")
MENU_FIELDS: Final = (*BUILT_IN, "kind", "user_id")
MAX_TOP: Final = 50
MAX_KEYS: Final = 200  # of tags on one page
MAX_VALUES: Final = 500
# Values told apart exactly for one key; beyond that the most frequent are found approximately, in bounded memory.
EXACT_VALUES: Final = 1_000


async def tag_distribution(reader: Reader, where: EventFilter, keys: Sequence[str], top: int) -> list[TagCount]:
    """The most frequent values of each key, and how many events are without it."""
    top = max(1, min(top, MAX_TOP))
    wanted = list(dict.fromkeys(keys))[:MAX_KEYS]
    built_in = [key for key in BUILT_IN if not wanted or key in wanted]
    conditions = Conditions()
    select_rows(conditions, where, EVENT_FIELDS)
    # One aggregate a column and two over the map: half the time of unfolding each event into its pairs.
    bounds = f"({top}, {EXACT_VALUES})"
    columns = "".join(
        f"countIf({key} != ''), {_plain(f'approx_top_countIf{bounds}({key}, notEmpty({key}))')}, " for key in built_in
    )
    tags = _tags(conditions, [key for key in wanted if key not in BUILT_IN], all_of_them=not wanted)
    sql = f"""
        SELECT count(), {columns} countMap({tags}) AS with_it,
            mapApply((key, found) -> (key, {_plain("found")}), approx_top_countMap{bounds}({tags})) AS tops
        FROM events WHERE {conditions.sql}
    """
    (total, *counted, tagged, tops), *_ = await reader.query("counting tags", sql, conditions.parameters)
    if not total:
        return []
    found = dict(zip(built_in, zip(counted[::2], counted[1::2], strict=True), strict=True))
    found |= {key: (tagged[key], tops[key]) for key in sorted(tagged, key=lambda key: (-tagged[key], key))[:MAX_KEYS]}
    result: list[TagCount] = []
    for key in keys or list(found):
        with_it, top_values = found.get(key, (0, []))
        ordered = sorted(((str(value), int(number)) for value, number in top_values), key=lambda one: (-one[1], one[0]))
        result.extend(TagCount(key=key, value=value, events=number) for value, number in ordered)
        if total > with_it:
            result.append(TagCount(key=key, value="", events=total - with_it))
    return result


def _plain(tops: str) -> str:
    """SQL for (value, count) of what approx_top_count found, without its error bound."""
    return f"arrayMap(one -> (CAST(one.1, 'String'), one.2), {tops})"


def _tags(conditions: Conditions, keys: Sequence[str], *, all_of_them: bool) -> str:
    """SQL for the tags of an event that are counted: those asked for, else all that do not bear a column's name."""
    named = conditions.bind(list(BUILT_IN) if all_of_them else list(keys), "Array(String)")
    chosen = f"key != '' AND key NOT IN {named}" if all_of_them else f"key IN {named}"
    # Counting needs plain keys, and a value that is empty is none.
    return f"mapFilter((key, value) -> value != '' AND {chosen}, CAST(tags, 'Map(String, String)'))"


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
