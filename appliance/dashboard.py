"""Puts the pages and the API of all nouns together, as one Litestar application. Only app.py uses it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from litestar import Litestar, Router
from litestar.di import Provide
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from litestar.plugins import InitPlugin

from appliance import __version__
from appliance.accounts.access import PUBLIC
from appliance.accounts.guards import check_routes
from appliance.accounts.routes import routes as account_routes
from appliance.alerts.routes import routes as alert_routes
from appliance.config import Config
from appliance.issues.routes import routes as issue_routes
from appliance.metadata.database import Database
from appliance.outcomes.routes import routes as outcome_routes
from appliance.performance.routes import routes as performance_routes
from appliance.plugins import PluginHost
from appliance.projects.routes import routes as project_routes
from appliance.releases.routes import routes as release_routes
from appliance.replays.routes import routes as replay_routes
from appliance.sessions.routes import routes as session_routes
from appliance.system.routes import routes as system_routes
from appliance.traces.routes import routes as trace_routes

MAX_REQUEST_BYTES: Final = 1024 * 1024  # of a form or an API call; SDK traffic has its own limits

TOKEN: Final = SecurityScheme(
    type="http", scheme="bearer", description="An API token: Account → Tokens, or `condev token create`."
)

ROUTES: Final[list[Any]] = [
    *account_routes,
    *project_routes,
    *issue_routes,
    *performance_routes,
    *replay_routes,
    *release_routes,
    *session_routes,
    *trace_routes,
    *outcome_routes,
    *alert_routes,
    *system_routes,
]


def make_dashboard(
    given: Mapping[str, object], more_routes: Sequence[Router], plugins: Sequence[InitPlugin]
) -> Litestar:
    """The dashboard and the API.

    Args:
        given: what handlers may ask for, by name.
        more_routes: beside those of the nouns.
        plugins: of Litestar: who may do what, and the pages' own.

    Raises:
        UndeclaredRouteError: a route does not say who may use it.
    """
    app = Litestar(
        route_handlers=[*ROUTES, *more_routes],
        plugins=plugins,
        dependencies={name: Provide(_giving(value), sync_to_thread=False) for name, value in given.items()},
        openapi_config=OpenAPIConfig(
            title="Condev Monitor",
            version=__version__,
            render_plugins=[JsonRenderPlugin(path="/")],
            openapi_router=Router("/api/v1/schema", route_handlers=[], opt=PUBLIC),
            components=Components(security_schemes={"token": TOKEN}),
            security=[{"token": []}],
        ),
        request_max_body_size=MAX_REQUEST_BYTES,
        logging_config=None,
        signature_types=[Config, Database, PluginHost],
    )
    check_routes(app)  # now, where the error names the route, not in a server's start-up log
    return app


def _giving(value: object) -> Callable[[], Any]:
    def give() -> Any:
        return value

    return give
