"""The rendered Caddyfile, run by the real Caddy in front of two small servers."""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config import Config
from appliance.dashboard import MAX_REQUEST_BYTES
from appliance.deploy.extensions import load_extensions
from appliance.deploy.render.caddy import CORE_BODY
from appliance.deploy.render.paths import all_paths, path_pattern, sdk_pattern
from appliance.hookspecs import Answer, Decoded, DecodeError, IngestRequest, Peek, Protocol, Route, Verdict
from appliance.ingest.routes import RouteTable
from appliance.model import Record
from appliance.web.sdk_files import SdkFiles

from .tools import BIN, configured, rendered

ENVELOPE = "/api/7/envelope/"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Echo(BaseHTTPRequestHandler):
    """Says who it is and what it was sent; /stream sends an event and waits before the next."""

    protocol_version = "HTTP/1.1"
    name: ClassVar[str]
    go_on: ClassVar[threading.Event]

    def do_GET(self) -> None:
        if self.path == "/stream":
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(b"data: one\n\n")
            self.go_on.wait(30)
            self.wfile.write(b"data: two\n\n")
            self.close_connection = True
            return
        length = int(self.headers.get("Content-Length", 0))
        received = len(self.rfile.read(length))
        body = {"by": self.name, "path": self.path, "received": received, "headers": dict(self.headers)}
        text = json.dumps(body | {"filler": "x" * 2000}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Server", "behind")
        self.send_header("Connection", "close")  # so that one that was stopped answers no more
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
        self.close_connection = True

    do_POST = do_OPTIONS = do_GET  # noqa: N815 - the names that http.server looks for

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: tests say what went wrong."""


class Behind:
    """One of the two servers."""

    def __init__(self, name: str) -> None:
        self.go_on = threading.Event()
        handler = type("Handler", (Echo,), {"name": name, "go_on": self.go_on})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.go_on.set()
        self.server.shutdown()
        self.server.server_close()


class Front:
    """A running Caddy."""

    def __init__(self, port: int, folder: Path) -> None:
        self.port = port
        self.folder = folder
        self.tls: ssl.SSLContext | None = None

    def ask(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> tuple[int, Mapping[str, str], bytes]:
        connection = self.connect()
        try:
            connection.request(method, path, body=body, headers=dict(headers or {}))
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def connect(self) -> http.client.HTTPConnection:
        if self.tls is None:
            return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        return http.client.HTTPSConnection("monitor.test", self.port, timeout=30, context=self.tls)


def local(text: str, ingest: int, core: int, port: int, health: int) -> str:
    """The file as rendered, with loopback addresses in place of the stack's."""
    return (
        text.replace("ingest:8001", f"127.0.0.1:{ingest}")
        .replace("core:8000", f"127.0.0.1:{core}")
        .replace("\n:80 {", f"\nhttp://:{port} {{\n\tbind 127.0.0.1")
        .replace("\nmonitor.test {", f"\nmonitor.test:{port} {{")
        .replace("\tadmin off\n", "\tadmin off\n\tauto_https disable_redirects\n", 1)
        .replace("http://127.0.0.1:2020 {", f"http://127.0.0.1:{health} {{")
    )


@contextmanager
def running(folder: Path, caddyfile: str) -> Generator[Front]:
    """Caddy with this file, on two free ports, `behind` them nothing yet: see `stack`."""
    ports = dict.fromkeys(("port", "health"), 0)
    ports = {name: free_port() for name in ports}
    path = folder / "Caddyfile"
    path.write_text(caddyfile.replace("{PORT}", str(ports["port"])).replace("{HEALTH}", str(ports["health"])))
    log = (folder / "caddy.log").open("wb")
    process = subprocess.Popen(
        [BIN / "caddy", "run", "--config", path, "--adapter", "caddyfile"],
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME":
             str(folder)},
        stdout=log, stderr=log,
    )  # fmt: skip
    try:
        until = time.monotonic() + 60
        while True:
            assert process.poll() is None, (folder / "caddy.log").read_text()
            assert time.monotonic() < until, (folder / "caddy.log").read_text()
            try:
                connection = http.client.HTTPConnection("127.0.0.1", ports["health"], timeout=5)
                connection.request("GET", "/healthz")
                assert connection.getresponse().status == 200
                connection.close()
                break
            except OSError:
                time.sleep(0.05)
        yield Front(ports["port"], folder)
    finally:
        process.terminate()
        process.wait(30)
        log.close()


@contextmanager
def stack(folder: Path, text: str = "") -> Generator[tuple[Front, Behind, Behind]]:
    """Caddy as rendered for a config.toml, ingest and core behind it."""
    ingest, core = Behind("ingest"), Behind("core")
    files = rendered(configured(folder, text))[1]
    source = local(files["Caddyfile"], ingest.port, core.port, 11111, 22222)
    source = source.replace("11111", "{PORT}").replace("22222", "{HEALTH}")
    try:
        with running(folder, source) as front:
            yield front, ingest, core
    finally:
        ingest.stop()
        core.stop()


@pytest.mark.parametrize(
    "text",
    [
        "",
        '[deploy]\ndomain = "monitor.example.com"\n',
        '[deploy]\ndomain = "monitor.example.com"\ntls = "internal"\n',
        '[deploy]\ndomain = "monitor.example.com"\ntls = "off"\n',
        '[deploy]\ntarget = "behind-proxy"\n[site]\nurl = "https://monitor.example.com"\n',
        '[deploy]\ntarget = "tunnel"\n[site]\nname = "A <b>`{$HOME}`\\" name"\ntrusted_proxies = ["203.0.113.0/24"]\n',
    ],
)
def test_caddy_takes_the_file_and_would_not_write_it_otherwise(tmp_path: Path, text: str) -> None:
    path = tmp_path / "Caddyfile"
    path.write_text(rendered(configured(tmp_path, text), 2.2)[1]["Caddyfile"])
    environment = {"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    for verb in (["validate", "--adapter", "caddyfile", "--config", path], ["fmt", "--diff", path]):
        done = subprocess.run([BIN / "caddy", *verb], check=False, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_sdk_paths_go_to_ingest_and_the_rest_to_core(tmp_path: Path) -> None:
    with stack(tmp_path) as (front, _, _):
        for path in (
            ENVELOPE,
            "/api/7/store",
            "//tracking//key/",
            "/dsn-api/app-config?appId=x",
            "/healthz",
            "/v2/key?enc=gzip",
            "/sdk.js",
            "/sdk/1.0.0/vitals.js",
        ):
            assert json.loads(front.ask("GET", path)[2])["by"] == "ingest", path
        for path in ("/", "/api/v1/projects", "/api/seven/envelope/", "/tracking", "/api/7/envelope/x", "/sdkx.js"):
            assert json.loads(front.ask("GET", path)[2])["by"] == "core", path


def test_a_client_cannot_say_who_it_is(tmp_path: Path) -> None:
    with stack(tmp_path) as (front, _, _):
        status, _, body = front.ask("POST", ENVELOPE, {"X-Forwarded-For": "198.51.100.9"}, b"{}")
        assert status == 200
        assert json.loads(body)["headers"]["X-Forwarded-For"] == "127.0.0.1"


def test_a_proxy_in_front_can_say_who_the_client_is(tmp_path: Path) -> None:
    text = '[deploy]\ntarget = "behind-proxy"\nsubnet = "127.0.0.0/24"\n[site]\nurl = "https://m.example.com"\n'
    with stack(tmp_path, text) as (front, _, _):
        _, _, body = front.ask("GET", "/", {"X-Forwarded-For": "198.51.100.9", "X-Forwarded-Proto": "https"})
        headers = json.loads(body)["headers"]
        assert headers["X-Forwarded-For"] == "198.51.100.9, 127.0.0.1"
        assert headers["X-Forwarded-Proto"] == "https"


def test_while_ingest_is_away_each_protocol_says_so_in_its_own_words_and_the_browser_may_read_it(
    tmp_path: Path,
) -> None:
    with stack(tmp_path) as (front, ingest, _):
        ingest.stop()
        status, headers, body = front.ask("POST", ENVELOPE, {"Origin": "https://shop.example"}, b"{}")
        assert status == 429
        assert headers["retry-after"] == "10"
        assert headers["access-control-allow-origin"] == "*"
        assert headers["x-sentry-rate-limits"].startswith("10:")
        assert json.loads(body)["detail"]
        status, headers, body = front.ask("POST", "/tracking/key", {}, b"{}")
        assert (status, headers["retry-after"]) == (429, "10")
        assert json.loads(body)["ok"] is False
        asked = {"Origin": "https://shop.example", "Access-Control-Request-Headers": "x-sentry-auth"}
        status, headers, _ = front.ask("OPTIONS", ENVELOPE, asked)
        assert (status, headers["access-control-allow-headers"]) == (204, "x-sentry-auth")
        assert "POST" in headers["access-control-allow-methods"]
        assert json.loads(front.ask("GET", "/")[2])["by"] == "core"


def test_while_core_is_away_people_get_a_page_and_sdks_are_still_served(tmp_path: Path) -> None:
    with stack(tmp_path, '[site]\nname = "Our <Monitor>"\n') as (front, _, core):
        core.stop()
        status, headers, body = front.ask("GET", "/issues")
        assert (status, headers["retry-after"], headers["cache-control"]) == (503, "10", "no-store")
        assert "server" not in headers
        assert headers["content-type"] == "text/html; charset=utf-8"
        assert body.startswith(b"<!doctype html>")
        assert b"Our Monitor is not reachable just now" in body
        assert json.loads(front.ask("POST", ENVELOPE, {}, b"{}")[2])["by"] == "ingest"


def test_events_of_a_live_page_arrive_at_once_though_answers_are_compressed(tmp_path: Path) -> None:
    with stack(tmp_path) as (front, _, core):
        status, headers, _ = front.ask("GET", "/", {"Accept-Encoding": "gzip"})
        assert (status, headers["content-encoding"]) == (200, "gzip")
        connection = front.connect()
        connection.request("GET", "/stream", headers={"Accept": "text/event-stream"})
        answer = connection.getresponse()
        assert answer.readline() == b"data: one\n"  # the second is not sent before this has arrived
        core.go_on.set()
        assert b"data: two\n" in answer.read()
        connection.close()


def test_bodies_are_bounded_as_config_toml_says(tmp_path: Path) -> None:
    text = '[ingest]\nmax_body = "2m"\nmax_compressed_body = "1m"\n'
    with stack(tmp_path, text) as (front, _, _):
        assert front.ask("POST", "/login", {}, b"x" * (CORE_BODY + 1))[0] == 413
        # A little over ingest's own limit still reaches it: it refuses in the protocol's words.
        assert json.loads(front.ask("POST", ENVELOPE, {}, b"x" * (2 << 20) + b"y")[2])["received"] == (2 << 20) + 1
        assert front.ask("POST", ENVELOPE, {}, b"x" * (3 << 20))[0] == 413


def test_what_core_takes_is_what_caddy_lets_through() -> None:
    assert CORE_BODY == MAX_REQUEST_BYTES


def test_https_of_its_own_authority_with_hsts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = socket.getaddrinfo

    def resolve(host: Any, *words: Any, **named: Any) -> Any:
        return known("127.0.0.1" if host == "monitor.test" else host, *words, **named)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with stack(tmp_path, '[deploy]\ndomain = "monitor.test"\ntls = "internal"\n') as (front, _, _):
        root = tmp_path / "caddy/pki/authorities/local/root.crt"
        certificate = tmp_path / "caddy/certificates/local/monitor.test/monitor.test.json"  # written last
        until = time.monotonic() + 30
        while not certificate.exists() and time.monotonic() < until:
            time.sleep(0.05)
        front.tls = ssl.create_default_context(cafile=str(root))
        status, headers, body = front.ask("GET", "/")
        assert status == 200
        assert headers["strict-transport-security"] == "max-age=31536000"
        assert json.loads(body)["headers"]["X-Forwarded-Proto"] == "https"


# ── paths ──


class Odd(Protocol):
    """A protocol of a third party, with characters in its path that a regular expression reads otherwise."""

    name = "Odd-Protocol"
    routes = (
        Route(path="/v1/traces.json", methods=("POST",), name="traces"),
        Route(path="/x-{key}/in+out/{project_id}", methods=("PUT",), name="mixed"),
    )

    def peek(self, request: IngestRequest) -> Peek:
        raise DecodeError("never asked")

    def decode(self, record: Record) -> Decoded:
        raise DecodeError("never asked")

    def answer(self, verdict: Verdict) -> Answer:
        return Answer(status=503, body=b"it is `away`", headers=(("Retry-After", str(verdict.retry_after)),))


FIRST_PARTY = load_extensions(Config(), Path("/nowhere")).protocols
PROTOCOLS = (*FIRST_PARTY, Odd())
TABLE = RouteTable(PROTOCOLS)
WORDS = ["api", "7", "0123456789012345678", "envelope", "store", "tracking", "key", "dsn-api", "replay", "v1",
         "traces.json", "tracesXjson", "x-key", "in+out", "innout", "healthz", "a.b", "v2", "sdk", "sdk.js",
         "sdk.js.map", "sdk-errors", "sdk-errors.js", "sdkxjs", "shop", "shop.js", "shop-errors", ""]  # fmt: skip


@given(st.lists(st.sampled_from(WORDS), max_size=5), st.booleans())
def test_what_caddy_sends_to_ingest_is_what_ingest_claims(words: list[str], slash: bool) -> None:
    import re

    path = "/" + "/".join(words) + ("/" if slash else "")
    claimed = TABLE.find(path)
    for script in ("sdk.js", "shop.js"):
        files = SdkFiles(None, Path("/nowhere"), script).claims(path)
        assert bool(re.search(sdk_pattern(script), path)) == files, (script, path)
        assert bool(re.search(all_paths(PROTOCOLS, script), path)) == (claimed is not None or files), (script, path)
    for protocol in PROTOCOLS:
        mine = claimed is not None and any(match.protocol is protocol for match in claimed.values())
        assert bool(re.search(path_pattern(protocol), path)) == mine, (protocol.name, path)


def test_a_third_partys_protocol_is_routed_and_worded_too(tmp_path: Path) -> None:
    from appliance.deploy.extensions import Extensions

    files = rendered(configured(tmp_path), extensions=Extensions(PROTOCOLS))[1]
    ingest, core = Behind("ingest"), Behind("core")
    source = local(files["Caddyfile"], ingest.port, core.port, 11111, 22222)
    try:
        with running(tmp_path, source.replace("11111", "{PORT}").replace("22222", "{HEALTH}")) as front:
            assert json.loads(front.ask("POST", "/v1/traces.json", {}, b"{}")[2])["by"] == "ingest"
            assert json.loads(front.ask("POST", "/v1/tracesXjson", {}, b"{}")[2])["by"] == "core"
            ingest.stop()
            status, headers, body = front.ask("POST", "/v1/traces.json", {}, b"{}")
            assert (status, headers["retry-after"], body) == (503, "10", b"it is `away`")
    finally:
        core.stop()
        ingest.server.server_close()
