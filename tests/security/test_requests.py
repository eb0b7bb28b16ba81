"""What makes a browser do things its user did not mean: forged forms, planted cookies, other origins, other hosts.

And what every answer must carry: headers, cookie flags, no cache.
"""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Iterator
from typing import Any, Final

import httpx
import pytest

from appliance.accounts.cookies import Cookies
from appliance.accounts.forms import local_path
from appliance.accounts.tokens import new_csrf_token, new_secret
from appliance.testing.accounts import AccountApp
from appliance.testing.clock import FakeClock
from appliance.testing.databases import temporary_database

EVIL: Final = "https://evil.example"
PASSWORD: Final = "correct horse battery staple"
SIGN_IN: Final = {"email": "admin@example.com", "password": PASSWORD}


@pytest.fixture(autouse=True)
def nothing_changes(site: Any) -> Iterator[None]:
    """A refused request did nothing."""
    before = site.snapshot()
    yield
    after = site.snapshot()
    del before["sessions"], after["sessions"]  # some sign in
    assert after == before


def raw(site: Any, request: str) -> str:
    """Bytes as they are: no client between that repairs them."""
    with socket.create_connection(("127.0.0.1", site.appliance.port), timeout=10) as connection:
        connection.sendall(request.replace("\n", "\r\n").encode())
        answer = b""
        with contextlib.suppress(ConnectionResetError):  # refused before all of it was read
            while piece := connection.recv(65536):
                answer += piece
    return answer.decode("utf-8", "replace")


# ── forged forms; every form with no token at all: tests/accounts ──


@pytest.mark.parametrize(
    "path",
    ["/projects/{slug}/delete", "/issues/{issue_id}/state", "/users/{user_id}/role", "/alerts/rules", "/sign-out"],
)
def test_a_form_with_a_wrong_token_or_from_elsewhere_does_nothing(site: Any, path: str) -> None:
    owner, other = site.people["owner"].session, site.people["elsewhere"].session
    address, good = path.format(**site.ids), new_csrf_token(owner)
    fields = {"confirm": site.ids["slug"], "action": "resolve", "role": "viewer"}
    cases: dict[str, tuple[dict[str, str], dict[str, str]]] = {
        "no token": ({"_csrf_token": ""}, {}),
        "made-up": ({"_csrf_token": "A" * 64}, {}),
        "not base64": ({"_csrf_token": "é" * 20}, {}),
        "of another session": ({"_csrf_token": new_csrf_token(other)}, {}),
        "of a visitor cookie": (
            {"_csrf_token": new_csrf_token("v" * 43)},
            {"cookie": f"condev_session={owner}; condev_visitor={'v' * 43}"},
        ),
        "in the address only": ({"_csrf_token": ""}, {"query": f"?_csrf_token={good}"}),
        "in a cookie only": ({"_csrf_token": ""}, {"cookie": f"condev_session={owner}; _csrf_token={good}"}),
        "other origin": ({"_csrf_token": good}, {"origin": EVIL}),
        "null origin": ({"_csrf_token": good}, {"origin": "null"}),
        "origin that begins alike": ({"_csrf_token": good}, {"origin": f"{site.appliance.url}.evil.example"}),
        "other port": ({"_csrf_token": good}, {"origin": "http://127.0.0.1:1"}),
        "cross-site": ({"_csrf_token": good}, {"sec_fetch_site": "cross-site"}),
        "same-site": ({"_csrf_token": good}, {"sec_fetch_site": "same-site"}),
        "as plain text": ({"_csrf_token": good}, {"content_type": "text/plain"}),
        "as JSON": ({"_csrf_token": good}, {"content_type": "application/json"}),
    }
    done: list[str] = []
    for kind, (form, headers) in cases.items():
        sent = {"cookie": f"condev_session={owner}", **headers}
        answer = site.ask("POST", address + sent.pop("query", ""), form={**fields, **form}, **sent)
        if answer.status != 403:
            done.append(f"{kind}: {answer.status}")
    assert done == []


def test_no_get_does_what_a_form_does(site: Any) -> None:
    owner = site.people["owner"].session
    for path in (
        "/sign-out",
        f"/projects/{site.ids['slug']}/delete?confirm={site.ids['slug']}",
        "/alerts/rules/1/delete",
    ):
        for method in ("GET", "HEAD"):
            answer = site.ask(method, path + ("&" if "?" in path else "?") + "_method=POST", session=owner)
            assert answer.status == 405


def test_a_session_that_was_planted_before_sign_in_is_worth_nothing(site: Any) -> None:
    planted, visitor = new_secret(), new_secret()
    before = site.ask("GET", "/sign-in", cookie=f"condev_session={planted}; condev_visitor={visitor}")
    assert "condev_session" not in before.headers.get("set-cookie", "")
    answer = site.ask(
        "POST",
        "/sign-in",
        form={**SIGN_IN, "_csrf_token": new_csrf_token(visitor)},
        cookie=f"condev_session={planted}; condev_visitor={visitor}",
    )
    assert answer.status == 303
    given = re.search(r"condev_session=([\w-]{43})", answer.headers["set-cookie"])
    assert given is not None
    assert given[1] not in (planted, visitor)
    assert site.ask("GET", "/account", session=planted).status == 303
    assert site.ask("GET", "/account", session=given[1]).status == 200
    # Signing in again ends nothing of others, and gives yet another.
    again = site.ask("POST", "/sign-in", form={**SIGN_IN, "_csrf_token": new_csrf_token(given[1])}, session=given[1])
    assert again.status == 303
    assert given[1] not in again.headers["set-cookie"]
    assert site.ask("POST", "/sign-out", form={}, session=given[1]).status == 303
    assert site.ask("GET", "/account", session=given[1]).status == 303


# ── paths that are read in two ways ──


@pytest.mark.parametrize(
    "path",
    [
        "//api/v1/projects",
        "/api//v1/projects",
        "/api/v1//projects",
        "/api/v1/projects/",
        "/./api/v1/projects",
        "/%61pi/v1/projects",
        "/api/v1/../v1/projects",
        "/API/v1/projects",
        "/issues/../api/v1/projects",
    ],
)
def test_no_spelling_of_an_api_path_takes_a_cookie(site: Any, path: str) -> None:
    head = f"GET {path} HTTP/1.1\nHost: x\nCookie: condev_session={site.people['owner'].session}\nConnection: close\n\n"
    said = raw(site, head)
    status = int(said.split()[1])
    assert status in (401, 404)
    assert "quokka" not in said


@pytest.mark.parametrize(
    "path",
    [
        "//issues",
        "/issues/",
        "/%69ssues",
        "//system",
        "/healthz/../issues",
        "/static/../issues",
        "/api/v1/schema/../projects",
        "/api/v1/schema/..%2fprojects",
    ],
)
def test_no_spelling_of_a_page_opens_it_to_strangers(site: Any, path: str) -> None:
    said = raw(site, f"GET {path} HTTP/1.1\nHost: x\nConnection: close\n\n")
    status = int(said.split()[1])
    assert status in (303, 401, 404)
    assert "quokka" not in said


@pytest.mark.parametrize(
    "name",
    [
        "../app.py",
        "..%2f..%2fapp.py",
        "%2e%2e/%2e%2e/app.py",
        "....//app.py",
        "/etc/passwd",
        "..\\..\\app.py",
        "%00",
        "vendor/%2e%2e/%2e%2e/%2e%2e/app.py",
        "css/../../assets.py",
    ],
)
@pytest.mark.parametrize("start", ["/static/", "/static/0123456789ab/", "/sdk/", "/example/"])
def test_no_file_outside_is_served(site: Any, start: str, name: str) -> None:
    said = raw(site, f"GET {start}{name} HTTP/1.1\nHost: x\nConnection: close\n\n")
    assert int(said.split()[1]) in (303, 400, 404)
    assert "import " not in said
    assert "root:" not in said


# ── where one is led ──


@pytest.mark.parametrize(
    "wanted",
    [
        EVIL,
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/\t/evil.example",
        "/\n/evil.example",
        " //evil.example",
        "javascript:alert(1)",
        "http:evil.example",
        "/%0d%0aset-cookie:a=b",
        "/sign-out",
        "/\u2028/evil.example",
        "/ /evil",
    ],
)
def test_signing_in_leads_nowhere_else(site: Any, wanted: str) -> None:
    assert local_path(wanted) == "/" or local_path(wanted).startswith("/%0d") or "\u2028" in wanted
    visitor = new_secret()
    answer = site.ask(
        "POST",
        "/sign-in",
        form={**SIGN_IN, "next": wanted, "_csrf_token": new_csrf_token(visitor)},
        cookie=f"condev_visitor={visitor}",
    )
    target = httpx.URL(site.appliance.url).join(answer.headers["location"])
    assert answer.status == 303
    assert target.host == "127.0.0.1"
    assert target.path != "/sign-out"
    assert "set-cookie: a=b" not in str(answer.headers)


@pytest.mark.parametrize(
    "back", [EVIL, "//evil.example", "/issues/1@evil.example", "/issues/1\r\nX-Evil: 1", "/issues/1?é=\u2028"]
)
@pytest.mark.parametrize("htmx", [False, True])
def test_going_back_after_a_form_leads_nowhere_else(site: Any, back: str, htmx: bool) -> None:
    headers = {"hx_request": "true"} if htmx else {}
    issue = site.ids["issue_id"]
    form = {"action": "reopen", "back": back.replace("/1", f"/{issue}", 1)}  # it is open: nothing changes
    answer = site.ask("POST", f"/issues/{issue}/state", session=site.people["owner"].session, form=form, **headers)
    assert answer.status in (204, 303)
    target = httpx.URL(site.appliance.url).join(answer.headers.get("location") or answer.headers["hx-redirect"])
    assert target.host == "127.0.0.1"
    assert "x-evil" not in answer.headers


def test_odd_addresses_to_go_back_to_are_no_fault_of_ours(site: Any) -> None:
    many = "&".join(f"a{number}=1" for number in range(50))
    for back in (f"/issues?{many}", "//[", "/issues?\x00", "http://[::1"):
        form = {"action": "reopen", "id": site.ids["issue_id"], "back": back}
        answer = site.ask("POST", "/issues/actions", session=site.people["owner"].session, form=form, hx_request="true")
        assert answer.status < 500, back


def test_nothing_a_page_says_is_made_from_the_host_header(site: Any) -> None:
    session = site.people["owner"].session
    for path in (
        "/issues",
        "/projects",
        f"/projects/{site.ids['slug']}/connect",
        "/account/security",
        "/sign-in",
        "/nothing",
    ):
        for headers in (
            {"host": "forged-host.example"},
            {"x_forwarded_host": "forged-host.example"},
            {"forwarded": "host=forged-host.example"},
        ):
            answer = site.ask("GET", path, session=session, **headers)
            assert "forged-host.example" not in answer.text
            assert "forged-host.example" not in str(answer.headers)
    answer = site.ask(
        "POST",
        f"/users/{site.people['viewer'].id}/link",
        session=session,
        form={},
        host="forged-host.example",
        origin=site.appliance.url,
    )
    with_link = re.search(r"https?://[^\s\"<]+/reset/", answer.text)
    assert with_link is not None
    assert with_link[0].startswith(site.appliance.url)
    # The link is ended again, so that nothing is left of this test.
    import sqlite3

    with sqlite3.connect(site.appliance.data_dir / "metadata.db") as database:
        database.execute("DELETE FROM account_links WHERE purpose = 'reset'")


# ── what every answer carries ──


PAGES: Final = (
    "/issues",
    "/issues/{issue_id}",
    "/issues/{issue_id}/events/{event_id}/json",
    "/projects",
    "/system",
    "/users",
    "/account",
    "/account/tokens",
    "/alerts",
    "/alerts/messages",
    "/system/dead-letters/{letter_id}",
    "/sign-in",
    "/nothing-here",
    "/issues/999999",
    "/forgot-password",
    "/api/v1/projects",
    "/api/v1/nothing",
)


@pytest.mark.parametrize("path", PAGES)
def test_every_answer_of_the_dashboard_carries_its_headers(site: Any, path: str) -> None:
    person = site.people["owner"]
    credentials = {"token": person.token} if path.startswith("/api") else {"session": person.session}
    for sent in (credentials, {}, {**credentials, "hx_request": "true"}):
        headers = site.ask("GET", path.format(**site.ids), **sent).headers
        policy = dict(part.strip().partition(" ")[::2] for part in headers["content-security-policy"].split(";"))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == policy["form-action"] == "'self'"
        assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert "unsafe" not in headers["content-security-policy"]
        assert "*" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] in ("same-origin", "no-referrer")
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in headers
        assert not {"server", "x-powered-by"} & set(headers)


def test_the_api_answers_no_other_origin(site: Any) -> None:
    for method in ("OPTIONS", "GET"):
        answer = site.ask(
            method,
            "/api/v1/projects",
            token=site.people["owner"].token,
            origin=EVIL,
            access_control_request_method="GET",
            access_control_request_headers="authorization",
        )
        assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_under_https_cookies_are_bound_to_the_host(tmp_path: Any) -> None:
    async with temporary_database("sqlite", tmp_path) as database:
        made = AccountApp(database, FakeClock(), tmp_path, site_url="https://monitor.example.com")
        async with made.browser() as browser:
            answer = await browser.get("/sign-in")
            made.accounts.close()
    (cookie,) = answer.headers.get_list("set-cookie")
    flags = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert cookie.startswith("__Host-condev_")
    assert {"httponly", "secure", "path=/", "samesite=lax"} <= flags
    assert not [flag for flag in flags if flag.startswith("domain")]
    assert Cookies("https://monitor.example.com").secure
