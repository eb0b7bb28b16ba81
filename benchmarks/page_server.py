"""A web server for the page that benchmarks.sdk measures: the page, the SDK as the appliance serves it, an endpoint."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Final, Self

PAGE: Final = Path(__file__).parent / "sdk_page"
KEY: Final = "0123456789abcdef0123456789abcdef"
TYPES: Final = {".html": "text/html", ".js": "text/javascript"}


class PageServer:
    """Counts what was sent to it; keeps nothing."""

    def __init__(self, built: Path) -> None:
        """Args: built: where the SDK's scripts lie."""
        self.taken: Counter[str] = Counter()
        self._server = _Server(("127.0.0.1", 0), _handler(built, self.taken))
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def address(self, script: str = "") -> str:
        """Of the page with a script before its own: "sdk", or one of sdk_page/floors; by default none."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/page?{script}"


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A browser that ends resets its connections, which is no fault; all else is said."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # pyright: ignore[reportArgumentType]


def _handler(built: Path, taken: Counter[str]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            name = path.rpartition("/")[2]
            if path == "/page":
                page = (PAGE / "index.html").read_text("utf-8")
                host = self.headers["Host"]
                tag = f'<script src="/{query}.js" data-dsn="http://{host}/v2/{KEY}" defer></script>'
                self._answer(page.replace("<!-- sdk -->", tag if query else "").encode(), ".html")
            elif path == "/page.js":
                self._answer((PAGE / "page.js").read_bytes(), ".js")
            elif path.startswith("/floors/") and (PAGE / "floors" / name).is_file():
                self._answer((PAGE / "floors" / name).read_bytes(), ".js")
            elif path.startswith("/sdk") and (built / name).is_file():
                taken[name] += 1
                self._answer((built / name).read_bytes(), ".js")
            elif path == "/app-config":
                self._answer(b'{"success":true,"data":{}}')
            else:
                self._answer(json.dumps({"orders": [1, 2, 3]}).encode())

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            taken["envelopes"] += 1
            self._answer(b'{"ok":true}')

        def _answer(self, body: bytes, suffix: str = ".json") -> None:
            self.send_response(200)
            self.send_header("Content-Type", TYPES.get(suffix, "application/json"))
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Access-Control-Allow-Origin", "*")
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the page was closed meanwhile
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: a request a second would hide what the benchmark says."""

    return Handler
