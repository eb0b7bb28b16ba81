"""Examples of a JSON schema: the keywords that docs/protocol-v2.schema.json uses, and no others."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

from hypothesis import strategies as st

KNOWN = {
    "$ref", "const", "enum", "type", "properties", "required", "additionalProperties", "propertyNames",
    "maxProperties", "items", "minItems", "maxItems", "minLength", "maxLength", "pattern", "minimum", "maximum",
    "oneOf", "description", "contentEncoding", "contentMediaType",
}  # fmt: skip
LONG = 30  # what usual texts and lists are kept to; a test of its own goes to the bounds

characters = st.characters(exclude_categories=("Cs",), exclude_characters="\x00")
scalars = (
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e9, 1e9) | st.text(characters, max_size=9)
)
anything: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(characters, max_size=9), inner, max_size=3),
)


def examples(schema: dict[str, Any], root: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that a schema allows."""
    assert schema.keys() <= KNOWN, f"teach me {schema.keys() - KNOWN}"
    if "$ref" in schema:
        return examples(root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root)
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if schema.get("contentEncoding") == "base64":
        return st.lists(anything, max_size=3).map(
            lambda events: base64.b64encode(gzip.compress(json.dumps(events).encode(), mtime=0)).decode()
        )
    if "oneOf" in schema and "properties" not in schema:
        return st.one_of(examples(one, root) for one in schema["oneOf"])
    kinds = schema.get("type", ["object", "string", "number", "boolean", "null"])
    kinds = kinds if isinstance(kinds, list) else [kinds]
    return st.one_of(*(_of_kind(kind, schema, root) for kind in kinds))


def _of_kind(kind: str, schema: dict[str, Any], root: dict[str, Any]) -> st.SearchStrategy[Any]:
    simple = {"null": st.none(), "boolean": st.booleans()}
    if kind in simple:
        return simple[kind]
    if kind in {"integer", "number"}:
        low, high = schema.get("minimum", -1e15), schema.get("maximum", 1e15)
        whole = st.integers(int(low), int(high))
        return whole if kind == "integer" else whole | st.floats(low, high, allow_nan=False)
    if kind == "array":
        least = schema.get("minItems", 0)
        inner = examples(schema["items"], root) if "items" in schema else anything
        return st.lists(inner, min_size=least, max_size=min(schema.get("maxItems", LONG), max(5, least)))
    return _text(schema) if kind == "string" else _object(schema, root)


def _text(schema: dict[str, Any]) -> st.SearchStrategy[str]:
    if "pattern" in schema:
        whole = schema["pattern"].startswith("^")
        found = st.from_regex(schema["pattern"], fullmatch=whole, alphabet=characters)
        return found.filter(lambda text: len(text) <= schema.get("maxLength", 10**6) and "\n" not in text[-1:])
    most = schema.get("maxLength", LONG)
    usual = st.text(characters, min_size=schema.get("minLength", 0), max_size=min(LONG, most))
    return usual | st.just("x" * min(most, 9_000))


def _object(schema: dict[str, Any], root: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    named = {name: examples(one, root) for name, one in schema.get("properties", {}).items()}
    required = set(schema.get("required", ()))
    more = schema.get("additionalProperties")
    if "oneOf" in schema:  # of which members there is exactly one
        choices = [one["required"][0] for one in schema["oneOf"]]
        return st.sampled_from(choices).flatmap(
            lambda chosen: st.fixed_dictionaries(
                {name: named[name] for name in (*required, chosen)},
                optional={name: one for name, one in named.items() if name not in required and name not in choices},
            )
        )
    fixed = st.fixed_dictionaries(
        {name: named[name] for name in required},
        optional={name: one for name, one in named.items() if name not in required},
    )
    if not named:
        keys = _text(schema.get("propertyNames", {"maxLength": LONG}))
        return st.dictionaries(keys, examples(more, root) if more else anything, max_size=4)
    if not more:
        return fixed
    extra = st.dictionaries(st.text(characters, min_size=1, max_size=9), examples(more, root), max_size=2)
    return st.builds(lambda rest, known: {**rest, **known}, extra, fixed)
