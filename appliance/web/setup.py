"""Everything of `web` that an application needs, as one Litestar plugin; app.py adds it and nothing else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final, cast

import structlog
from litestar import Request
from litestar.config.app import AppConfig
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.plugins import InitPlugin
from litestar.template import TemplateConfig
from litestar.types import Scope

from appliance.hookspecs import BadCursorError, Clock, StoreUnavailableError
from appliance.web import errors, headers
from appliance.web.assets import Assets
from appliance.web.live import LiveStreams, TooManyStreamsError
from appliance.web.pages import Shell, ShellSource, is_htmx
from appliance.web.templating import PageEngine, environment

AnyRequest = Request[Any, Any, State]
_log: Final = structlog.stdlib.get_logger(__name__)


async def no_shell(_connection: object) -> Shell:
    """A navigation without projects; for tests of single pages."""
    return Shell()


class WebPlugin(InitPlugin):
    """Templates, static files, security headers, error pages, the navigation's content, live streams."""

    def __init__(
        self,
        clock: Clock,
        shell: ShellSource = no_shell,
        *,
        templates: Sequence[Path] = (),
        reload: bool = False,
        assets: Assets | None = None,
        https: bool = False,
    ) -> None:
        """Make it.

        Args:
            clock: what "3 min ago" counts from.
            shell: loads what the navigation shows; called once for each request of a page by somebody signed in.
            templates: more folders with templates.
            reload: read templates again when they change.
            assets: the static files; None reads the package's own.
            https: whether people reach the site by https: browsers are then told never to try without.
        """
        self.assets = assets or Assets()
        self.environment = environment(clock, self.assets, templates, reload)
        self.live = LiveStreams()
        self._shell = shell
        self._https = https

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """Litestar calls this while it is made."""
        app_config.template_config = TemplateConfig(instance=PageEngine(self.environment))
        app_config.route_handlers.append(self.assets.handler())
        app_config.before_send.append(headers.add_headers)
        if self._https:
            app_config.before_send.append(headers.add_transport_security)
        app_config.state["live"] = self.live
        own: dict[Any, Any] = {
            HTTPException: errors.handle_http,
            BadCursorError: errors.handle_cursor,
            StoreUnavailableError: errors.handle_unavailable,
            TooManyStreamsError: errors.handle_refusal,
            Exception: errors.handle_anything,
        }
        app_config.exception_handlers = {**own, **cast("dict[Any, Any]", app_config.exception_handlers)}
        before = cast("Callable[[AnyRequest], Awaitable[Any]] | None", app_config.before_request)

        async def load_shell(request: AnyRequest) -> Any:
            if "user" in request.scope and not _is_api(request):
                request.state.shell = await self._shell(request)
            return await before(request) if before is not None else None

        async def load_shell_of_nowhere(_error: Exception, scope: Scope) -> None:
            """Where no route has the address. A page that says who may not do something names no projects."""
            if "route_handler" in scope or "user" not in scope:
                return
            request: AnyRequest = Request(scope)
            if is_htmx(request) or _is_api(request):
                return
            try:
                request.state.shell = await self._shell(request)
            except Exception as error:  # noqa: BLE001 - it is an error's page; its navigation names no projects
                _log.error("shell_not_loaded", path=scope["path"], exc_info=error)

        app_config.before_request = load_shell
        cast("list[Any]", app_config.after_exception).append(load_shell_of_nowhere)  # pyright: ignore[reportUnknownMemberType]
        return app_config


def _is_api(request: AnyRequest) -> bool:
    return request.url.path.startswith(("/api/", "/static/"))
