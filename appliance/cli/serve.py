"""`condev serve` runs the appliance; `condev demo` runs it with the example page and a sign-in ready to use."""

from __future__ import annotations

import ctypes
import ipaddress
import os
import socket
import sys
from typing import TYPE_CHECKING, Final, cast

import click

from appliance.cli.context import DEFAULT_PORT, CliContext, fail
from appliance.config_file import ConfigError
from appliance.config_shown import exposed_secrets
from appliance.data_dir import ADDRESS_FILE, RESTORE_MARKER
from appliance.roles import Role

if TYPE_CHECKING:
    from appliance.cli.demo import Demo

# Read by the C library when a process starts, so they are set before it does: two heaps instead of eight for each
# core, and freed memory goes back to the system. Times are UTC everywhere: the embedded engine takes TZ as its own.
_PROCESS_ENVIRONMENT: Final = {"MALLOC_ARENA_MAX": "2", "MALLOC_TRIM_THRESHOLD_": "131072", "TZ": "UTC"}
# Beyond this a stopping server closes what is still being answered; live pages would hold it for ever.
_GRACE_SECONDS: Final = 5
_PR_SET_DUMPABLE: Final = 4
_KEEP_ALIVE_SECONDS: Final = 75  # longer than the minute of most proxies, so that they close first


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=DEFAULT_PORT, show_default=True, type=click.IntRange(0, 65535), help="Port to listen on."
)
@click.option(
    "--role",
    default="all",
    show_default=True,
    type=click.Choice([role.value for role in Role]),
    help="Which part of the appliance this process is; core = pipeline + web.",
)
@click.pass_obj
def serve(context: CliContext, host: str, port: int, role: str) -> None:
    """Run the appliance."""
    _run(context, host, port, Role(role), demo=False)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=DEFAULT_PORT, show_default=True, type=click.IntRange(0, 65535), help="Port to listen on."
)
@click.option("--traffic/--no-traffic", default=True, help="Send sample events, so that the dashboard is not empty.")
@click.pass_obj
def demo(context: CliContext, host: str, port: int, traffic: bool) -> None:
    """Run the appliance with the example page, a project, a sign-in and sample traffic; prints where to look."""
    _run(context, host, port, Role.ALL, demo=True, traffic=traffic)


def _run(context: CliContext, host: str, port: int, role: Role, *, demo: bool, traffic: bool = False) -> None:
    if any(os.environ.get(name) != value for name, value in _PROCESS_ENVIRONMENT.items()):
        environment = {**os.environ, **_PROCESS_ENVIRONMENT}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)  # noqa: S606 - this command again
    _hide_environment()
    context.prepare()
    if (context.data_dir / RESTORE_MARKER).exists():
        fail(
            f"a restore into {context.data_dir} did not finish, so half of it may be missing: "
            "run `condev restore FILE --replace` again"
        )
    # The embedded engine passes each insert through a temporary file: on disk, where a tmpfs would count as memory.
    os.environ["TMPDIR"] = str(context.data_dir / "tmp")
    for warning in exposed_secrets(context.config):
        click.echo(f"condev: warning: {warning}", err=True)
    _check_exposure(context, host)

    from appliance.logs import configure_logging

    configure_logging(context.config.log)
    import gc

    import uvicorn

    from appliance.app import create_app
    from appliance.ingest.http import BoundedHttpProtocol

    listener = _listen(host, port)
    bound = cast("tuple[str, int]", listener.getsockname())[1]  # IPv6 has two more parts
    address = context.config.site.url or f"http://{_printable(host)}:{bound}"
    if not context.config.site.url:
        (context.data_dir / ADDRESS_FILE).write_text(address, "utf-8")
    demonstration = _demonstration(context, address, traffic=traffic) if demo else None
    try:
        app = create_app(context.config, context.data_dir, role=role, site_url=address, demo=demonstration)
    except ConfigError as error:
        fail(str(error), code=2)

    class Http(BoundedHttpProtocol):
        """Ends what ingest's own deadline, which answers, has given up."""

        body_seconds = max(BoundedHttpProtocol.body_seconds, 2 * context.config.ingest.body_timeout_seconds)

    class Server(uvicorn.Server):
        """Ends the pages' live streams first: uvicorn waits for open connections, and these never close."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            # What is there now stays: modules, routes, mappers, 400,000 objects. Unless told so the collector goes
            # through all of them again and again, which was a seventh of the time that the core took for its events.
            gc.collect()
            gc.freeze()
            gc.set_threshold(10_000, 20, 50)

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            app.end_streams()
            await super().shutdown(sockets)

    server = Server(
        uvicorn.Config(
            app,
            loop="uvloop",
            http=Http,
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,  # ours believes trusted_proxies alone
            timeout_graceful_shutdown=_GRACE_SECONDS,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            backlog=2048,
            h11_max_incomplete_event_size=64 * 1024,
        )
    )
    if demonstration is None:
        click.echo(f"condev: {role.value} on {address}", err=True)
    server.run(sockets=[listener])
    if not server.started:
        sys.exit(1)


def _demonstration(context: CliContext, address: str, *, traffic: bool) -> Demo:
    from appliance.cli.demo import Demo

    return Demo(context.data_dir, address, traffic=traffic)


def _hide_environment() -> None:
    """Keep this process's environment and memory from others of the same user: the decode worker is one of them.

    Secrets come in the environment, and /proc shows it to whoever has the same user id, unless the process may not be
    dumped. What it starts begins with a new image and is not concerned.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        fail(f"cannot listen on {host}:{port}: {error.strerror}; choose another with --port")
    listener.set_inheritable(False)
    return listener


def _printable(host: str) -> str:
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def _check_exposure(context: CliContext, host: str) -> None:
    """Sign-in cookies without https over a network are everybody's: say so."""
    try:
        is_local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_local = host == "localhost"
    if not is_local and not context.config.site.url.startswith("https://"):
        click.echo(
            f"condev: warning: listening on {host} without https in site.url: passwords cross the network in clear. "
            "Put a proxy with https in front and set site.url, or listen on 127.0.0.1.",
            err=True,
        )
