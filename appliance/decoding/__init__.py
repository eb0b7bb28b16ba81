"""What every wire format needs: forgiving JSON, coercion, client times, ids and the model's bounds.

Part of the public contract beside `hookspecs` and `model`: protocol plugins import it, so that one broken field never
costs an event and every event fits the model. Pure functions; nothing here reads a clock or draws a random number.
"""

from __future__ import annotations

from appliance.decoding.bounds import MAX_ITEMS, Unkept, bound_event, cut, cut_tags
from appliance.decoding.coerce import json_object, json_value, line, number, text, texts, truth, whole
from appliance.decoding.ids import hash_id, hex_id, span_id
from appliance.decoding.reading import UnreadableError, names_nul, read_json, read_object, utf8
from appliance.decoding.times import ClientClock, parse_milliseconds, parse_seconds

__all__ = [
    "MAX_ITEMS",
    "ClientClock",
    "Unkept",
    "UnreadableError",
    "bound_event",
    "cut",
    "cut_tags",
    "hash_id",
    "hex_id",
    "json_object",
    "json_value",
    "line",
    "names_nul",
    "number",
    "parse_milliseconds",
    "parse_seconds",
    "read_json",
    "read_object",
    "span_id",
    "text",
    "texts",
    "truth",
    "utf8",
    "whole",
]
