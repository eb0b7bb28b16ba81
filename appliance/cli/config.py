"""`condev config`: is the file right, and what is in force."""

from __future__ import annotations

import json

import click

from appliance.cli.context import CliContext
from appliance.cli.host import load_plugins
from appliance.config_file import exposed_secrets, shown


@click.group()
def config() -> None:
    """Check config.toml, or show what is in force."""


@config.command()
@click.pass_obj
def check(context: CliContext) -> None:
    """Read everything, plugins' tables included, and name all that is wrong. Exit code 2 if anything is."""
    load_plugins(context)
    for warning in exposed_secrets(context.config):
        click.echo(f"warning: {warning}", err=True)
    click.echo(f"{context.config_path or 'the defaults'}: all right")


@config.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON instead of TOML.")
@click.pass_obj
def show(context: CliContext, as_json: bool) -> None:
    """What is in force after the file and the environment, secrets masked."""
    values = shown(context.config)
    if as_json:
        click.echo(json.dumps(values, ensure_ascii=False, indent=2))
        return
    for line in _toml(values):
        click.echo(line)


def _toml(table: dict[str, object], prefix: str = "") -> list[str]:
    """TOML of plain values: enough for what config.toml can hold."""
    lines: list[str] = []
    nested: list[tuple[str, dict[str, object]]] = []
    for key, value in table.items():
        if isinstance(value, dict) and not ({"env", "file"} >= value.keys() and len(value) == 1):
            nested.append((f"{prefix}{key}", value))
        elif isinstance(value, dict):
            inner = ", ".join(f"{name} = {json.dumps(item)}" for name, item in value.items())
            lines.append(f"{key} = {{ {inner} }}")
        elif value is not None:
            lines.append(f"{key} = {json.dumps(value, ensure_ascii=False)}")
    for name, inner in nested:
        lines += ["", f"[{name}]", *_toml(inner, f"{name}.")]
    return lines


