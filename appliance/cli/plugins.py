"""`condev plugins`: what is installed, and whether it fits."""

from __future__ import annotations

import re
from pathlib import Path
from string import Template
from typing import Final

import click

from appliance.cli.context import CliContext, fail, print_json
from appliance.cli.host import load_plugins
from appliance.cli.host_files import refuse_lost

TEMPLATES: Final = Path(__file__).parent / "new_plugin"
# What each kind is for, in its README.
KINDS: Final = {
    "notifier": 'Name it in a channel: `[channels] email = ["$name", "smtp"]`; try it with `condev notify test email`.',
    "processor": 'It runs as soon as it is installed; `[plugins] disabled = ["$name"]` switches it off.',
    "protocol": "Requests to `POST /$name/KEY` are taken as soon as it is installed; KEY is a project's ingest key.",
    "event-store": 'Choose it with `[storage] backend = "$name"`.',
    "rule": "It can be chosen in the rules of a project, under Alerts.",
}
_NAME: Final = re.compile(r"[a-z][a-z0-9]*([_-][a-z0-9]+)*")
MAX_NAME: Final = 40  # of a plugin


@click.group()
def plugins() -> None:
    """List, check or begin plugins."""


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


@plugins.command()
@click.argument("kind", type=click.Choice(list(KINDS)))
@click.argument("name")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    help="Where the folder of the distribution is made.  [default: here]",
)
def new(kind: str, name: str, out: Path) -> None:
    """Begin a plugin: a small distribution that builds, installs, works and passes the tests of its contract."""
    if not _NAME.fullmatch(name) or len(name) > MAX_NAME:
        fail(f"a plugin's name is lower-case words, at most {MAX_NAME} characters, such as my_chat; got {name!r}", 2)
    refuse_lost(out)
    plugin = name.replace("-", "_")
    from appliance.hookspecs import API_VERSION

    words = {
        "kind": kind,
        "name": plugin,
        "title": plugin.replace("_", " ").capitalize(),
        "camel": "".join(part.capitalize() for part in plugin.split("_")),
        "module": f"condev_{kind.replace('-', '_')}_{plugin}",
        "distribution": f"condev-{kind}-{plugin.replace('_', '-')}",
        "api": API_VERSION,
        "use": Template(KINDS[kind]).substitute(name=plugin),
    }
    folder = out / words["distribution"]
    files = {
        "pyproject.toml": "pyproject.toml.txt",
        "README.md": "README.md.txt",
        f"{words['module']}.py": f"{kind}.py.txt",
        f"tests/test_{plugin}.py": f"{kind}_test.py.txt",
    }
    try:
        (folder / "tests").mkdir(parents=True)
        for path, template in files.items():
            text = Template((TEMPLATES / template).read_text("utf-8")).substitute(words)
            (folder / path).write_text(text, "utf-8")
    except FileExistsError:
        fail(f"{folder} is there already: choose another name, or move it away")
    except OSError as error:
        fail(f"cannot write {folder}: {error.strerror}")
    click.echo(f"{folder}: change {words['module']}.py, then run pytest in it; README.md says the rest")
