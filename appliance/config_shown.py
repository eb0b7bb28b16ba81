"""A configuration for people to look at: secrets masked, and those named that others may read."""

from __future__ import annotations

import re
import stat
from collections.abc import Mapping
from typing import Any, Final, cast

import msgspec

from appliance.config import Config
from appliance.config_file import EnvText
from appliance.secret import Secret

_SECRET_WORDS: Final = re.compile(r"key|secret|token|pass|auth|cred|sign|hook|dsn|url", re.IGNORECASE)


def shown(config: Config) -> dict[str, Any]:
    """The configuration as plain values with secrets masked, for `condev config show`."""
    values = cast("dict[str, Any]", msgspec.to_builtins(config, enc_hook=_encode))
    tables = values.pop("plugin_tables")
    for name in ("source", "given", "references"):
        values.pop(name)
    values["plugins"] = {**values["plugins"], **{name: mask_table(table) for name, table in tables.items()}}
    return values


def mask_table(table: Mapping[str, Any]) -> dict[str, Any]:
    """A raw plugin table for showing: texts under telling names are masked, references are shown as they stand.

    So are all texts of tables within it, such as headers: their names are the plugin's user's own.
    """
    return {key: _masked(value, _SECRET_WORDS.search(key) is not None) for key, value in table.items()}


def _masked(value: object, hide: bool) -> object:
    if isinstance(value, str):
        return str(Secret(value)) if hide and value else value
    if isinstance(value, dict):
        inner = cast("dict[str, object]", value)
        is_reference = len(inner) == 1 and not inner.keys().isdisjoint({"env", "file"})
        return inner if is_reference else {key: _masked(one, True) for key, one in inner.items()}
    if isinstance(value, list):
        return [_masked(one, hide) for one in cast("list[object]", value)]
    return value


def _encode(value: object) -> object:
    if isinstance(value, Secret):
        return str(value)
    if isinstance(value, int):
        return int(value)
    return str(value)


def exposed_secrets(config: Config) -> list[str]:
    """Warnings: secrets that stand in the file itself while others may read it."""
    path = config.source
    if path is None or not path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
        return []
    words = re.compile(r"key|secret|token|password", re.IGNORECASE)
    return [
        f"{path}: plugins.{name}.{key}: stands in the file in clear and others may read the file; "
        'use { env = "…" } or { file = "…" }, or chmod 600'
        for name, table in config.plugin_tables.items()
        for key, value in table.items()
        if isinstance(value, str) and value and not isinstance(value, EnvText) and words.search(key)
    ]
