"""All routes of sessions: the pages and the JSON API."""

from __future__ import annotations

from typing import Final

from litestar.types import ControllerRouterHandler

from appliance.sessions.api import api_routes
from appliance.sessions.pages import page_routes

routes: Final[list[ControllerRouterHandler]] = [*page_routes, *api_routes]
