"""Prepares a release beside the running one: plugins, rendered files, pinned images. Nothing that runs is touched."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from msgspec import Struct, structs

from appliance.deploy import plugin_install
from appliance.deploy.apply import dotenv, images
from appliance.deploy.apply.engine import Compose, Service
from appliance.deploy.apply.journal import Record, Release
from appliance.deploy.apply.layout import (
    COMPOSE_FILE,
    OVERRIDE_FILE,
    ApplyError,
    Installation,
    write_file,
)
from appliance.deploy.apply.rendering import Rendered, render_apart
from appliance.deploy.apply.schemas import Migrations, migrations, running_of

APPLIANCE_GROUP: Final = 10001  # of the services in the image; config.toml may hold a secret
APPLIED_CONFIG: Final = "config.applied.toml"  # what runs; the person edits config.toml meanwhile
INGEST_READS: Final = ("site", "ingest", "plugins", "log")  # of config.toml; so that other keys do not restart it
INPUTS_LABEL: Final = "condev.inputs"
_HEADER: Final = (
    "# Written by `condev apply`: the images this release runs, by tags that never move, and a sum of each service's\n"
    "# files, so that a change of them makes a new container. Compose reads it beside compose.yaml by itself.\n"
)


class Prepared(Struct, frozen=True, kw_only=True):
    """A release that could be put in place."""

    release: Release
    rendered: Rendered
    record: Record
    migrations: Migrations
    plugins: tuple[plugin_install.Locked, ...] = ()  # newly resolved; empty when they are those of before


def plugins_into(
    installation: Installation, wanted: list[str], before: Release | None, target: Path
) -> tuple[str, tuple[plugin_install.Locked, ...]]:
    """Put the plugins into `target`: resolved anew, or those of the release before when nothing they depend on changed.

    Returns:
        Their key for the record, and what was newly resolved.

    Raises:
        ApplyError: one cannot be had.
    """
    try:
        key = plugin_install.key_of(wanted, installation.root)
        if before is not None and before.plugins.is_dir() and before.record().plugins == key:
            shutil.copytree(before.plugins, target, copy_function=_link)
            return key, ()
        return key, tuple(plugin_install.install(wanted, installation.root, target))
    except plugin_install.PluginInstallError as error:
        raise ApplyError(str(error)) from error


def prepare(
    installation: Installation,
    staged: Release,
    before: Release | None,
    plugins: tuple[str, tuple[plugin_install.Locked, ...]],
    host_root: Path,
) -> Prepared:
    """The rendered files, in `staged`, where `plugins_into` was before.

    Raises:
        ApplyError: the configuration, a plugin or the plan is wrong.
    """
    key, resolved = plugins
    rendered = render_apart(installation.root, staged.plugins, host_root)
    for name, text in rendered.files.items():
        path = staged.files / name
        if staged.files not in path.parents or ".." in Path(name).parts:
            raise ApplyError(f"a rendered file would be written outside the installation's directory: {name}")
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        write_file(path, text.encode())
    config = staged.files / APPLIED_CONFIG
    write_file(config, installation.config.read_bytes(), 0o640)
    give(config, APPLIANCE_GROUP)
    changes = migrations(rendered.schemas, running_of(installation.data))
    record = Record(
        version=rendered.version,
        previous=before.name if before is not None else "",
        plugins=key,
        readable_by_previous=changes.readable_by_previous,
    )
    return Prepared(release=staged, rendered=rendered, record=record, migrations=changes, plugins=resolved)


def pin(
    prepared: Prepared,
    installation: Installation,
    compose: Compose,
    store: images.Images,
    *,
    pull: bool,
    refresh: bool,
    say: Callable[[str], None],
) -> Prepared:
    """Find or fetch the images, and write the override that pins them.

    Raises:
        EngineError: an image cannot be had, or Compose refuses the files.
    """
    files = prepared.release.files
    services = compose.services([files / COMPOSE_FILE])
    names = {name: service.image for name, service in services.items()}
    ids = images.resolve(store, names, pull=pull, refresh=refresh, say=say)
    pinned = {name: store.keep(name, ids[name]) for name in names}
    text = override(installation, prepared.release, services, pinned)
    write_file(files / OVERRIDE_FILE, text.encode())
    hashes = compose.hashes([files / COMPOSE_FILE, files / OVERRIDE_FILE])
    record = structs.replace(prepared.record, images=pinned, image_names=names, image_ids=ids, hashes=hashes)
    prepared.release.write_record(record)
    return structs.replace(prepared, record=record)


def override(
    installation: Installation, release: Release, services: Mapping[str, Service], pinned: Mapping[str, str]
) -> str:
    """compose.override.yaml of a release."""
    lines = ["services:"]
    for name in sorted(services):
        service = services[name]
        lines += [f"  {name}:", f"    image: {json.dumps(pinned[name])}", "    labels:"]
        lines.append(f"      {INPUTS_LABEL}: {json.dumps(_inputs(installation, release, service))}")
        targets = [target for source, target in service.binds if Path(source) == installation.config]
        if targets:
            lines.append("    volumes:")
            for target in targets:  # Compose puts it in place of the one with the same target
                lines.append("      - " + json.dumps(f"./{APPLIED_CONFIG}:{target}:ro,z"))
    return _HEADER + "\n".join(lines) + "\n"


def _inputs(installation: Installation, release: Release, service: Service) -> str:
    """A sum of what a service reads from the installation's directory: Compose itself looks at no file's content."""
    digest = hashlib.sha256()
    for source, _ in sorted(service.binds):
        path = Path(source)
        if path == installation.plugins:
            digest.update((release.plugins / plugin_install.LOCK_FILE).read_bytes())
            continue
        if path == installation.config:
            digest.update(_config_read_by(service.name, release.files / APPLIED_CONFIG))
            continue
        if not path.is_relative_to(installation.root):
            continue
        ours = release.files / path.relative_to(installation.root)
        for file in sorted(ours.rglob("*")) if ours.is_dir() else [ours]:
            if file.is_file():
                digest.update(f"\0{file.relative_to(release.files)}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def _config_read_by(service: str, config: Path) -> bytes:
    """What a service reads of config.toml, secrets that stand in it included: comments restart nobody."""
    tables = tomllib.loads(config.read_text("utf-8"))
    tables.pop("deploy", None)
    if service == "ingest":
        tables = {name: table for name, table in tables.items() if name in INGEST_READS}
    return json.dumps(tables, sort_keys=True, default=str).encode()


def secrets_needed(rendered: Rendered, present: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Names that .env lacks: (those we make, those a person has to give, with what for).

    Args:
        rendered: says what the stack reads.
        present: .env as it is.
    """
    known = {secret.name: secret for secret in rendered.secrets}
    names = set(known) | set(dotenv.required(rendered.files.values()))
    absent = sorted(name for name in names if not present.get(name) and not os.environ.get(name))
    ours = [name for name in absent if name in known and known[name].can_be_generated]
    theirs = [f"{name} ({known[name].purpose})" if name in known else name for name in absent if name not in ours]
    return ours, theirs


def make_directories(installation: Installation, rendered: Rendered) -> None:
    """Make what containers write to, theirs from the start: Docker would make it root's."""
    for wanted in rendered.directories:
        path = installation.root / wanted.path
        if path.is_dir():
            continue
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
        path.chmod(wanted.mode)
        if os.geteuid() == 0:
            os.chown(path, wanted.user, wanted.user)


def give(path: Path, group: int) -> None:
    """Let a group read a file; as anyone but root it is ours alone, and then so are the services."""
    if os.geteuid() == 0:
        os.chown(path, 0, group)


def _link(source: str, target: str) -> None:
    os.link(source, target, follow_symlinks=False)
