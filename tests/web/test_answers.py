"""What surrounds every answer: headers, error pages, fragments, static files, the CSRF token, live streams."""

from __future__ import annotations

import asyncio
import gzip
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import brotli
import pytest
from litestar import get, post
from litestar.testing import TestClient

from appliance.testing.dashboard import OWNER, MadeUpIssues, dashboard
from appliance.web.assets import Assets, AssetsMissingError
from appliance.web.live import LiveStreams, Message, TooManyStreamsError
from appliance.web.pages import AnyRequest, redirect


@get("/api/v1/broken")
async def broken_api() -> None:
    raise RuntimeError("a secret detail")


@get("/broken")
async def broken_page() -> None:
    raise RuntimeError("a secret detail")


@post("/away")
async def away(request: AnyRequest) -> Any:
    return redirect(request, str((await request.form()).get("to", "")))


@pytest.fixture
def client() -> Iterator[TestClient[Any]]:
    with TestClient(
        dashboard(OWNER, handlers=[broken_api, broken_page, away]), raise_server_exceptions=False
    ) as client:
        yield client


def test_every_answer_carries_the_security_headers(client: TestClient[Any]) -> None:
    for path in ("/issues", "/nowhere", "/broken", "/api/v1/broken", "/issues/1"):
        headers = client.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert re.fullmatch(r"[0-9a-f]{16}", headers["x-request-id"])


def test_no_page_has_inline_script_style_or_handler(client: TestClient[Any]) -> None:
    for path in ("/issues", "/issues/1", "/issues/1/events", "/issues/1/grouping", "/nowhere"):
        html = client.get(path).text
        assert not re.search(r"<script(?![^>]*\bsrc=)", html)
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=\"|javascript:", html), path


def test_an_unexpected_error_shows_the_request_id_and_nothing_of_the_cause(client: TestClient[Any]) -> None:
    answer = client.get("/broken")
    assert answer.status_code == 500
    assert answer.headers["x-request-id"] in answer.text
    assert "secret" not in answer.text


def test_the_api_answers_errors_as_problem_documents(client: TestClient[Any]) -> None:
    for path, status in (("/api/v1/broken", 500), ("/api/v1/nowhere", 404)):
        answer = client.get(path)
        assert answer.status_code == status
        assert answer.headers["content-type"].startswith("application/problem+json")
        problem = answer.json()
        assert problem["status"] == status
        assert problem["request_id"] == answer.headers["x-request-id"]
        assert "secret" not in answer.text


def test_a_wrong_method_says_so(client: TestClient[Any]) -> None:
    answer = client.delete("/issues")
    assert answer.status_code == 405
    assert "GET" in answer.headers["allow"]


def test_htmx_gets_the_changed_part_and_everybody_else_the_page(client: TestClient[Any]) -> None:
    whole = client.get("/issues").text
    part = client.get("/issues", headers={"HX-Request": "true"}).text
    boosted = client.get("/issues", headers={"HX-Request": "true", "HX-Boosted": "true"}).text
    assert "<html" in whole
    assert "<html" in boosted
    assert "<html" not in part
    assert part.strip().startswith('<div id="issues"')


def test_an_error_for_htmx_becomes_a_toast_and_leaves_the_page(client: TestClient[Any]) -> None:
    answer = client.get("/issues/99999", headers={"HX-Request": "true"})
    assert answer.status_code == 404
    assert answer.headers["hx-retarget"] == "#toast"
    assert "<html" not in answer.text


@pytest.mark.parametrize("target", ["//evil.example", "https://evil.example", "/\\evil.example", ""])
def test_a_redirect_never_leaves_this_host(client: TestClient[Any], target: str) -> None:
    answer = client.post("/away", data={"to": target}, follow_redirects=False)
    assert answer.status_code == 500
    assert "location" not in answer.headers


def test_forms_carry_the_token(client: TestClient[Any]) -> None:
    html = client.get("/issues/1").text
    forms = re.findall(r'<form[^>]*method="post".*?</form>', html, re.DOTALL)
    assert forms
    assert all('name="_csrf_token" value="made-up"' in form for form in forms)


def test_static_files_are_found_by_hash_cached_for_ever_and_compressed(client: TestClient[Any]) -> None:
    url = re.search(r'href="(/static/[0-9a-f]{12}/css/app.css)"', client.get("/issues").text)
    assert url
    plain = client.get(url[1], headers={"Accept-Encoding": "identity"})
    assert plain.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert plain.headers["content-type"] == "text/css; charset=utf-8"
    assert b"@layer tokens" in plain.content
    handler = Assets()
    asset, current = handler.find(url[1].removeprefix("/static/")) or pytest.fail("not found")
    assert current
    assert gzip.decompress(asset.gzip) == asset.body == brotli.decompress(asset.br) == plain.content
    assert client.get(url[1], headers={"Accept-Encoding": "gzip"}).headers["content-encoding"] == "gzip"


def test_a_file_of_an_old_version_is_served_and_not_cached(client: TestClient[Any]) -> None:
    answer = client.get("/static/000000000000/js/app.js")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("path", ["../pages.py", "..%2fpages.py", "js/../../pages.py", "", "css/00-tokens.css"])
def test_nothing_but_static_files_is_served(client: TestClient[Any], path: str) -> None:
    assert client.get(f"/static/{path}").status_code == 404


def test_a_package_without_its_scripts_says_how_to_get_them(tmp_path: Any) -> None:
    with pytest.raises(AssetsMissingError, match=r"hatch_build\.py"):
        Assets(tmp_path)


# ── live streams ──


async def _nothing() -> AsyncIterator[Message]:
    await asyncio.Event().wait()
    yield Message(event="never", data={})


async def _one() -> AsyncIterator[Message]:
    yield Message(event="issues", data={"ids": [7]})
    await asyncio.Event().wait()


async def _yes() -> bool:
    return True


async def _no() -> bool:
    return False


async def _chunks(stream: Any, count: int) -> list[bytes]:
    return [await anext(stream.iterator) for _ in range(count)]


async def test_a_stream_says_what_happened_and_beats_in_between() -> None:
    live = LiveStreams()
    stream = live.stream(1, _one(), _yes, heartbeat=0.01)
    assert await _chunks(stream, 3) == [
        b"retry: 5000\n\n",
        b'event: issues\ndata: {"ids":[7]}\n\n',
        b": still here\n\n",
    ]


async def test_a_stream_ends_when_its_reader_is_signed_out() -> None:
    live = LiveStreams()
    stream: Any = live.stream(1, _nothing(), _no, heartbeat=0.01)
    assert [chunk async for chunk in stream.iterator][-1] == b"event: ended\ndata: {}\n\n"
    assert live.open == 0


async def test_streams_are_bounded_for_each_user_and_in_all() -> None:
    live = LiveStreams(per_user=2, total=3)
    for user in (1, 1, 2):
        live.stream(user, _nothing(), _yes)
    with pytest.raises(TooManyStreamsError):
        live.stream(1, _nothing(), _yes)
    with pytest.raises(TooManyStreamsError):
        live.stream(3, _nothing(), _yes)


async def test_a_stream_that_ends_gives_its_place_back() -> None:
    live = LiveStreams(per_user=1)
    stream: Any = live.stream(1, _nothing(), _yes)
    await _chunks(stream, 1)
    live.stop()
    assert [chunk async for chunk in stream.iterator] == []
    assert live.open == 0
    live.stream(1, _nothing(), _yes)


def test_too_many_streams_answer_429(monkeypatch: pytest.MonkeyPatch) -> None:
    app = dashboard(OWNER, MadeUpIssues(0))
    app.state["live"] = LiveStreams(per_user=0)
    with TestClient(app) as client:
        answer = client.get("/issues/live")
        assert answer.status_code == 429
        assert answer.headers["retry-after"] == "60"
