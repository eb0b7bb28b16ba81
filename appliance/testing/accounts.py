"""A dashboard of accounts and projects over a real metadata database: for tests of who may do what, and to look at it.

`account_app(...)` wires the real guard, pages, templates and services; `Browser` is a small client that keeps cookies
and fills forms as a person's browser does.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
from litestar import Litestar
from litestar.di import Provide
from litestar.types import ControllerRouterHandler

from appliance.accounts.guards import CSRF_FIELD, AccessPlugin
from appliance.accounts.routes import routes as account_routes
from appliance.accounts.service import AccountService
from appliance.config import Config
from appliance.hookspecs import Clock
from appliance.ingest.addresses import TrustedProxies
from appliance.metadata.database import Database
from appliance.projects.routes import routes as project_routes
from appliance.projects.service import ProjectService
from appliance.web.setup import WebPlugin

SITE: Final = "http://127.0.0.1:8000"
PASSWORD: Final = "correct horse battery"  # noqa: S105 - of made-up users
CHEAP_ROUNDS: Final = 4  # bcrypt's least: a sign-in costs 1 ms instead of 250
_TOKEN: Final = re.compile(rf'name="{CSRF_FIELD}" value="([^"]+)"')


class AccountApp:
    """The application with its services at hand."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        directory: Path,
        *,
        site_url: str = SITE,
        config: Config | None = None,
        handlers: Sequence[ControllerRouterHandler] = (),
    ) -> None:
        """Wire it.

        Args:
            database: with all tables.
            clock: time.
            directory: where `admission.json` is written.
            site_url: https makes cookies Secure.
            config: the configuration; None for the defaults.
            handlers: more routes.
        """
        config = config or Config()
        self.accounts = AccountService(database, clock, config.accounts, site_url, rounds=CHEAP_ROUNDS)
        self.projects = ProjectService(database, clock, site_url, directory / "admission.json")
        self.site_url = site_url
        given: dict[str, object] = {
            "config": config,
            "database": database,
            "clock": clock,
            "accounts": self.accounts,
            "projects": self.projects,
        }
        self.app = Litestar(
            [*account_routes, *project_routes, *handlers],
            plugins=[
                AccessPlugin(self.accounts, site_url, TrustedProxies(config.site.trusted_proxies)),
                WebPlugin(clock),
            ],
            dependencies={name: Provide(_giving(value), sync_to_thread=False) for name, value in given.items()},
            openapi_config=None,
            logging_config=None,
        )

    def browser(self, address: str = "203.0.113.5") -> Browser:
        """A new browser, with no cookies."""
        return Browser(self.app, self.site_url, address)


class Browser:
    """Keeps cookies, sends Origin as browsers do, and fills in the forms of the page it last saw."""

    def __init__(self, app: Litestar, site_url: str, address: str) -> None:
        """Args: app: the application; site_url: where it is; address: of the browser."""
        self._site = site_url
        transport = httpx.ASGITransport(app=app, client=(address, 50_000))  # pyright: ignore[reportArgumentType]
        self.http = httpx.AsyncClient(transport=transport, base_url=site_url, follow_redirects=False)
        self.token = ""  # of the last page's forms

    async def get(self, path: str, **headers: str) -> httpx.Response:
        """Open a page."""
        answer = await self.http.get(path, headers=headers)
        found = _TOKEN.search(answer.text) if "html" in answer.headers.get("content-type", "") else None
        self.token = found[1] if found else ""
        return answer

    async def post(self, path: str, fields: dict[str, Any] | None = None, **headers: str) -> httpx.Response:
        """Send a form with the token of the last page, or with the one among the fields."""
        form = {CSRF_FIELD: self.token, **(fields or {})}
        return await self.http.post(path, data=form, headers={"Origin": self._site, **headers})

    async def submit(self, page: str, fields: dict[str, Any], path: str = "") -> httpx.Response:
        """Open a page and send its form, to the same address or another."""
        await self.get(page)
        return await self.post(path or urlsplit(page).path, fields)

    async def sign_in(self, email: str, password: str = PASSWORD) -> httpx.Response:
        """Through the form."""
        return await self.submit("/sign-in", {"email": email, "password": password})

    def cookie(self, name: str) -> str:
        """The value of a cookie; "" when there is none."""
        return self.http.cookies.get(name) or ""

    async def __aenter__(self) -> Browser:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.http.aclose()


def _giving(value: object) -> Any:
    def give() -> Any:
        return value

    return give
