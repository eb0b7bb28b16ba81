"""The pages of this folder over HTTP, on an origin of their own, each with the SDK as an application puts it in."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

from appliance.testing.running import Owner, RunningAppliance

HERE = Path(__file__).parent
MARK = "<!-- sdk -->"  # where a page wants the SDK
TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript"}
T = TypeVar("T")
DEADLINE = 90  # seconds for the pipeline, on a machine that does other things, too


class World:
    """An appliance with one project, the pages, and what the API says about the project."""

    def __init__(self, running: RunningAppliance, address: str) -> None:
        """Args: running: started; address: of the pages."""
        self.running = running
        self.owner = Owner(running)
        self.address = address
        self.options: dict[str, Mapping[str, Any]] = {}  # of single pages, by their path
        self.served: dict[str, str] = {}  # more files, by their path

    def page(self, path: str) -> str:
        """The address of a page, as "white/empty_root.html"."""
        return f"{self.address}/{path}"

    def get(self, path: str) -> Any:
        """Of the project's part of the API."""
        return self.running.get(f"/api/v1/projects/{self.owner.project_id}/{path}", self.owner.token)

    def tag(self, path: str) -> str:
        """The script element for a page."""
        options = {"dsn": self.owner.project["condev_dsn"], **self.options.get(path, {})}
        words = [
            f'data-{_dashed(name)}="{escape(value if isinstance(value, str) else json.dumps(value))}"'
            for name, value in options.items()
        ]
        return f'<script src="{self.running.url}/sdk.js" {" ".join(words)} defer></script>'


@contextmanager
def world(folder: Path) -> Generator[World]:
    """Args: folder: for the appliance's data."""
    made: list[World] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0].lstrip("/")
            text = made[0].served.get(path)
            if text is None and (HERE / path).suffix in TYPES and (HERE / path).is_file():
                text = (HERE / path).read_text("utf-8")
            self.send_response(404 if text is None else 200)
            self.send_header("Content-Type", TYPES.get(Path(path).suffix, "text/plain"))
            self.end_headers()
            self.wfile.write((text or "").replace(MARK, made[0].tag(path)).encode())

        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing."""

    with RunningAppliance(folder / "data") as running, ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made.append(World(running, f"http://127.0.0.1:{server.server_port}"))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield made[0]
        server.shutdown()


async def until(look: Callable[[], T | None], what: Callable[[], object], seconds: float = DEADLINE) -> T:
    """What the look gives, once it gives something; fails after so many seconds, with what is missing."""
    try:
        async with asyncio.timeout(seconds):
            while True:
                found = await asyncio.to_thread(look)
                if found:
                    return found
                await asyncio.sleep(0.25)
    except TimeoutError:
        raise AssertionError(f"waited for {what()}") from None


def _dashed(name: str) -> str:
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in name)
