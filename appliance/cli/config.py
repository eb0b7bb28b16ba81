"""`condev config`: is the file right, and what is in force."""

from __future__ import annotations

import json
from typing import Any, cast

import click
import tomli_w

from appliance.cli.context import CliContext
from appliance.cli.host import load_plugins
from appliance.config_shown import exposed_secrets, shown


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
    click.echo(tomli_w.dumps(_without_none(values)))


def _without_none(table: dict[str, Any]) -> dict[str, Any]:
    """TOML has no null: what is not set is left out."""
    return {
        key: _without_none(cast("dict[str, Any]", value)) if isinstance(value, dict) else value
        for key, value in table.items()
        if value is not None
    }
