"""The environment of ingest and core: the plan's settings, where the stores are, the secrets that config.toml names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, cast

from msgspec import Struct

from appliance.config import Config
from appliance.config_shown import shown
from appliance.deploy.plan import Plan, Setting, size_text
from appliance.deploy.render.text import RenderError, literal, variable
from appliance.deploy.topology import public_url
from appliance.secret import MASK

CONFIG_PATH: Final = "/etc/condev/config.toml"
WHY: Final = "set it in .env"
WHY_DOMAIN: Final = "the host name, set it in Coolify"
# Not for the running processes, or already theirs in another form.
_NOT_PASSED: Final = ("deploy.", "plugins.install")


class Line(Struct, frozen=True):
    """NAME: value, the value ready for YAML; the comment says why the value is what it is."""

    name: str
    value: str
    comment: str = ""


def variable_name(key: str) -> str:
    """CONDEV__SECTION__KEY of a dotted key."""
    return "CONDEV__" + key.replace(".", "__").upper()


def environment(config: Config, plan: Plan) -> list[Line]:
    """What both of our services are given, in order."""
    lines = [
        Line("CONDEV_DATA_DIR", "/data"),
        Line("PYTHONPATH", "/plugins", "third-party plugins, installed by condev apply"),
        Line("TZ", "UTC"),
    ]
    if plan.target != "coolify":
        lines.insert(0, Line("CONDEV_CONFIG", CONFIG_PATH))
    planned = {setting.name: setting for setting in plan.settings if setting.part == "config"}
    lines += [Line(variable_name(name), literal(one.value), _comment(one)) for name, one in planned.items()]
    if plan.target == "coolify" and not public_url(config):
        lines.append(Line(variable_name("site.url"), f'"https://${{CONDEV_DOMAIN:?{WHY_DOMAIN}}}"'))
    if plan.metadata == "postgres":
        url = f'"postgresql://condev:${{POSTGRES_PASSWORD:?{WHY}}}@postgres:5432/condev"'
        lines.append(Line(variable_name("metadata.url"), url))
    if plan.event_store == "server":
        lines.append(Line(variable_name("plugins.clickhouse.username"), "condev"))
        password = variable("CLICKHOUSE_PASSWORD", WHY)
        lines.append(Line(variable_name("plugins.clickhouse.password"), password))
    written = {line.name for line in lines}
    more = _given(config) if plan.target == "coolify" else _named(config)
    return lines + [line for line in more if line.name not in written]


def _comment(setting: Setting) -> str:
    size = f"{size_text(int(setting.value))}: " if setting.unit == "bytes" else ""
    return size + setting.reason


def file_secrets(config: Config) -> list[str]:
    """Paths of `{ file = … }` secrets, which are mounted where they are."""
    return sorted({name for kind, name in config.references.values() if kind == "file"})


def _named(config: Config) -> list[Line]:
    """The variables that config.toml names with `{ env = … }`."""
    names = {name: key for key, (kind, name) in sorted(config.references.items()) if kind == "env"}
    return [Line(name, variable(name, WHY), f"for {key}") for name, key in sorted(names.items())]


def _given(config: Config) -> list[Line]:
    """Every key that config.toml sets, as a variable: Coolify brings no file along."""
    values = shown(config)
    lines: list[Line] = []
    for key in sorted(config.given):
        if key.startswith(_NOT_PASSED):
            continue
        kind, place = config.references.get(key, ("", ""))
        if kind == "file":
            raise RenderError(
                f"{key} = {{ file = {place!r} }}: on Coolify there is no such file; use {{ env = … }} and set the "
                "variable in Coolify"
            )
        name = variable_name(key)
        value = look_up(values, key)
        # A secret in clear stays out of what is rendered: its variable has to be set in Coolify.
        hidden = kind == "env" or MASK in json.dumps(value, ensure_ascii=False)
        lines.append(Line(name, variable(place or name, WHY) if hidden else literal(_text(value))))
    return lines


def look_up(values: Mapping[str, Any], key: str) -> object:
    """A value by its dotted key."""
    found: object = values
    for part in key.split("."):
        found = cast("Mapping[str, object]", found)[part]
    return found


def _text(value: object) -> str:
    """As `CONDEV__…` variables are read: a text as it is, anything else as TOML, which for lists is JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
