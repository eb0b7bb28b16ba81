"""Reads config.toml and the environment into `Config`, and says everything that is wrong at once.

Order: built-in defaults, then the file, then `CONDEV__SECTION__KEY` variables. `decode_table` is also how the plugin
host reads a plugin's own table, so that both speak of errors in the same way.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import msgspec
from msgspec import Struct

from appliance.config import ByteSize, Config, PluginsTable
from appliance.config_keys import leaves, reference
from appliance.secret import Secret

ENV_PREFIX: Final = "CONDEV__"
MAX_CONFIG_BYTES: Final = 1024 * 1024  # a config file larger than this is some other file
_SIZE: Final = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?\s*$", re.IGNORECASE)
_UNITS: Final = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}
_NOT_KEYS: Final = ("plugin_tables", "source", "given", "references")  # of `Config`, but not of the file
_TYPE_WORDS: Final = (
    ("`int`", "a whole number"),
    ("`float`", "a number"),
    ("`str`", "a text in quotes"),
    ("`bool`", "true or false"),
    ("`array`", "a list in [ ]"),
    ("`object`", "a table"),
    ("`null`", "nothing"),
)

T = TypeVar("T", bound=Struct)


class Problem(Struct, frozen=True, kw_only=True):
    """One thing that is wrong: where it stands, and what would be right."""

    source: str  # the file, or the name of the environment variable
    key: str  # dotted
    message: str

    def __str__(self) -> str:
        return f"{self.source}: {self.key}: {self.message}" if self.key else f"{self.source}: {self.message}"


class ConfigError(Exception):
    """The configuration cannot be used; `problems` names all that is wrong."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class EnvText(str):
    """A value from the environment: a text that may stand for any type. Carries the variable's name."""

    variable: str = ""

    @classmethod
    def of(cls, text: str, variable: str) -> EnvText:
        """Make one."""
        value = cls(text)
        value.variable = variable
        return value


def load(path: Path | None, environ: Mapping[str, str] | None = None) -> Config:
    """Read the configuration.

    Args:
        path: the file; None for the defaults and the environment alone.
        environ: the environment, `os.environ` when None.

    Raises:
        ConfigError: anything is wrong; all problems are named.
    """
    environ = os.environ if environ is None else environ
    source = str(path) if path else "the environment"
    raw = _read(path) if path else {}
    _overlay_environment(raw, environ)
    problems: list[Problem] = []
    given = dict(leaves(raw))
    plugins_raw = _as_table(raw.pop("plugins", {}), "plugins", source, problems)
    own = {name: plugins_raw.pop(name) for name in list(plugins_raw) if name in PluginsTable.__struct_fields__}
    tables: dict[str, Any] = {
        name: _as_table(table, f"plugins.{name}", source, problems) for name, table in plugins_raw.items()
    }
    plugins = decode_table(own, PluginsTable, "plugins", source, environ, problems)
    for name in _NOT_KEYS:
        if name in raw:
            problems.append(Problem(source=source, key=name, message=_unknown(name, Config)))
            del raw[name]
    config = decode_table(raw, Config, "", source, environ, problems)
    if config is not None and plugins is not None:
        config.plugins = plugins
        config.plugin_tables = tables
        config.channels = {**Config().channels, **config.channels}  # a [channels] table adds to the default one
        config.source = path
        config.given = frozenset(given)
        config.references = {key: found for key, value in given.items() if (found := reference(value)) is not None}
        problems += _check(config, source)
    if problems or config is None:
        raise ConfigError(problems)
    return config


def decode_table(
    raw: Mapping[str, object],
    into: type[T],
    prefix: str,
    source: str,
    environ: Mapping[str, str],
    problems: list[Problem],
) -> T | None:
    """Decode one table strictly, key by key, so that each wrong key is named.

    Args:
        raw: the table as TOML gave it.
        into: a Struct whose fields all have defaults.
        prefix: the dotted name of the table, for messages.
        source: the file's name, for messages.
        environ: where `{ env = … }` looks.
        problems: what is wrong is appended here.

    Returns:
        The struct, or None when anything was wrong.
    """
    before = len(problems)
    fields = {field.encode_name: field for field in msgspec.structs.fields(into)}
    values: dict[str, object] = {}
    for key, value in raw.items():
        dotted = f"{prefix}.{key}" if prefix else key
        field = fields.get(key)
        if field is None:
            problems.append(Problem(source=_source_of(value, source), key=dotted, message=_unknown(key, into)))
            continue
        target = cast("object", field.type)
        struct, table = _struct_of(target), _table_of(value)
        if struct is not None and table is not None:
            nested = decode_table(table, struct, dotted, source, environ, problems)
            if nested is not None:
                values[field.name] = nested
        else:
            try:
                values[field.name] = _convert(value, target, environ)
            except (msgspec.ValidationError, ValueError) as error:
                message = _explain(value, target, error)
                problems.append(Problem(source=_source_of(value, source), key=dotted, message=message))
    return into(**values) if len(problems) == before else None


def _struct_of(target: object) -> type[Struct] | None:
    return target if isinstance(target, type) and issubclass(target, Struct) else None


def _table_of(value: object) -> dict[str, object] | None:
    return cast("dict[str, object]", value) if isinstance(value, dict) else None


def _read(path: Path) -> dict[str, Any]:
    source = str(path)
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise ConfigError([Problem(source=source, key="", message="is larger than 1 MiB: is it the right file?")])
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        message = "does not exist: give its path with --config, or leave the option out to run on the defaults"
    except IsADirectoryError:
        message = "is a directory: give the file's path"
    except PermissionError:
        message = f"cannot be read by user {os.getuid()}: change its owner or mode"
    except UnicodeDecodeError as error:
        message = f"is not UTF-8 (byte {error.start})"
    except tomllib.TOMLDecodeError as error:
        message = f"is not valid TOML: {error}"
    raise ConfigError([Problem(source=source, key="", message=message)])


def _overlay_environment(raw: dict[str, Any], environ: Mapping[str, str]) -> None:
    for variable, text in sorted(environ.items()):
        if not variable.startswith(ENV_PREFIX):
            continue
        *tables, key = [part.lower() for part in variable.removeprefix(ENV_PREFIX).split("__")]
        target = raw
        for table in tables:
            nested = target.setdefault(table, {})
            if not isinstance(nested, dict):
                nested = target[table] = {}
            target = cast("dict[str, Any]", nested)
        target[key] = EnvText.of(text, variable)


def _as_table(value: object, key: str, source: str, problems: list[Problem]) -> dict[str, Any]:
    if isinstance(value, dict):
        return cast("dict[str, Any]", value)
    where = _source_of(value, source)
    problems.append(Problem(source=where, key=key, message=f"expected a table [{key}], got {value!r}"))
    return {}


def _source_of(value: object, source: str) -> str:
    return value.variable if isinstance(value, EnvText) else source


def _from_toml(text: str) -> object:
    """A variable's text as TOML would read it, or as it stands."""
    try:
        return cast("object", tomllib.loads(f"value = {text}")["value"])
    except tomllib.TOMLDecodeError:
        return str(text)


def _convert(value: object, target: object, environ: Mapping[str, str]) -> object:
    def decode(kind: type, item: object) -> object:
        if kind is Secret:
            return read_secret(item, environ)
        if kind is ByteSize:
            return byte_size(item)
        raise NotImplementedError(f"a config struct uses {kind}, which config.toml cannot hold")

    if isinstance(value, dict):
        table = cast("dict[str, object]", value)
        value = {key: _from_toml(item) if isinstance(item, EnvText) else item for key, item in table.items()}
    if not isinstance(value, EnvText):
        return cast("object", msgspec.convert(value, target, dec_hook=decode))
    try:
        return cast("object", msgspec.convert(str(value), target, strict=False, dec_hook=decode))
    except (msgspec.ValidationError, ValueError):  # a list, a table, or a number in an odd spelling
        return cast("object", msgspec.convert(_from_toml(value), target, dec_hook=decode))


def read_secret(value: object, environ: Mapping[str, str]) -> Secret:
    """A secret from `{ env = "X" }`, `{ file = "/path" }` or a text.

    Raises:
        ValueError: it is missing, empty or unreadable; the text says which and what to do, never the value.
    """
    if isinstance(value, str):
        return Secret(value)
    if not isinstance(value, dict) or len(cast("dict[str, Any]", value)) != 1:
        raise ValueError('expected { env = "NAME" } or { file = "/path" }')
    (kind, place), *_ = cast("dict[str, Any]", value).items()
    if kind == "env" and isinstance(place, str):
        if not environ.get(place):
            raise ValueError(f"the environment variable {place} is not set")
        return Secret(environ[place])
    if kind == "file" and isinstance(place, str):
        try:
            text = Path(place).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
            raise ValueError(f"the secret file {place} cannot be read: {reason}{_unseen(place)}") from None
        if not text:
            raise ValueError(f"the secret file {place} is empty")
        return Secret(text)
    raise ValueError('expected { env = "NAME" } or { file = "/path" }')


def _unseen(place: str) -> str:
    """What to do when it may well be there: of the host's files, the container that `condev` starts sees its own."""
    directory = os.environ.get("CONDEV_DIR", "")
    if not directory or not os.environ.get("CONDEV_HOST_ROOT") or Path(place).is_relative_to(directory):
        return ""
    return f"; `condev` sees no secrets outside of {directory}: put the file there, readable for user 10001"


def byte_size(value: object) -> ByteSize:
    """A size as config.toml takes it: bytes, or a text such as "512m". Raises ValueError, worded for the reader."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return ByteSize(value)
    match = _SIZE.match(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError('expected a number of bytes, or a text such as "512m" or "10g"')
    return ByteSize(float(match[1]) * _UNITS[match[2].lower()])


def _unknown(key: str, into: type[Struct]) -> str:
    known = [field.encode_name for field in msgspec.structs.fields(into) if field.name not in _NOT_KEYS]
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    if near:
        return f"no such key; did you mean {near[0]}?"
    return f"no such key; known here: {', '.join(sorted(known))}" if known else "no such key; this table has none"


def _explain(value: object, target: object, error: Exception) -> str:
    is_secret = "Secret" in str(target)
    shown_value = "" if is_secret else f" {str(value)!r}" if isinstance(value, EnvText) else f" {value!r}"
    text = str(error).removesuffix(" - at `$`")
    for name, words in _TYPE_WORDS:
        text = text.replace(name, words)
    choices = getattr(target, "__args__", ())
    if "Invalid enum value" in text and choices:
        text = f"allowed are {', '.join(repr(choice) for choice in choices)}"
    return f"{text[0].lower()}{text[1:]}{f'; got{shown_value}' if shown_value else ''}"


_LEAST: Final = (
    ("ingest", "requests_per_second", 0),
    ("ingest", "requests_per_second_per_address", 0),
    ("ingest", "max_body", 1024),
    ("ingest", "spool_max_bytes", 1024 * 1024),
    ("ingest", "body_timeout_seconds", 0.1),
    ("pipeline", "batch_records", 1),
    ("pipeline", "batch_bytes", 64 * 1024),
    ("pipeline", "decode_timeout_seconds", 0.5),
    ("pipeline", "shutdown_seconds", 0),
    ("retention", "days", 0),
    ("retention", "bytes", 0),
    ("accounts", "session_days", 1),
    ("accounts", "link_hours", 1),
    ("accounts", "sign_in_attempts", 1),
    ("alerts", "attempts", 1),
    ("alerts", "throttle_minutes", 0),
    ("backup", "keep", 1),
    ("monitoring", "disk_days", 0),
    ("monitoring", "certificate_days", 0),
    ("monitoring", "backup_hours", 0),
    ("deploy", "events_per_day", 1),
)


def _check(config: Config, source: str) -> list[Problem]:
    """What types alone cannot say."""
    problems: list[Problem] = []

    def wrong(key: str, message: str) -> None:
        problems.append(Problem(source=source, key=key, message=message))

    url = config.site.url
    if url and not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?", url):
        wrong("site.url", f"expected an address such as https://monitor.example.com; got {url!r}")
    config.site.url = url.rstrip("/")
    for section, key, least in _LEAST:
        value = getattr(getattr(config, section), key)
        if value < least:
            wrong(f"{section}.{key}", f"must be at least {least}; got {value}")
    domain = config.deploy.domain
    if domain and not re.fullmatch(r"(?!-)[a-z0-9-]{1,63}(\.(?!-)[a-z0-9-]{1,63})*", domain):
        wrong("deploy.domain", f"expected a host name such as monitor.example.com; got {domain!r}")
    for key, message in config.sdk.problems():
        wrong(key, message)
    for channel, notifiers in config.channels.items():
        if not notifiers:
            wrong(f"channels.{channel}", 'names no notifier; give a list such as ["resend", "smtp"]')
    if config.monitoring.channel not in config.channels:
        known = ", ".join(sorted(config.channels))
        wrong("monitoring.channel", f"no such channel in [channels]: {config.monitoring.channel!r}; there is: {known}")
    return problems
