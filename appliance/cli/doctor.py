"""`condev doctor`: looks at this host and at the stack on it, and says everything at once."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, Final, TypeVar, TypeVarTuple, Unpack

import click
import msgspec

from appliance.cli.context import CliContext, print_json
from appliance.config import Config
from appliance.config_file import ConfigError, load
from appliance.deploy.doctor import DoctorContext, Finding, check_volumes
from appliance.deploy.doctor import run as run_checks
from appliance.deploy.topology import public_url
from appliance.host_services import guarded_http_client, host_services
from appliance.http_client import GuardedHttpClient
from appliance.logs import configure_logging
from appliance.plugins import PluginError, PluginHost

DEFAULT_DIR: Final = Path("/opt/condev")
MARKS: Final = {"ok": "ok     ", "warning": "WARNING", "error": "ERROR  "}
PAGE: Final = "docs/troubleshooting.md"

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")


@click.command()
@click.option(
    "--dir", "directory", envvar="CONDEV_DIR", type=click.Path(path_type=Path, file_okay=False), default=DEFAULT_DIR,
    show_default=True, help="Where the appliance is, or will be, installed.",
)  # fmt: skip
@click.option(
    "--host-root", envvar="CONDEV_HOST_ROOT", type=click.Path(path_type=Path, file_okay=False), default=Path("/"),
    show_default=True, help="The host's file system, as this process sees it; /host in our container.",
)  # fmt: skip
@click.option("--volumes", is_flag=True, help="Also write to each volume, restart its service, and read again.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_obj
def doctor(context: CliContext, directory: Path, host_root: Path, volumes: bool, as_json: bool) -> None:
    """Look at this machine, its network and the running stack, and say everything at once.

    Nothing is changed, but for --volumes. Each finding has a code, which docs/troubleshooting.md explains. Exit code 1
    when there is an error; warnings alone end with 0.
    """
    with asyncio.Runner(loop_factory=_Loop) as runner:
        findings, advice = runner.run(_examine(context, directory.absolute(), host_root, volumes))
    errors = sum(finding.level == "error" for finding in findings)
    warnings = sum(finding.level == "warning" for finding in findings)
    if as_json:
        print_json(
            {
                "ok": not errors,
                "errors": errors,
                "warnings": warnings,
                "findings": msgspec.to_builtins(findings),
                "mail": advice,
            }
        )
    else:
        _show(findings)
        click.echo(f"{_count(errors, 'error')}, {_count(warnings, 'warning')}, {len(findings)} things looked at.")
        if errors or warnings:
            click.echo(f"{PAGE} has a section for every code.")
    sys.exit(1 if errors else 0)


async def _examine(
    cli: CliContext, directory: Path, host_root: Path, volumes: bool
) -> tuple[list[Finding], dict[str, Any] | None]:
    config, problems = _config(cli)
    configure_logging(config.log)
    http = guarded_http_client(config)
    try:
        with tempfile.TemporaryDirectory(prefix="condev-doctor-") as scratch:
            plugins, plugin_problems = _plugins(config, cli.data_dir, Path(scratch), http)
            context = DoctorContext(
                config=config,
                directory=directory,
                data_dir=cli.data_dir,
                root=host_root,
                http=http,
                config_problems=[*problems, *plugin_problems],
                notifiers=plugins.notifiers if plugins is not None else None,
                health_checks=plugins.health_checks if plugins is not None else (),
            )
            findings = await run_checks(context)
            if volumes:  # after the others: it restarts services
                findings += await check_volumes(context)
            return findings, msgspec.to_builtins(context.mail_advice)
    finally:
        await http.close()


def _config(cli: CliContext) -> tuple[Config, list[str]]:
    """The configuration; with what is wrong, and the defaults in its place, when it cannot be read."""
    try:
        return load(cli.config_path), []
    except ConfigError as error:
        return Config(), [str(problem) for problem in error.problems]


def _plugins(
    config: Config, data_dir: Path, scratch: Path, http: GuardedHttpClient
) -> tuple[PluginHost | None, list[str]]:
    """Every plugin, so that notifiers can be asked; their directories are made in `scratch`: doctor writes nothing.

    Not as `load_plugins` does: it ends the process where one is wrong.
    """
    own = data_dir / "plugins.d"
    if not config.plugins.directory and own.is_dir():
        config = msgspec.structs.replace(config, plugins=msgspec.structs.replace(config.plugins, directory=str(own)))
    try:
        services = host_services(config, scratch, public_url(config) or "http://localhost", http)
        return PluginHost.load(config, services), []
    except PluginError as error:
        return None, [str(problem) for problem in error.problems]


def _show(findings: Sequence[Finding]) -> None:
    group = ""
    for finding in findings:
        if finding.group != group:
            group = finding.group
            click.echo(click.style(group, bold=True))
        mark = click.style(MARKS[finding.level], fg={"ok": "green", "warning": "yellow", "error": "red"}[finding.level])
        click.echo(f"  {mark}  {finding.code}: {finding.fact}")
        if finding.consequence:
            click.echo(f"           {finding.consequence}")
        if finding.mend:
            click.echo(f"           → {finding.mend}")


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


class _Loop(asyncio.SelectorEventLoop):
    """Blocking calls run in daemon threads: a resolver or a disk that hangs does not keep the command from ending."""

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Arguments]], T], *args: *Arguments
    ) -> asyncio.Future[T]:
        """As the base class does, for the default executor alone."""
        if executor is not None:
            return super().run_in_executor(executor, func, *args)
        future: asyncio.Future[T] = self.create_future()

        def hand_over(settle: Callable[[], None]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile: nobody waits any more
                self.call_soon_threadsafe(lambda: None if future.done() else settle())

        def work() -> None:
            try:
                result = func(*args)
            except Exception as error:  # noqa: BLE001 - handed to whoever waits
                failure = error
                hand_over(lambda: future.set_exception(failure))
            else:
                hand_over(lambda: future.set_result(result))

        threading.Thread(target=work, daemon=True, name="doctor").start()
        return future
