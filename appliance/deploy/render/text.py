"""How values are written into YAML, Caddyfile and XML, and the templates' environment."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final, cast

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from appliance.config import MIB
from appliance.deploy.plan import PlanError

_TEMPLATES: Final = Path(__file__).parent / "templates"
_PLAIN: Final = re.compile(r"[A-Za-z/.][A-Za-z0-9 _./:@+-]*[A-Za-z0-9/]|[A-Za-z]")
# YAML 1.1 readers take these for something else than text.
_WORDS: Final = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})


class RenderError(PlanError):
    """The stack cannot be written as asked; the text says why and what to do."""

    def __init__(self, problem: str) -> None:
        super().__init__([problem])


def literal(value: object) -> str:
    """A YAML scalar that Compose takes as it stands: quoted where it has to be, `$` doubled."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"{value:g}" if isinstance(value, float) else str(value)
    text = str(value)
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS and ": " not in text:
        return text
    return json.dumps(text.replace("$", "$$"), ensure_ascii=False)


def variable(name: str, why: str) -> str:
    """A YAML scalar that is read from the environment or .env; Compose stops with `why` when it is not set."""
    return f'"${{{name}:?{why}}}"'


def mebibytes(size: int) -> str:
    """Compose's m is 2^20."""
    return f"{size // MIB}m"


def block(value: object, indent: int) -> str:
    """A JSON value as block YAML, each line indented by so many spaces; for services of plugins."""
    pad = " " * indent
    lines: list[str] = []
    if isinstance(value, dict):
        for key, item in cast("dict[str, object]", value).items():
            lines += _entry(f"{pad}{literal(key)}:", item, indent)
    elif isinstance(value, list):
        for item in cast("list[object]", value):
            lines += _entry(f"{pad}-", item, indent)
    return "\n".join(lines)


def _entry(head: str, item: object, indent: int) -> list[str]:
    if isinstance(item, dict | list) and item:
        if head.endswith("-"):  # a list or table within a list: JSON is YAML
            return [f"{head} {json.dumps(item, ensure_ascii=False)}"]
        return [head, block(cast("object", item), indent + 2)]
    if item is None:
        return [head]
    empty = isinstance(item, dict | list)
    # A plugin's own `${NAME:?}` is meant: its strings go to Compose as they are.
    text = json.dumps(item, ensure_ascii=False) if empty or isinstance(item, str) else literal(item)
    return [f"{head} {text}"]


def template(name: str, **values: object) -> str:
    """Fill in one of the templates beside this file. A name that is not given is an error, not a gap."""
    environment = Environment(  # noqa: S701 - YAML and Caddyfile: each value is written by a function of this module
        loader=FileSystemLoader(_TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(name).render(**values)
