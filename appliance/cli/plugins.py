"""`condev plugins`: what is installed, and whether it fits."""

from __future__ import annotations

import click

from appliance.cli.context import CliContext, fail, print_json
from appliance.cli.host import load_plugins


@click.group()
def plugins() -> None:
    """List or check the installed plugins."""


@plugins.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_obj
def list_(context: CliContext, as_json: bool) -> None:
    """Every plugin with its version, where it comes from, and the hooks it implements."""
    host = load_plugins(context)
    rows = [
        {
            "name": plugin.info.name,
            "version": plugin.info.version,
            "origin": plugin.origin,
            "hooks": list(plugin.hooks),
            "errors": plugin.errors,
        }
        for plugin in host.plugins.values()
    ]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        click.echo(f"{row['name']:20} {row['version']:10} {row['origin']:14} {', '.join(row['hooks'])}")
        for error in row["errors"]:
            click.echo(f"{'':20} failed: {error}")


@plugins.command()
@click.pass_obj
def check(context: CliContext) -> None:
    """Load every plugin and say what is wrong: exit code 2 when one does not fit, 1 when one failed to register."""
    host = load_plugins(context)
    failures = [f"{name}: {error}" for name, plugin in host.plugins.items() for error in plugin.errors]
    if failures:
        fail("\n".join(failures))
    click.echo(f"{len(host.plugins)} plugins: all right")
