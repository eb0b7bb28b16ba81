"""`condev plan` shows how the stack is sized for a host; `condev render` writes its files."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import click
import msgspec
from msgspec import structs

from appliance.cli.context import CliContext, fail
from appliance.cli.host_files import refuse_lost
from appliance.config import ByteSize, Config
from appliance.config_file import ConfigError, byte_size
from appliance.deploy.extensions import Extensions, load_extensions, load_without_secrets
from appliance.deploy.host_facts import HostFacts, detect
from appliance.deploy.plan import Plan, PlanError, Setting, size_text
from appliance.deploy.sizing import make_plan

DEFAULT_DIRECTORY: Final = "/opt/condev"
Verb = TypeVar("Verb", bound=Callable[..., object])


class _Size(click.ParamType[ByteSize]):
    name = "size"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> ByteSize:
        try:
            return byte_size(value)
        except ValueError as error:
            self.fail(f"{value!r}: {error}", param, ctx)


def _host_options(verb: Verb) -> Verb:
    """--memory, --cpus, --disk and --dir."""
    for option in (
        click.option("--dir", "directory", default=DEFAULT_DIRECTORY, show_default=True, envvar="CONDEV_DIR",
                     type=click.Path(path_type=Path, file_okay=False), help="Where the stack lies or will lie."),
        click.option("--disk", type=_Size(), help="Disk of the host, e.g. 40g; default: of the file system of --dir."),
        click.option("--cpus", type=float, help="Processors of the host; default: as found."),
        click.option("--memory", type=_Size(), help="Memory of the host, e.g. 2g; default: as found."),
    ):  # fmt: skip
        verb = option(verb)
    return verb


@click.command()
@_host_options
@click.option("--json", "as_json", is_flag=True, help="As JSON, sizes in bytes.")
@click.pass_obj
def plan(
    context: CliContext, memory: int | None, cpus: float | None, disk: int | None, directory: Path, as_json: bool
) -> None:
    """Show what each service of the stack gets on this host, or another, and why. Exit code 2 when it does not fit."""
    made = _make(context, memory, cpus, disk, directory)[1]
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(made), indent=2).decode())
    else:
        click.echo(_table(made))


@click.command()
@_host_options
@click.option(
    "--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Directory to write to; is made."
)
@click.pass_obj
def render(
    context: CliContext, memory: int | None, cpus: float | None, disk: int | None, directory: Path, out: Path
) -> None:
    """Write compose.yaml, Caddyfile and the engines' files, sized as `condev plan` shows. Holds no secrets."""
    from appliance.deploy.render import render as render_files

    refuse_lost(out)
    config, made, extensions = _make(context, memory, cpus, disk, directory)
    try:
        files = render_files(config, made, extensions)
        for name, text in files.items():
            path = out / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
            path.chmod(0o644)  # read by the containers' own users; nothing in it is secret
            click.echo(path)
    except PlanError as error:
        fail(str(error), code=2)
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}; give another directory with --out")


def _make(
    context: CliContext, memory: int | None, cpus: float | None, disk: int | None, directory: Path
) -> tuple[Config, Plan, Extensions]:
    """The configuration with the flags in it, the plan, and what plugins add; ends the process when one is wrong."""
    try:
        config = load_without_secrets(context.config_path)
        # The appliance's own directory by default: in the checkout, and before the first install, there is none.
        extensions = load_extensions(config, context.data_dir)
        return config, make_plan(config, _facts(config, memory, cpus, disk, directory), extensions.services), extensions
    except (ConfigError, PlanError) as error:
        fail(str(error), code=2)


def _facts(config: Config, memory: int | None, cpus: float | None, disk: int | None, directory: Path) -> HostFacts:
    """What was found, with the flags in its place: they go before config.toml, and speak of whatever host is meant."""
    facts = detect(Path("/"), directory)
    if memory is not None:
        facts, config.deploy.memory = structs.replace(facts, memory=int(memory)), ByteSize(0)
    if cpus is not None:
        facts, config.deploy.cpus = structs.replace(facts, cpus=cpus), 0.0
    if disk is not None:
        facts, config.deploy.disk = structs.replace(facts, disk=int(disk)), ByteSize(0)
    return facts


def _table(made: Plan) -> str:
    """The plan for a person: a line a number, each with its reason."""
    facts = made.facts
    lines = [
        f"Profile {made.profile}, target {made.target}: {size_text(facts.memory)} of memory, {facts.cpus:g} CPUs, "
        f"{size_text(facts.disk)} of disk; events {_WHERE[made.event_store]}, metadata {_WHERE[made.metadata]}.",
        "",
    ]
    rows = [("service", "memory", "CPUs", "pids", "why")]
    rows += [(s.name, _mebibytes(s.memory), f"{s.cpus:g}", str(s.pids), s.reason) for s in made.services]
    rows.append(("the host", _mebibytes(made.reserve.memory), "", "", made.reserve.reason))
    rows.append(("not given", _mebibytes(made.unplanned), "", "", "the host's cache of files"))
    rows.append(("sum", _mebibytes(facts.memory), "", "", ""))
    lines += [*_columns(rows), ""]
    settings = [("setting", "value", "why")]
    settings += [(_label(one), _value(one), one.reason) for one in made.settings]
    settings.append(("days", f"{made.days.days:,.0f}", f"until bytes run out: {made.days.reason}"))
    lines += _columns(settings)
    for note in made.notes:
        lines += ["", *textwrap.wrap(f"Note: {note}", _width())]
    return "\n".join(lines)


_WHERE: Final = {
    "embedded": "in the embedded ClickHouse",
    "server": "in a ClickHouse server",
    "elsewhere": "elsewhere",
    "sqlite": "in SQLite",
    "postgres": "in Postgres",
}


def _label(setting: Setting) -> str:
    return setting.name if setting.part == "config" else f"{setting.part}: {setting.name}"


def _value(setting: Setting) -> str:
    return size_text(int(setting.value)) if setting.unit == "bytes" else str(setting.value)


def _mebibytes(size: int) -> str:
    """In one unit, so that a column can be added up."""
    return f"{size >> 20:,} MiB"


def _width() -> int:
    """Of the terminal; a file or a pipe gets whole lines of a usual width."""
    if not sys.stdout.isatty():
        return 140
    return max(80, min(160, os.get_terminal_size().columns))


def _columns(rows: list[tuple[str, ...]]) -> list[str]:
    """Rows with their columns aligned; the last is wrapped below itself."""
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]) - 1)]
    start = sum(widths) + 2 * len(widths)
    lines: list[str] = []
    for row in rows:
        head = "".join(f"{cell:<{width}}  " for cell, width in zip(row[:-1], widths, strict=True))
        why = textwrap.wrap(row[-1], max(40, _width() - start)) or [""]
        lines.append((head + why[0]).rstrip())
        lines += [" " * start + more for more in why[1:]]
    return lines
