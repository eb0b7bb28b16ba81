"""The snippets of docs/behind-a-proxy.md, run in front of the rendered Caddy of that target."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .test_caddyfile import ENVELOPE, Behind, Front, free_port, local, running
from .tools import configured, rendered

PAGE = (Path(__file__).parents[3] / "docs" / "behind-a-proxy.md").read_text("utf-8")
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")


def snippet(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


@contextmanager
def behind_proxy(folder: Path) -> Generator[tuple[Front, Behind]]:
    """The stack's own Caddy, as the page's config.toml renders it; its network is the loopback one here."""
    toml = snippet("toml") + 'subnet = "127.0.0.0/27"\n'
    ingest, core = Behind("ingest"), Behind("core")
    source = local(rendered(configured(folder, toml))[1]["Caddyfile"], ingest.port, core.port, 11111, 22222)
    try:
        with running(folder, source.replace("11111", "{PORT}").replace("22222", "{HEALTH}")) as front:
            yield front, core
    finally:
        ingest.stop()
        core.stop()


@contextmanager
def nginx(folder: Path, upstream: int) -> Generator[Front]:
    port = free_port()
    server = snippet("nginx").replace("127.0.0.1:8080", f"127.0.0.1:{upstream}")
    server = re.sub(r"^    (http2|ssl_certificate\w*) .*\n", "", server, flags=re.MULTILINE)
    server = server.replace("listen 443 ssl", f"listen 127.0.0.1:{port}")
    paths = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in
                    ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))  # fmt: skip
    config = folder / "nginx.conf"
    user = "user root;\n" if os.geteuid() == 0 else ""  # else its worker is nobody, who may not enter here
    config.write_text(
        f"{user}daemon off;\npid {folder}/pid;\nerror_log {folder}/error.log;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{paths}{server}}}\n"
    )
    assert NGINX is not None
    process = subprocess.Popen([NGINX, "-c", config, "-p", folder, "-e", folder / "error.log"])
    try:
        until = time.monotonic() + 30
        while True:
            assert process.poll() is None, (folder / "error.log").read_text()
            assert time.monotonic() < until
            try:
                socket.create_connection(("127.0.0.1", port), timeout=5).close()
                break
            except OSError:
                time.sleep(0.05)
        yield Front(port, folder)
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def caddy(folder: Path, upstream: int) -> Generator[Front]:
    text = snippet("caddyfile").replace("127.0.0.1:8080", f"127.0.0.1:{upstream}")
    text = text.replace("monitor.example.com {", "http://monitor.example.com:{PORT} {\n\tbind 127.0.0.1")
    health = "\nhttp://127.0.0.1:{HEALTH} {\n\trespond /healthz 200\n}\n"
    with running(folder, "{\n\tadmin off\n}\n" + text + health) as front:
        yield front


PROXIES = {
    "caddy": caddy,
    "nginx": nginx,
}


@pytest.mark.parametrize("name", PROXIES)
def test_the_snippet_hands_on_addresses_bodies_and_streams(tmp_path: Path, name: str) -> None:
    if name == "nginx" and NGINX is None:
        pytest.skip("nginx is not installed")
    inner, outer = tmp_path / "inner", tmp_path / "outer"
    inner.mkdir()
    outer.mkdir()
    with behind_proxy(inner) as (stack, core), PROXIES[name](outer, stack.port) as front:
        # The visitor here is the loopback address. What it claims may stand first, where it does not count.
        forged = {"X-Forwarded-For": "198.51.100.9", "Host": "monitor.example.com"}
        status, _, body = front.ask("POST", ENVELOPE, forged, b"x" * (20 << 20))
        assert status == 200
        seen = json.loads(body)
        assert (seen["by"], seen["received"]) == ("ingest", 20 << 20)
        assert seen["headers"]["Host"] == "monitor.example.com"
        assert seen["headers"]["X-Forwarded-For"].split(", ")[-2:] == ["127.0.0.1", "127.0.0.1"]
        assert seen["headers"]["X-Forwarded-Proto"] == "http"
        assert json.loads(front.ask("GET", "/issues", {"Host": "monitor.example.com"})[2])["by"] == "core"

        connection = front.connect()
        connection.request("GET", "/stream", headers={"Accept": "text/event-stream", "Host": "monitor.example.com"})
        answer = connection.getresponse()
        assert answer.readline() == b"data: one\n"
        core.go_on.set()
        assert b"data: two\n" in answer.read()
        connection.close()


def test_the_traefik_snippet_leads_to_the_stacks_own_proxy(tmp_path: Path) -> None:
    text = snippet("yaml")
    assert "http://condev-caddy-1:80" in text  # Compose's name of the service caddy in the project condev
    assert "docker network connect condev " in PAGE
    files = rendered(configured(tmp_path, snippet("toml")))[1]
    assert "\n    name: condev\n" in files["compose.yaml"]
