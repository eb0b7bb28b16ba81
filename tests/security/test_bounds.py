"""What is bounded at the door: who is given figures, how large and how deep what is sent may be."""

from __future__ import annotations

import contextlib
import socket
from typing import Any

import httpx
import pytest

from appliance.accounts.tokens import new_csrf_token, new_secret


def raw(site: Any, request: str) -> str:
    """Bytes as they are: no client between that repairs them."""
    with socket.create_connection(("127.0.0.1", site.appliance.port), timeout=10) as connection:
        connection.sendall(request.replace("\n", "\r\n").encode())
        answer = b""
        with contextlib.suppress(ConnectionResetError):  # refused before all of it was read
            while piece := connection.recv(65536):
                answer += piece
    return answer.decode("utf-8", "replace")


# ── figures for machines ──


@pytest.mark.parametrize(
    "header", ["x_forwarded_for", "forwarded", "x_real_ip", "via", "cf_connecting_ip", "x_forwarded_host"]
)
def test_metrics_are_not_for_who_comes_through_a_proxy(site: Any, header: str) -> None:
    assert site.ask("GET", "/metrics").status == 200
    assert site.ask("GET", "/metrics", **{header: "127.0.0.1"}).status == 401
    assert site.ask("GET", "/metrics", **{header: "127.0.0.1"}, token=site.narrow["issues:read"]).status == 403
    assert site.ask("GET", "/metrics", **{header: "127.0.0.1"}, token=site.narrow["system:read"]).status == 200
    assert site.ask("GET", "/metrics", **{header: "1"}, session=site.people["owner"].session).status == 401


def test_metrics_are_not_for_a_page_whose_name_was_pointed_at_this_machine(site: Any) -> None:
    assert site.ask("GET", "/metrics", host="evil.example").status == 401
    assert site.ask("GET", "/metrics", host=f"localhost:{site.appliance.port}").status == 200
    assert site.ask("GET", "/metrics", host="[::1]:9").status == 200


# ── sizes ──


def test_large_forms_and_bodies_are_refused(site: Any) -> None:
    owner = site.people["owner"]
    large = "x" * (2 * 1024 * 1024)
    assert site.ask("POST", "/account", session=owner.session, form={"name": large}).status == 413
    assert site.ask("POST", "/api/v1/projects", token=owner.token, body={"name": large}).status == 413
    visitor = new_secret()
    form = {"email": "a@example.com", "password": large, "_csrf_token": new_csrf_token(visitor)}
    assert site.ask("POST", "/sign-in", form=form, cookie=f"condev_visitor={visitor}").status == 413
    many = {f"field{number}": "x" for number in range(20_000)}
    assert site.ask("POST", "/account", session=owner.session, form=many).status < 500
    parts = "".join(f'--b\nContent-Disposition: form-data; name="f{n}"\n\nx\n' for n in range(5_000)) + "--b--\n"
    head = "POST /sign-in HTTP/1.1\nHost: x\nContent-Type: multipart/form-data; boundary=b\nConnection: close\n"
    said = raw(site, f"{head}Content-Length: {len(parts) + parts.count(chr(10))}\n\n{parts}")
    assert 400 <= int(said.split()[1]) < 500


def test_deep_and_broken_bodies_are_refused_in_words(site: Any) -> None:
    token = site.people["owner"].token
    url = f"{site.appliance.url}/api/v1/projects"
    for body in (
        b"[" * 100_000,
        b'{"name":' * 50_000,
        b"\xff\xfe",
        b'{"name": "\\ud800"}',
        b'{"name": "a\\u0000b"}x',
        b"",
        b"NaN",
    ):
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        answer = httpx.post(url, content=body, headers=headers, trust_env=False)
        assert 400 <= answer.status_code < 500, body[:20]
        assert "Traceback" not in answer.text


def test_a_handshake_for_a_web_socket_gets_no_answer_that_breaks(site: Any) -> None:
    for path in ("/", "/issues", "/static/x", "/api/v1/projects", "/healthz"):
        said = raw(
            site,
            f"GET {path} HTTP/1.1\nHost: x\nConnection: close, Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n\n",
        )
        assert int(said.split()[1]) < 500
        assert "quokka" not in said
