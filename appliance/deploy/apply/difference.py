"""What an apply would change, for a person: lines of rendered files, settings, images, migrations; no secret."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, cast

from appliance.deploy.apply.journal import Record, Release
from appliance.deploy.apply.layout import OVERRIDE_FILE
from appliance.deploy.apply.prepare import APPLIED_CONFIG, Prepared
from appliance.deploy.plan import size_text

MAX_LINES: Final = 200  # of a file's difference; a first look needs no more, and the files lie in the release
_PLAIN: Final = frozenset({"plugins.install", "plugins.directory", "plugins.disabled"})
SETTINGS: Final = "settings.json"  # the configuration with masked secrets, kept to be compared with the next


def describe(prepared: Prepared, before: Release | None, shown_before: Mapping[str, Any]) -> list[str]:
    """The change in lines; empty when there is none.

    Args:
        prepared: the release to come; its images need not be pinned yet.
        before: the one that runs; None at the first install.
        shown_before: its masked configuration.
    """
    if before is None:
        return _first(prepared)
    lines = _settings(shown_before, prepared.rendered.shown)
    lines += _files(before.files, prepared.release.files)
    lines += _record(before.record(), prepared)
    lines += [f"migration: {step}" for step in prepared.migrations.steps]
    if prepared.migrations.steps and not prepared.migrations.readable_by_previous:
        lines.append(
            "This version's data cannot be read by the version before: going back restores the backup that is made "
            "first, and then takes what was accepted meanwhile from the spool."
        )
    return lines


def _first(prepared: Prepared) -> list[str]:
    plan = prepared.rendered.plan
    lines = [f"first install of {prepared.rendered.version}: profile {plan.profile}, target {plan.target}"]
    lines += [f"  {service.name:12} {size_text(service.memory):>9}  {service.cpus:g} CPUs" for service in plan.services]
    lines.append(f"  files: {', '.join(sorted(prepared.rendered.files))}")
    return lines + [f"  plugin: {one}" for one in prepared.plugins]


def _settings(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    old, new = dict(_flat(before)), dict(_flat(after))
    changed = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    lines: list[str] = []
    for key in changed:
        # A plugin's own texts may be secrets, whatever their names; `shown` knows the telling names alone.
        if key.startswith("plugins.") and key not in _PLAIN:
            lines.append(f"config: {key}: {'set' if key not in old else 'removed' if key not in new else 'changed'}")
        else:
            lines.append(f"config: {key}: {old.get(key, '(not set)')} → {new.get(key, '(not set)')}")
    return lines


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(cast("dict[str, Any]", value), f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value)


def _files(before: Path, after: Path) -> list[str]:
    lines: list[str] = []
    for name in sorted(_names(before) | _names(after)):
        old, new = _text(before / name), _text(after / name)
        if name == APPLIED_CONFIG:  # settings are shown apart; the file itself may hold a secret
            if old != new:
                lines.append(f"{name}: changed")
            continue
        found = list(difflib.unified_diff(old, new, f"{name} (runs)", f"{name} (new)", n=1, lineterm=""))
        lines += found[:MAX_LINES]
        if len(found) > MAX_LINES:
            lines.append(f"… {len(found) - MAX_LINES} more lines of {name}")
    return lines


def _names(root: Path) -> set[str]:
    names = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    return names - {OVERRIDE_FILE}


def _text(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8", "replace").splitlines()
    except FileNotFoundError:
        return []


def _record(before: Record, prepared: Prepared) -> list[str]:
    record = prepared.record
    lines: list[str] = []
    if before.version != record.version:
        lines.append(f"version: {before.version} → {record.version}")
    if before.plugins != record.plugins:
        lines.append(f"plugins: {', '.join(map(str, prepared.plugins)) or 'none'}")
    for service in sorted(record.images):
        old = before.images.get(service, "(none)")
        if old != record.images[service]:
            lines.append(f"image of {service}: {old} → {record.images[service]} ({record.image_names[service]})")
    return lines
