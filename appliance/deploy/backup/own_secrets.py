"""config.toml and the secrets that it refers to, for a backup; and where a restore leaves them for a person to take."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, cast

import msgspec
from msgspec import Struct, field

from appliance.config import Config

MAX_BYTES: Final = 1024 * 1024  # of each file
OVERRIDES: Final = "CONDEV__"
RESTORED: Final = "restored"  # folder of the data directory


class OwnSecrets(Struct):
    """What config.toml refers to, and the file in which the installer keeps it."""

    env_file: str = ""  # the whole .env beside config.toml
    variables: dict[str, str] = field(default_factory=dict[str, str])
    files: dict[str, str] = field(default_factory=dict[str, str])  # by path


def config_text(config: Config) -> bytes:
    """config.toml as it is; b"" when everything runs on the defaults."""
    return _read(config.source) if config.source is not None else b""


def collect(config: Config, environ: Mapping[str, str] = os.environ) -> bytes:
    """Everything secret that the appliance was given, for a backup."""
    return msgspec.msgpack.encode(collect_secrets(config, environ))


def collect_secrets(config: Config, environ: Mapping[str, str] = os.environ) -> OwnSecrets:
    """Everything secret that the appliance was given."""
    found = OwnSecrets()
    raw = config_text(config)
    for kind, name in _references(tomllib.loads(raw.decode()) if raw else {}):
        if kind == "env" and name in environ:
            found.variables[name] = environ[name]
        elif kind == "file":
            found.files[name] = _read(Path(name)).decode("utf-8", "surrogateescape")
    found.variables |= {name: value for name, value in environ.items() if name.startswith(OVERRIDES)}
    if config.source is not None:
        found.env_file = _read(config.source.parent / ".env").decode("utf-8", "surrogateescape")
    return found


def leave(data_dir: Path, config: bytes, secrets: bytes) -> list[Path]:
    """Put both where a person finds them, mode 0600: a restore never replaces the host's own."""
    folder = data_dir / RESTORED
    folder.mkdir(mode=0o700, exist_ok=True)
    texts: dict[str, bytes] = {"config.toml": config} if config else {}
    if secrets:
        found = msgspec.msgpack.decode(secrets, type=OwnSecrets)
        lines = [f"{name}={value}" for name, value in sorted(found.variables.items()) if "\n" not in value]
        texts["env"] = found.env_file.encode("utf-8", "surrogateescape") or "\n".join([*lines, ""]).encode()
        for number, (path, text) in enumerate(sorted(found.files.items())):
            texts[f"secret-{number}-{Path(path).name}"] = text.encode("utf-8", "surrogateescape")
    for name, text in texts.items():
        path = folder / name
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as file:
            file.write(text)
    return [folder / name for name in texts]


def _references(value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        table = cast("dict[str, object]", value)
        for key, inner in table.items():
            if len(table) == 1 and key in ("env", "file") and isinstance(inner, str):
                yield key, inner
            else:
                yield from _references(inner)
    elif isinstance(value, list):
        for inner in cast("list[object]", value):
            yield from _references(inner)


def _read(path: Path) -> bytes:
    """A file's bytes; b"" when it is not there, or not ours to read."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES)
    except OSError:
        return b""
