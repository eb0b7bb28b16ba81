"""The support bundle: one archive that a person can give away. No secret, nothing that a visitor or an event said.

Each part is made of what cannot hold such things, and the whole is searched for every secret that the appliance knows.
"""

from __future__ import annotations

import io
import json
import os
import platform
import sys
import tarfile
import time
from collections.abc import Iterable, Mapping
from importlib.metadata import distributions
from pathlib import Path
from typing import IO, Any, Final, cast

import msgspec

from appliance import __version__
from appliance.config import Config
from appliance.config_shown import shown
from appliance.deploy.backup.own_secrets import collect_secrets
from appliance.recent_log import safe_text
from appliance.secret import MASK, Secret

MIN_SECRET: Final = 4  # characters; shorter ones are in every other word
MAX_FILES: Final = 2_000  # of the data directory, in the listing
README: Final = """Support bundle of Condev Monitor {version}, made {when} UTC.

It has: versions, the configuration with secrets masked, the plan for this host, what `condev doctor` says, the figures
of the System page, the last lines of the log, names and sizes in the data directory. It has no secret, no event, no
name or address of a user or visitor; texts that could quote one are cut off or left out. Read it before you give it
away.
"""
# Fields of the System answer whose texts may quote what others said.
_QUOTING: Final = frozenset({"error", "last_error", "waiting_for", "text", "detail", "last_reply", "problem", "errors"})


def versions() -> dict[str, Any]:
    """Of the appliance, of what it runs on, and of everything installed."""
    return {
        "appliance": __version__,
        "python": sys.version,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "packages": dict(sorted((str(found.name), found.version) for found in distributions())),
    }


def without_quotes(value: object, quoting: bool = False) -> object:
    """A JSON value with every text cut that may quote what others said."""
    if isinstance(value, dict):
        table = cast("dict[str, object]", value)
        return {key: without_quotes(one, key in _QUOTING) for key, one in table.items()}
    if isinstance(value, list):
        return [without_quotes(one, quoting) for one in cast("list[object]", value)]
    return safe_text(value) if quoting and isinstance(value, str) else value


def listing(data_dir: Path) -> list[dict[str, Any]]:
    """Sizes and modes below the data directory; of files, names of three levels at most, and sums below them."""
    found: list[dict[str, Any]] = []
    for folder, folders, files in os.walk(data_dir):
        folders.sort()
        place = Path(folder).relative_to(data_dir)
        if len(place.parts) >= 3:
            folders.clear()
        status = Path(folder).lstat()
        size = 0
        for name in files:
            try:
                size += Path(folder, name).lstat().st_size
            except FileNotFoundError:
                continue
        found.append(
            {
                "folder": str(place),
                "files": len(files),
                "bytes": size,
                "mode": oct(status.st_mode),
                "uid": status.st_uid,
            }
        )
        if len(found) >= MAX_FILES:
            break
    return found


def write_bundle(file: IO[bytes], config: Config, parts: Mapping[str, object]) -> None:
    """Write the bundle.

    Args:
        file: where to; a gzipped tar.
        config: the appliance's; its secrets are looked for in everything.
        parts: name → a JSON value, or lines (a list under a name that ends in .jsonl).
    """
    texts: dict[str, str] = {
        "README.txt": README.format(version=__version__, when=time.strftime("%Y-%m-%d %H:%M", time.gmtime())),
        "config.json": _json(shown(config)),
        "versions.json": _json(versions()),
    }
    for name, value in parts.items():
        texts[name] = (
            "".join(json.dumps(line, ensure_ascii=False, default=str) + "\n" for line in cast("list[object]", value))
            if name.endswith(".jsonl")
            else _json(value)
        )
    secrets = sorted(_known(config), key=len, reverse=True)
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, text in texts.items():
            raw = _masked(text, secrets).encode()
            info = tarfile.TarInfo(f"condev-support/{name}")
            info.size, info.mode, info.mtime = len(raw), 0o600, int(time.time())
            archive.addfile(info, io.BytesIO(raw))


def _known(config: Config) -> set[str]:
    """Every secret that this process can know of, also as JSON writes it."""
    given = collect_secrets(config)
    found = {*given.variables.values(), *(text.strip() for text in given.files.values())}
    for line in given.env_file.splitlines():
        _, _, value = line.partition("=")
        found.add(value.strip().strip("'\""))
    found |= set(_secrets_in(config))
    return {form for value in found if len(value) >= MIN_SECRET for form in (value, json.dumps(value)[1:-1])}


def _secrets_in(value: object) -> Iterable[str]:
    if isinstance(value, Secret):
        yield value.reveal()
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from _secrets_in(getattr(value, name))
    elif isinstance(value, dict):
        for inner in cast("dict[str, object]", value).values():
            yield from _secrets_in(inner)
    elif isinstance(value, list | tuple):
        for inner in cast("list[object]", value):
            yield from _secrets_in(inner)


def _masked(text: str, secrets: Iterable[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, MASK)
    return text


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1, default=str) + "\n"
