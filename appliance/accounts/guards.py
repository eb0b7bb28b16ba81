"""Who asks, may they, and did they mean to: the one guard in front of every route.

Pages are asked for with the session cookie, `/api/v1` with a bearer token; neither ever takes the other. Each route
says in `opt` which permission it needs (`requires`) or that it is public; one that says nothing keeps the process from
starting. Each change that a cookie could cause needs a CSRF token bound to that cookie, from our own origin.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast
from urllib.parse import urlsplit

import structlog
from litestar import Litestar, Request
from litestar.config.app import AppConfig
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.di import Provide
from litestar.enums import RequestEncodingType
from litestar.handlers import BaseRouteHandler
from litestar.plugins import InitPlugin
from litestar.routes import BaseRoute
from litestar.types import Scope
from litestar.utils.scope.state import ScopeState

from appliance.accounts.access import AccessError, Actor, ForbiddenError, NotSignedInError, Permission
from appliance.accounts.cookies import Cookies, send_cookies
from appliance.accounts.service import AccountService, Client
from appliance.accounts.tokens import csrf_token_is_valid, new_csrf_token, new_secret
from appliance.ingest.addresses import TrustedProxies
from appliance.web.errors import handle_refusal

AnyRequest = Request[Any, Any, State]
Connection = ASGIConnection[Any, Any, Any, State]

CSRF_FIELD: Final = "_csrf_token"
CSRF_HEADER: Final = "x-csrftoken"
API_PREFIX: Final = "/api/v1"
# For a page with a form that people send before they are signed in: it gets the cookie its token is bound to.
PUBLIC_FORM: Final[Mapping[str, object]] = {"public": True, "form": True}
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_log: Final = structlog.stdlib.get_logger(__name__)
_STALE: Final = "This page was open for too long, or in a browser that keeps no cookies. Load it again and repeat."
_ELSEWHERE: Final = "This came from another site. Open the page here and repeat it."


class UndeclaredRouteError(Exception):
    """A route that does not say who may use it. The process does not start with one."""


class AccessPlugin(InitPlugin):
    """Everything of accounts that guards the application, as one Litestar plugin."""

    def __init__(self, accounts: AccountService, site_url: str, proxies: TrustedProxies | None = None) -> None:
        """Make it.

        Args:
            accounts: knows sessions and tokens.
            site_url: where people reach the appliance: decides on cookies and on what our own origin is.
            proxies: whose X-Forwarded-For is believed; None: nobody's.
        """
        self._accounts = accounts
        self._site = _origin(site_url)
        self._proxies = proxies or TrustedProxies([])
        self.cookies = Cookies(site_url)

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """Litestar calls this while it is made."""
        cast("list[Any]", app_config.guards).append(self.guard)  # pyright: ignore[reportUnknownMemberType]
        app_config.before_send.append(send_cookies)
        cast("list[Any]", app_config.after_exception).append(self.recognise)  # pyright: ignore[reportUnknownMemberType]
        app_config.state["access"] = self
        app_config.dependencies["actor"] = Provide(acting_user, sync_to_thread=False)
        app_config.on_startup.append(check_routes)
        handlers = cast("dict[Any, Any]", app_config.exception_handlers)
        handlers.setdefault(AccessError, handle_refusal)
        return app_config

    def client(self, connection: Connection) -> Client:
        """The browser that asks, for throttling and the list of sessions."""
        peer = connection.client.host if connection.client else ""
        forwarded = ",".join(connection.headers.getall("x-forwarded-for", []))
        address = self._proxies.client(peer, forwarded)
        return Client(address=address, user_agent=connection.headers.get("user-agent", ""))

    async def still(self, connection: Connection, actor: Actor) -> bool:
        """Whether the session lives on, with the same role and projects: asked while a long answer is being sent."""
        now = await self._cookie(connection)
        return now is not None and (now.role, now.project_ids) == (actor.role, actor.project_ids)

    async def guard(self, connection: Connection, handler: BaseRouteHandler) -> None:
        """Litestar's guard of every route.

        Raises:
            NotSignedInError: nobody is known, and the route is not public.
            ForbiddenError: they may not, or the request was not meant.
        """
        if _is_automatic(handler):
            return
        permission = declared(handler, connection.scope["path"])
        api = is_api(connection.scope["path"])
        actor = await (self._bearer(connection) if api else self._cookie(connection))
        if actor is not None:
            connection.scope["user"] = actor
        if permission is not None:
            if actor is None:
                raise NotSignedInError(_unknown(connection, api))
            actor.require(permission)
        if not api:
            await self._guard_forms(connection, handler, actor)

    async def recognise(self, _error: Exception, scope: Scope) -> None:
        """Litestar's hook before an error is answered: who asked for an address that no route has.

        No guard ran for it. It opens nothing: the page that says so gets the navigation of whoever is signed in.
        """
        if scope["type"] != "http" or "route_handler" in scope or not _is_of_a_page(scope["path"]):
            return
        connection: Connection = Request(scope)
        try:
            actor = await self._cookie(connection)
        except Exception as error:  # noqa: BLE001 - the answer is an error already, and is given without a navigation
            _log.error("not_recognised", path=scope["path"], exc_info=error)
            return
        if actor is not None:
            _plain(scope)["user"] = actor
            bound = self.cookies.read(connection, "session")
            ScopeState.from_scope(scope).csrf_token = new_csrf_token(bound)  # for the button that signs out

    async def _bearer(self, connection: Connection) -> Actor | None:
        scheme, _, token = connection.headers.get("authorization", "").partition(" ")
        return await self._accounts.tokens.actor(token.strip()) if scheme.lower() == "bearer" else None

    async def _cookie(self, connection: Connection) -> Actor | None:
        token = self.cookies.read(connection, "session")
        return await self._accounts.sessions.actor(token) if token else None

    async def _guard_forms(self, connection: Connection, handler: BaseRouteHandler, actor: Actor | None) -> None:
        visitor = self.cookies.read(connection, "visitor") if "form" in handler.opt else ""
        bound = self.cookies.read(connection, "session") if actor is not None else visitor
        if _plain(connection.scope).get("method", "GET") not in _SAFE:
            self._check_origin(connection)
            sent = await _sent_token(connection)
            # A sign-in page may have been opened before another tab signed in.
            if not any(cookie and csrf_token_is_valid(sent, cookie) for cookie in (bound, visitor)):
                raise ForbiddenError(_STALE)
        if not bound and "form" in handler.opt:
            bound = new_secret()
            self.cookies.visitor(connection, bound)
        if bound:
            ScopeState.from_scope(connection.scope).csrf_token = new_csrf_token(bound)

    def _check_origin(self, connection: Connection) -> None:
        # Browsers set Sec-Fetch-Site themselves (on https and localhost); Origin is on every POST they send.
        site = connection.headers.get("sec-fetch-site", "")
        if site and site not in ("same-origin", "none"):
            raise ForbiddenError(_ELSEWHERE)
        origin = connection.headers.get("origin", "")
        if site or not origin:
            return
        own = {self._site, f"{connection.scope['scheme']}://{connection.headers.get('host', '').lower()}"}
        if _origin(origin) not in own:
            raise ForbiddenError(_ELSEWHERE)


def acting_user(request: AnyRequest) -> Actor:
    """The dependency `actor`: who asks. Raises `NotSignedInError` on a public route that nobody signed in to."""
    actor = _plain(request.scope).get("user")
    if not isinstance(actor, Actor):
        raise NotSignedInError("Sign in first.")
    return actor


def access_of(connection: Connection) -> AccessPlugin:
    """The plugin of this application: its cookies and `client`."""
    return cast("AccessPlugin", connection.app.state["access"])


def is_api(path: str) -> bool:
    """Whether this is a path of bearer tokens, never of cookies."""
    return path == API_PREFIX or path.startswith(API_PREFIX + "/")


def _is_of_a_page(path: str) -> bool:
    """Whether somebody may have meant a page by an address that no route has, and nothing else can be read into it."""
    parts = path.lower().strip("/").split("/")
    return not is_api("/" + "/".join(parts)) and not {"", ".", ".."} & set(parts)


def declared(handler: BaseRouteHandler, path: str) -> Permission | None:
    """The permission that a route needs; None for a public one.

    Raises:
        UndeclaredRouteError: it states neither, or both.
    """
    permission, public = handler.opt.get("permission"), handler.opt.get("public") is True
    if isinstance(permission, Permission) and not public:
        return permission
    if public and permission is None:
        return None
    raise UndeclaredRouteError(
        f"{path} ({handler}) does not say who may use it: give its handler opt=requires(Permission.…), or opt=PUBLIC"
    )


def check_routes(app: Litestar) -> None:
    """Raise `UndeclaredRouteError`, naming all routes that do not say who may use them."""
    problems: list[str] = []
    for route in app.routes:
        for handler in _handlers(route):
            try:
                if not _is_automatic(handler):
                    declared(handler, route.path)
            except UndeclaredRouteError as error:
                problems.append(str(error))
    if problems:
        raise UndeclaredRouteError("\n".join(problems))


def _handlers(route: BaseRoute) -> list[BaseRouteHandler]:
    several = cast("list[BaseRouteHandler] | None", getattr(route, "route_handlers", None))
    return several if several is not None else [cast("BaseRouteHandler", getattr(route, "route_handler"))]  # noqa: B009


def _is_automatic(handler: BaseRouteHandler) -> bool:
    """Litestar's own answer to OPTIONS, which tells the methods of a path and nothing else."""
    return getattr(handler, "http_methods", None) == {"OPTIONS"}


async def _sent_token(connection: Connection) -> str:
    header = connection.headers.get(CSRF_HEADER, "")
    if header or not isinstance(connection, Request):
        return header
    if connection.content_type[0] not in (RequestEncodingType.URL_ENCODED, RequestEncodingType.MULTI_PART):
        return ""
    value = (await connection.form()).get(CSRF_FIELD, "")
    return value if isinstance(value, str) else ""


def _unknown(connection: Connection, api: bool) -> str:
    if not api:
        return "Sign in first."
    if "authorization" in connection.headers:
        return "This token is unknown, revoked or expired. Make a new one under Account."
    return "Send an API token: `Authorization: Bearer cdm_…`. Make one under Account, or with `condev token create`."


def _origin(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return ""
    default = {"http": 80, "https": 443}.get(parts.scheme)
    suffix = f":{port}" if port is not None and port != default else ""
    return f"{parts.scheme}://{(parts.hostname or '').lower()}{suffix}"


def _plain(scope: Scope) -> dict[str, Any]:
    return cast("dict[str, Any]", scope)  # Litestar's typed dictionaries of scopes are only partly known
