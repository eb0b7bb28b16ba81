"""`condev apply`, `condev upgrade` and `condev rollback`: the stack on this host, and the way back."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import click

from appliance.cli.context import fail
from appliance.deploy.apply.engine import Compose
from appliance.deploy.apply.images import Images
from appliance.deploy.apply.layout import DEFAULT_DIR, ApplyError, Installation
from appliance.deploy.apply.run import Apply, Options, overlay_env
from appliance.deploy.apply.switch import roll_back
from appliance.deploy.apply.upgrade import forecast, hand_over, image_of, is_this_version

_dir = click.option(
    "--dir", "directory", envvar="CONDEV_DIR", type=click.Path(path_type=Path, file_okay=False), default=DEFAULT_DIR,
    show_default=True, help="Where the appliance is installed.",
)  # fmt: skip
_host_root = click.option(
    "--host-root", envvar="CONDEV_HOST_ROOT", type=click.Path(path_type=Path, file_okay=False), default=Path("/"),
    hidden=True,
)  # fmt: skip
_pull = click.option("--no-pull", is_flag=True, help="Use the images that are here; fetch none.")
_yes = click.option("--yes", is_flag=True, help="Do not ask. Without a terminal nothing is asked anyway.")
_dry_run = click.option("--dry-run", is_flag=True, help="Say what would be done and change nothing.")


@click.command()
@_dir
@_host_root
@_dry_run
@_pull
@_yes
@click.option("--backup/--no-backup", default=None, help="Back up first.  [default: when versions or data change]")
@click.option("--refresh", is_flag=True, hidden=True, help="As an upgrade: ask the registry for newer images.")
def apply(
    directory: Path, host_root: Path, dry_run: bool, no_pull: bool, yes: bool, backup: bool | None, refresh: bool
) -> None:
    """Bring the stack to what config.toml says, show the difference first, and prove that it works.

    A real event is sent through the public address and read back. Whatever fails, the last good release runs again, and
    the exit code is 1. Running it again with nothing changed changes nothing.
    """
    options = Options(
        dry_run=dry_run,
        pull=not no_pull,
        refresh=refresh,
        backup="auto" if backup is None else "always" if backup else "never",
        host_root=host_root,
    )
    with _failing():
        _apply(directory.absolute(), options, yes)


@click.command()
@_dir
@_host_root
@_dry_run
@_pull
@_yes
@click.option("--to", "version", default="", help="A version, e.g. 1.4.0.  [default: this image's, with newer images]")
@click.pass_context
def upgrade(
    context: click.Context, directory: Path, host_root: Path, dry_run: bool, no_pull: bool, yes: bool, version: str
) -> None:
    """Go to another version: from which to which, what is migrated, how long and how much disk it takes, then apply.

    The version's image is pulled unless it is here, and the rest is done by its own `condev apply`, so that an older
    version never does a newer one's work.
    """
    installation = Installation(directory.absolute())
    with _failing():
        if version and not is_this_version(version):
            # Asked here: the other version's container has no terminal, and would take that for "nobody is there".
            if not (yes or dry_run) and not _asked(
                f"Apply version {version.removeprefix('v')} to {installation.root}?"
            ):
                click.echo("left as it is")
                return
            arguments = ["--dir", str(installation.root), *_flags(dry_run=dry_run, no_pull=no_pull, yes=not dry_run)]
            image = image_of(installation, version)
            context.exit(hand_over(image, ["upgrade", *arguments], pull=not no_pull, say=click.echo))
        overlay_env(installation)
        images = Images()
        try:
            with installation.locked():
                lines = list(forecast(installation, images, host_root))
            for line in lines:
                click.echo(line)
        finally:
            images.close()
        if not dry_run:
            _apply(installation.root, Options(pull=not no_pull, refresh=True, host_root=host_root), yes)


@click.command()
@_dir
@_yes
@click.option("--restore", is_flag=True, help="Also put back the backup from before the upgrade, where it needs that.")
def rollback(directory: Path, yes: bool, restore: bool) -> None:
    """Go back to the good release before the one that runs. config.toml, .env and the data stay as they are.

    Where the older version cannot read the data any more, this says so, and --restore puts back the backup that the
    upgrade made; what was stored since then is lost.
    """
    installation = Installation(directory.absolute())
    with _failing():
        overlay_env(installation)
        if not yes and not _asked("Go back to the release before this one?"):
            return
        images = Images()
        try:
            good = roll_back(installation, Compose(installation.root), images, restore=restore, say=click.echo)
        finally:
            images.close()
        click.echo(f"{good.name} (version {good.record().version}) runs again.")


def _apply(root: Path, options: Options, yes: bool) -> None:
    installation = Installation(root)
    overlay_env(installation)

    def confirm(lines: list[str]) -> bool:
        for line in lines:
            click.echo(line)
        return yes or _asked("Apply this?")

    images = Images()
    try:
        one = Apply(installation, Compose(root), images, say=click.echo, confirm=confirm)
        outcome = one.run(options)
    finally:
        images.close()
    if outcome == "applied":
        click.echo(f"sign in at {one.site_url or 'the address of this host'}")
    click.echo({"unchanged": "nothing to change", "declined": "left as it is", "dry run": "nothing was changed"}.get(
        outcome, "done: the stack runs as config.toml says"
    ))  # fmt: skip


def _asked(question: str) -> bool:
    """On a terminal, what the person says; without one nobody is there to ask."""
    return not (sys.stdin.isatty() and sys.stdout.isatty()) or click.confirm(question, default=True)


def _flags(**flags: bool) -> list[str]:
    return [f"--{name.replace('_', '-')}" for name, given in flags.items() if given]


@contextmanager
def _failing() -> Generator[None]:
    """One clear line per problem and exit code 1; an interruption says how it goes on."""
    os.umask(0o022)  # what is written here is for the services too; what is not says so itself
    try:
        yield
    except ApplyError as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error}: mend that and run it again; what is half done is finished or undone first")
    except KeyboardInterrupt:
        fail("interrupted: run `condev apply` again; it finishes or undoes what is half done", code=130)
