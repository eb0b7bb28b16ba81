"""The health checks tell a process that answers from one that does not: the one in compose.yaml, and the verb."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

from appliance.cli import condev

from .tools import configured, read_compose, rendered, write


@contextmanager
def answering(status: int) -> Generator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/healthz" else 404)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def probe(folder: Path, service: str, port: int) -> int:
    """Run the service's check as Docker would, on another port."""
    test = read_compose(write(folder, rendered(configured(folder))[1]))["services"][service]["healthcheck"]["test"]
    assert test[:4] == ["CMD", "python", "-IS", "-c"]
    program = test[4].replace("8001" if service == "ingest" else "8000", str(port))
    return subprocess.run([sys.executable, "-IS", "-c", program], check=False, capture_output=True).returncode


@pytest.mark.parametrize("service", ["ingest", "core"])
def test_the_check_in_compose_yaml_passes_on_200_alone(service: str, tmp_path: Path) -> None:
    with answering(200) as port:
        assert probe(tmp_path, service, port) == 0
    assert probe(tmp_path, service, port) != 0  # nobody listens any more
    with answering(503) as port:
        assert probe(tmp_path, service, port) != 0


def test_the_verb_passes_on_200_alone() -> None:
    with answering(200) as port:
        assert CliRunner().invoke(condev, ["healthcheck", "--port", str(port)]).exit_code == 0
    done = CliRunner().invoke(condev, ["healthcheck", "--port", str(port)])
    assert done.exit_code == 1
    assert f"nothing answers on 127.0.0.1:{port}" in done.output
    with answering(500) as port:
        assert CliRunner().invoke(condev, ["healthcheck", "--port", str(port)]).exit_code == 1
