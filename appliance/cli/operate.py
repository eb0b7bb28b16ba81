"""`condev logs`, `condev status`, `condev restart` and `condev migrate`: the running stack."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import click
import msgspec

from appliance.cli.context import CliContext, fail, print_json, run
from appliance.deploy.apply.engine import Compose, ServiceState
from appliance.deploy.apply.journal import Releases, Step
from appliance.deploy.apply.layout import DEFAULT_DIR, ApplyError, Installation
from appliance.deploy.apply.schemas import running_of

SHOWN_LINES: Final = "200"  # of each service's log, unless asked otherwise

_dir = click.option(
    "--dir", "directory", envvar="CONDEV_DIR", type=click.Path(path_type=Path, file_okay=False), default=DEFAULT_DIR,
    show_default=True, help="Where the appliance is installed.",
)  # fmt: skip


@click.command()
@click.argument("services", nargs=-1)
@_dir
@click.option("--follow", "-f", is_flag=True, help="Go on until interrupted.")
@click.option("--tail", default=SHOWN_LINES, show_default=True, help='Lines of each service, or "all".')
@click.option("--since", default="", help='From then on: "10m", "2026-01-31T12:00:00".')
def logs(services: tuple[str, ...], directory: Path, follow: bool, tail: str, since: str) -> None:
    """Show the logs of SERVICES (core, ingest, caddy, …), or of all."""
    if tail != "all" and not tail.isdigit():
        fail(f'--tail {tail}: a number of lines, or "all"', code=2)
    compose = _compose(directory)
    try:
        _known(compose, services)
        code = compose.logs(services, follow=follow, tail=tail, since=since)
    except ApplyError as error:
        fail(str(error))
    except KeyboardInterrupt:
        code = 0
    sys.exit(code)


@click.command()
@click.argument("services", nargs=-1)
@_dir
def restart(services: tuple[str, ...], directory: Path) -> None:
    """Stop and start SERVICES, or all, as they are. To take a changed config.toml, use `condev apply`."""
    compose = _compose(directory)
    try:
        _known(compose, services)
        compose.restart(services)
    except ApplyError as error:
        fail(str(error))
    click.echo(f"restarted: {', '.join(services) or 'all services'}")


@click.command()
@_dir
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def status(directory: Path, as_json: bool) -> None:
    """Show which release runs, and how each service is. Exit code 1 when one is not well."""
    installation = Installation(directory.absolute())
    compose = _compose(directory)
    try:
        states = sorted(compose.states(), key=lambda state: state.service)
        missing = sorted(set(compose.services()) - {state.service for state in states})
    except ApplyError as error:
        fail(str(error))
    release = Releases(installation).current
    running = running_of(installation.data)
    unfinished = [one.name for one in Releases(installation).unfinished()]
    well = not missing and not unfinished and all(state.well for state in states)
    if as_json:
        print_json(
            {
                "ok": well,
                "release": release.name if release else None,
                "version": running.version if running else None,
                "unfinished": unfinished,
                "services": msgspec.to_builtins(states),
                "missing": missing,
            }
        )
    else:
        good = (
            next((one for one in release.entries() if one.step is Step.SELF_TEST and one.note), None)
            if release
            else None
        )
        click.echo(f"release {release.name if release else 'none'}, version {running.version if running else 'none'}")
        if good is not None:
            click.echo(f"when it was applied, {good.note}")
        for state in states:
            click.echo(_line(state))
        for name in missing:
            click.echo(f"  {name:12} is not there: run `condev apply`")
        for name in unfinished:
            click.echo(f"{name} was interrupted: run `condev apply`, which finishes or undoes it")
    sys.exit(0 if well else 1)


@click.command()
@click.pass_obj
def migrate(context: CliContext) -> None:
    """Bring both stores to this version's schema and end. `condev serve` does so too when it starts."""
    from appliance.cli.host import load_plugins

    plugins = load_plugins(context)

    async def bring() -> int:
        async with context.open_metadata():
            store = plugins.event_store()
            await store.open()
            await store.close()
            return store.schema().version

    version = run(bring)
    click.echo(f"the metadata are up to date, the event store has schema version {version}")


def _compose(directory: Path) -> Compose:
    installation = Installation(directory.absolute())
    if not installation.compose.is_file():
        fail(f"there is no stack in {installation.root}: run `condev apply`, or say where it is with --dir")
    return Compose(installation.root)


def _known(compose: Compose, services: tuple[str, ...]) -> None:
    known = compose.services()
    unknown = sorted(set(services) - set(known))
    if unknown:
        raise ApplyError(f"no service {unknown[0]!r}; there are {', '.join(sorted(known))}")


def _line(state: ServiceState) -> str:
    mark = "ok" if state.well else "NOT WELL"
    cut_off = "" if state.connected else ", on no network: run `condev apply`"
    return f"  {state.service:12} {mark:9} {state.status}{cut_off}"
