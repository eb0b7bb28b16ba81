"""`condev backup`, `condev backup verify` and `condev restore`."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

import click
import msgspec

from appliance import control
from appliance.cli.context import CliContext, fail, print_json, run
from appliance.cli.host_files import refuse_lost
from appliance.clock import SystemClock
from appliance.deploy.backup import BackupError, Manifest, Parts, Restored, Target, create
from appliance.deploy.backup import restore as restore_backup
from appliance.deploy.backup import verify as verify_backup
from appliance.deploy.backup.archive import PartFile
from appliance.deploy.backup.ownership import give_to_owner
from appliance.hookspecs import EventStoreError
from appliance.metadata.database import Database
from appliance.model import MICROSECONDS
from appliance.secret import Secret

PASSPHRASE_VARIABLE: Final = "CONDEV_BACKUP_PASSPHRASE"  # noqa: S105 - the name of one
CREATE: Final = "create"
MAX_PASSPHRASE_BYTES: Final = 4_096


P = ParamSpec("P")
R = TypeVar("R")


class _Backup(click.Group):
    """`condev backup FILE` is `condev backup create FILE`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in {*self.commands, "--help", "-h"}:
            args = [CREATE, *args]
        return super().parse_args(ctx, args)


def _passphrase(context: CliContext, file: Path | None) -> Secret | None:
    """From the file, else from the environment, else from [backup] passphrase."""
    if file is not None:
        try:
            with file.open("rb") as opened:
                text = opened.read(MAX_PASSPHRASE_BYTES).decode().rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            fail(f"the passphrase file {file} cannot be read: {error}")
        if not text:
            fail(f"the passphrase file {file} is empty: put the passphrase on its first line")
        return Secret(text)
    if os.environ.get(PASSPHRASE_VARIABLE):
        return Secret(os.environ[PASSPHRASE_VARIABLE])
    return context.config.backup.passphrase


def _cores_passphrase(context: CliContext) -> Secret | None:
    """The one that a restore in the core's container finds: the variable is there only when config.toml names it."""
    if ("env", PASSPHRASE_VARIABLE) in context.config.references.values():
        return _passphrase(context, None)
    return context.config.backup.passphrase


_passphrase_file = click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help=f"Holds the passphrase.  [else: ${PASSPHRASE_VARIABLE}, else [backup] passphrase]",
)


@click.group(cls=_Backup, invoke_without_command=False)
def backup() -> None:
    """Back everything up into one file while the appliance runs, or check such a file.

    `condev backup FILE` is short for `condev backup create FILE`.
    """


@backup.command(name=CREATE)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@_passphrase_file
@click.option("--json", "as_json", is_flag=True, help="Print the backup's manifest as JSON.")
@click.option("--before-upgrade", is_flag=True, hidden=True, help="For `condev apply`: as its restore can read it.")
@click.pass_obj
def create_command(
    context: CliContext, file: Path, passphrase_file: Path | None, as_json: bool, before_upgrade: bool
) -> None:
    """Write a backup to FILE, which must not exist. Works while the appliance runs and while it does not.

    Of a stack with databases of its own, the core must run: they are reached through it.

    With a passphrase everything is encrypted; without one the secrets are left out, and whoever has FILE can read
    the rest.
    """
    refuse_lost(file)
    passphrase = _cores_passphrase(context) if before_upgrade else _passphrase(context, passphrase_file)
    manifest = _or_fail(_create, context, file.resolve(), passphrase, before_upgrade)
    if as_json:
        print_json(msgspec.to_builtins(manifest))
        return
    if not manifest.encrypted:
        click.echo(
            "condev: warning: not encrypted, and without the secrets of .env: keep FILE to yourself, and keep a copy "
            "of .env; give a passphrase with --passphrase-file",
            err=True,
        )
    click.echo(f"{file}: {_summary(manifest)}; the pipeline stood for {manifest.pause_seconds:g} s")


@backup.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@_passphrase_file
@click.option("--json", "as_json", is_flag=True, help="Print the backup's manifest as JSON.")
@click.pass_obj
def verify(context: CliContext, file: Path, passphrase_file: Path | None, as_json: bool) -> None:
    """Read all of FILE and compare every checksum and count."""
    manifest = _or_fail(verify_backup, file, _passphrase(context, passphrase_file))
    if as_json:
        print_json(msgspec.to_builtins(manifest))
        return
    click.echo(f"{file}: all right; {_summary(manifest)}")


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@_passphrase_file
@click.option("--replace", is_flag=True, help="Over what is there, which is lost.")
@click.pass_obj
def restore(context: CliContext, file: Path, passphrase_file: Path | None, replace: bool) -> None:
    """Put FILE back, on a host of any size.

    The appliance must not run; of a stack, this stops and starts ingest and core by itself.

    Users, projects, keys, issues, events, replays and what waited in the spool are as they were. config.toml and .env
    of this host stay; those of the backup are put into DATA_DIR/restored.
    """
    from appliance.cli.restore_stack import restore_stack, stack_of
    from appliance.deploy.apply.layout import ApplyError

    passphrase = _passphrase(context, passphrase_file)
    root = stack_of(context.data_dir)
    if root is not None:
        try:
            click.echo(restore_stack(root, file, passphrase, replace=replace), nl=False)
        except (ApplyError, OSError) as error:
            fail(str(error))
        return
    restored = _or_fail(_restore, context, file, passphrase, replace)
    click.echo(f"{file} is restored: {_summary(restored.manifest)}")
    for path in restored.left:
        click.echo(f"from the backup, not in force here: {path}")


async def _create(context: CliContext, target: Path, passphrase: Secret | None, only_running: bool) -> Manifest:
    async with PartFile(target) as file:
        try:
            answer = await control.stream(
                context.data_dir, "backup", file.write, passphrase=passphrase.reveal() if passphrase else ""
            )
        except control.NotRunningError as error:
            if only_running or _has_servers(context.data_dir):
                raise BackupError(
                    "the core does not run, and its databases are reached through it: condev restart core, then again"
                ) from error
        except control.ControlError as error:
            raise BackupError(str(error)) from error
        else:
            await file.keep()
            return msgspec.convert(answer, type=Manifest)
    async with _opened(context) as parts:
        return await create(parts, target, passphrase)


def _has_servers(data_dir: Path) -> bool:
    """Whether the stack keeps data in database servers: from here, SQLite and the embedded engine would be opened."""
    from appliance.cli.restore_stack import stack_of

    root = stack_of(data_dir)
    if root is None:
        return False
    for place in (root / "postgres", root / "clickhouse-data"):
        try:
            if any(place.iterdir()):
                return True
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:  # it is there and another user's, as a server's data are
            return True
    return False


async def _restore(context: CliContext, file: Path, passphrase: Secret | None, replace: bool) -> Restored:
    from appliance.cli.host import load_plugins

    try:
        await control.call(context.data_dir, "status", timeout=5.0)
    except control.NotRunningError:
        pass
    else:
        raise BackupError(f"the appliance runs on {context.data_dir}: stop it first")
    plugins = load_plugins(context)
    os.environ["TMPDIR"] = str(context.data_dir / "tmp")
    database = Database(context.metadata_url)
    try:
        return await restore_backup(
            file,
            Target(
                config=context.config,
                data_dir=context.data_dir,
                database=database,
                store=plugins.event_store(),
                blobs=plugins.blob_store(),
            ),
            passphrase,
            replace=replace,
        )
    finally:
        await database.close()
        give_to_owner(context.data_dir)


@asynccontextmanager
async def _opened(context: CliContext) -> AsyncGenerator[Parts]:
    """The stores of an appliance that does not run."""
    from appliance.cli.host import load_plugins

    plugins = load_plugins(context)
    os.environ["TMPDIR"] = str(context.data_dir / "tmp")
    try:
        async with context.open_metadata() as database:
            store = plugins.event_store()
            await store.open()
            try:
                yield Parts(
                    config=context.config,
                    data_dir=context.data_dir,
                    database=database,
                    store=store,
                    blobs=plugins.blob_store(),
                    clock=SystemClock(),
                    pause=nullcontext,
                )
            finally:
                await store.close()
    finally:
        give_to_owner(context.data_dir)


def _or_fail(work: Callable[P, Awaitable[R]], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run it; end the process with one clear line when it cannot be done."""
    try:
        return run(work, *args, **kwargs)
    except (BackupError, EventStoreError) as error:
        fail(str(error))


def _summary(manifest: Manifest) -> str:
    at = datetime.fromtimestamp(manifest.created_at / MICROSECONDS, UTC)
    tables = manifest.metadata.tables
    return (
        f"{manifest.store.tables.get('events', 0):,} events, {tables.get('issues', 0):,} issues, "
        f"{tables.get('projects', 0):,} projects as of {at:%Y-%m-%d %H:%M:%S} UTC, by version {manifest.version}"
    )
