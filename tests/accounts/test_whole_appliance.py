"""The guard over the route table of the whole appliance: strangers, forgeries and viewers on every page and API path.

The guard answers before any handler runs, so the event store is not opened here.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from litestar.handlers import BaseRouteHandler
from litestar.routes import ASGIRoute, HTTPRoute

from appliance.accounts.access import COMMAND_LINE, ROLE_PERMISSIONS, SCOPE_PERMISSIONS, Permission, Role
from appliance.accounts.guards import check_routes, declared, is_api
from appliance.accounts.tokens import new_api_token, new_secret
from appliance.app import Appliance, create_app
from appliance.config import Config
from appliance.core import Core
from appliance.data_dir import prepare_data_dir
from appliance.metadata.migrate import migrate
from appliance.roles import Role as ProcessRole
from appliance.testing.accounts import PASSWORD, SITE

# What a stranger may reach. A new public route is a decision: it is written down here.
PUBLIC = {
    "/sign-in", "/sign-in/code", "/forgot-password", "/setup/{secret}", "/invitation/{secret}", "/reset/{secret}",
    "/static", "/static/{path}", "/healthz", "/readyz", "/metrics",
    "/api/v1/schema", "/api/v1/schema/openapi.json", "/api/v1/schema/{path}",
}  # fmt: skip


@pytest.fixture
async def core(tmp_path: Path) -> AsyncIterator[Core]:
    data_dir = tmp_path / "data"
    prepare_data_dir(data_dir)
    appliance: Appliance = create_app(Config(), data_dir, role=ProcessRole.CORE, site_url=SITE)
    assert appliance.core is not None
    await migrate(appliance.core.database, data_dir)
    await appliance.core.accounts.users.create(COMMAND_LINE, "viewer@example.com", Role.VIEWER, PASSWORD)
    yield appliance.core
    appliance.core.accounts.close()
    await appliance.core.database.close()


@pytest.fixture
async def http(core: Core) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=core.web)  # pyright: ignore[reportArgumentType]
    async with httpx.AsyncClient(transport=transport, base_url=SITE) as client:
        yield client


def routes(core: Core) -> Iterator[tuple[str, str, BaseRouteHandler]]:
    """Path, method and handler of all routes but the answers to OPTIONS."""
    assert core.web is not None
    for route in core.web.routes:
        if isinstance(route, HTTPRoute):
            for handler in route.route_handlers:
                for method in handler.http_methods:
                    plain = str(getattr(method, "value", method))
                    if plain != "OPTIONS":
                        yield route.path_format, plain, handler
        elif isinstance(route, ASGIRoute):
            yield route.path_format, "GET", route.route_handler


def filled(path: str) -> str:
    return re.sub(r"\{[^}]+\}", "1", path)


def private(core: Core) -> list[tuple[str, str, Permission]]:
    found = [(path, method, declared(handler, path)) for path, method, handler in routes(core)]
    return [(path, method, permission) for path, method, permission in found if permission is not None]


async def session_of(core: Core, email: str) -> str:
    user = await core.accounts.users.find(COMMAND_LINE, email)
    async with core.database.write() as session:
        return (await core.accounts.sessions.open(session, user.id, address="203.0.113.5", user_agent="test")).token


async def test_every_route_says_who_may_use_it_and_the_public_ones_are_known(core: Core) -> None:
    assert core.web is not None
    check_routes(core.web)
    public = {path.rstrip("/") for path, _, handler in routes(core) if declared(handler, path) is None}
    assert public <= PUBLIC


async def test_strangers_and_forgers_get_nothing_from_any_route(core: Core, http: httpx.AsyncClient) -> None:
    session = await session_of(core, "viewer@example.com")
    kinds = {
        "stranger": {},
        "forged session": {"Cookie": f"condev_session={new_secret()}"},
        "session of another cookie": {"Cookie": f"condev_visitor={session}; __Host-condev_session={session}"},
        "forged token": {"Authorization": f"Bearer {new_api_token()}"},
        "session as token": {"Authorization": f"Bearer {session}"},
    }
    got: list[str] = []
    tried = 0
    for path, method, _ in private(core):
        for kind, headers in kinds.items():
            answer = await http.request(method, filled(path), headers=headers)
            tried += 1
            away = answer.status_code == 303 and answer.headers["location"].startswith("/sign-in")
            if not (answer.status_code == 401 if is_api(path) else away):
                got.append(f"{kind}: {method} {path} → {answer.status_code}")
    assert got == []
    assert tried > 200


async def test_pages_take_no_token_and_the_api_takes_no_session(core: Core, http: httpx.AsyncClient) -> None:
    session = await session_of(core, "viewer@example.com")
    viewer = await core.accounts.users.find(COMMAND_LINE, "viewer@example.com")
    token = await core.accounts.tokens.create(COMMAND_LINE, "test", list(SCOPE_PERMISSIONS), user_id=viewer.id)
    got: list[str] = []
    for path, method, _ in private(core):
        wrong = {"Cookie": f"condev_session={session}"} if is_api(path) else {"Authorization": f"Bearer {token}"}
        answer = await http.request(method, filled(path), headers=wrong)
        if answer.status_code != (401 if is_api(path) else 303):
            got.append(f"{method} {path} → {answer.status_code}")
    assert got == []


async def test_a_viewer_is_refused_wherever_their_role_does_not_reach(core: Core, http: httpx.AsyncClient) -> None:
    session = await session_of(core, "viewer@example.com")
    viewer = await core.accounts.users.find(COMMAND_LINE, "viewer@example.com")
    token = await core.accounts.tokens.create(COMMAND_LINE, "test", list(SCOPE_PERMISSIONS), user_id=viewer.id)
    got: list[str] = []
    tried = 0
    for path, method, permission in private(core):
        if permission in ROLE_PERMISSIONS[Role.VIEWER]:
            continue
        own = {"Authorization": f"Bearer {token}"} if is_api(path) else {"Cookie": f"condev_session={session}"}
        answer = await http.request(method, filled(path), headers=own)
        tried += 1
        if answer.status_code != 403:
            got.append(f"{method} {path} ({permission}) → {answer.status_code}")
    assert got == []
    assert tried > 10


async def test_no_page_changes_anything_without_a_csrf_token(core: Core, http: httpx.AsyncClient) -> None:
    await core.accounts.users.create(COMMAND_LINE, "owner@example.com", Role.OWNER, PASSWORD)
    own = {"Cookie": f"condev_session={await session_of(core, 'owner@example.com')}", "Origin": SITE}
    got: list[str] = []
    for path, method, handler in routes(core):
        if method in ("GET", "HEAD") or is_api(path):
            continue
        answer = await http.request(method, filled(path), headers=own)
        if answer.status_code != 403:
            got.append(f"{method} {path} → {answer.status_code} ({handler})")
    assert got == []
