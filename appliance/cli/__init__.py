"""The `condev` command: collects the verbs, each group of which has a file of its own."""

from __future__ import annotations

import gc
import importlib
from pathlib import Path
from typing import Final, cast

import click

from appliance import __version__
from appliance.cli.context import DEFAULT_CONFIG, DEFAULT_DATA_DIR, CliContext

# Verb → module and attribute. Loaded when asked for: `condev project create` must not pay for the web framework.
VERBS: Final = {
    "apply": "appliance.cli.apply:apply",
    "backup": "appliance.cli.backup:backup",
    "config": "appliance.cli.config:config",
    "dead-letters": "appliance.cli.dead_letters:dead_letters",
    "doctor": "appliance.cli.doctor:doctor",
    "demo": "appliance.cli.serve:demo",
    "healthcheck": "appliance.cli.healthcheck:healthcheck",
    "init": "appliance.cli.accounts:init",
    "logs": "appliance.cli.operate:logs",
    "migrate": "appliance.cli.operate:migrate",
    "notify": "appliance.cli.notify:notify",
    "plan": "appliance.cli.deploy:plan",
    "plugins": "appliance.cli.plugins:plugins",
    "project": "appliance.cli.projects:project",
    "restore": "appliance.cli.backup:restore",
    "render": "appliance.cli.deploy:render",
    "restart": "appliance.cli.operate:restart",
    "rollback": "appliance.cli.apply:rollback",
    "serve": "appliance.cli.serve:serve",
    "status": "appliance.cli.operate:status",
    "support-bundle": "appliance.cli.support:support_bundle",
    "token": "appliance.cli.accounts:token",
    "upgrade": "appliance.cli.apply:upgrade",
    "user": "appliance.cli.accounts:user",
    "where": "appliance.cli.accounts:where",
}


_COLLECT_AFTER: Final = 100_000  # objects more than were freed; all modules of a verb are some 300,000


class _Verbs(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = VERBS.get(cmd_name)
        if place is None:
            return None
        module, _, attribute = place.partition(":")
        command = cast("click.Command", getattr(importlib.import_module(module), attribute))
        _take_common_options(command)
        return command


def _set_config(context: click.Context, _parameter: click.Parameter, value: Path | None) -> None:
    if value is not None:
        cast("CliContext", context.obj).config_path = value


def _set_data_dir(context: click.Context, _parameter: click.Parameter, value: Path | None) -> None:
    if value is not None:
        cast("CliContext", context.obj).data_dir = value.resolve()


def _take_common_options(command: click.Command) -> None:
    """--config and --data-dir may stand behind any verb, not only before it."""
    if isinstance(command, click.Group):
        for verb in command.commands.values():
            _take_common_options(verb)
        return
    if any(parameter.name == "common_config" for parameter in command.params):
        return
    command.params += [
        click.Option(
            ["--config", "common_config"],
            type=click.Path(path_type=Path),
            expose_value=False,
            callback=_set_config,
            help="config.toml to read.  [env: CONDEV_CONFIG; default: ./config.toml if it exists]",
        ),
        click.Option(
            ["--data-dir", "common_data_dir"],
            type=click.Path(path_type=Path, file_okay=False),
            expose_value=False,
            callback=_set_data_dir,
            help="Where everything is kept.  [env: CONDEV_DATA_DIR; default: ./data]",
        ),
    ]


@click.command(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option(
    "--config", "config_path", envvar="CONDEV_CONFIG", type=click.Path(path_type=Path), help="As behind a verb."
)
@click.option(
    "--data-dir",
    envvar="CONDEV_DATA_DIR",
    type=click.Path(path_type=Path, file_okay=False),
    default=DEFAULT_DATA_DIR,
    help="As behind a verb.",
)
@click.version_option(__version__, prog_name="condev")
@click.pass_context
def condev(context: click.Context, config_path: Path | None, data_dir: Path) -> None:
    """Condev Monitor: self-hosted front-end monitoring in one appliance."""
    if config_path is None and DEFAULT_CONFIG.is_file():
        config_path = DEFAULT_CONFIG
    context.obj = CliContext(config_path, data_dir)


def main() -> None:
    """The entry point of the `condev` command."""
    # What a verb imports stays until it ends; looking through it again and again was an eighth of its time.
    gc.set_threshold(_COLLECT_AFTER, 20, 50)
    condev(prog_name="condev")
