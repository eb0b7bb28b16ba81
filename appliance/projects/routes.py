"""Pages and API of projects."""

from __future__ import annotations

from litestar import Router

from appliance.accounts.forms import MAX_FORM, Handlers
from appliance.projects.api import api_routes
from appliance.projects.pages import page_routes

routes: Handlers = [
    Router("/", route_handlers=page_routes, request_max_body_size=MAX_FORM, include_in_schema=False),
    Router("/", route_handlers=api_routes, request_max_body_size=MAX_FORM),
]
