"""`condev healthcheck`: the image's own check. Imports little, since it runs every few seconds."""

from __future__ import annotations

import socket

import click

from appliance.cli.context import fail


@click.command()
@click.option("--port", default=8000, show_default=True, type=click.IntRange(1, 65535), help="Where it listens.")
def healthcheck(port: int) -> None:
    """Ask the appliance on this machine whether it lives; exit code 1 when it does not answer."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=3) as connection:
            connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            status = connection.recv(64).split(b" ")[1:2]
    except OSError as error:
        fail(f"nothing answers on 127.0.0.1:{port}: {error.strerror or error}")
    if status != [b"200"]:
        fail(f"127.0.0.1:{port}/healthz does not answer 200")
