"""All routes of traces: the pages and the JSON API."""

from __future__ import annotations

from typing import Final

from litestar.types import ControllerRouterHandler

from appliance.traces.api import api_routes
from appliance.traces.pages import page_routes

routes: Final[list[ControllerRouterHandler]] = [*page_routes, *api_routes]
