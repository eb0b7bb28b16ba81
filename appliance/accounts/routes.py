"""Pages of accounts. There is no API for them: managing people takes a person."""

from __future__ import annotations

from litestar import Router

from appliance.accounts.account_routes import account_routes
from appliance.accounts.forms import MAX_FORM, Handlers
from appliance.accounts.sign_in_routes import sign_in_routes
from appliance.accounts.users_routes import users_routes

routes: Handlers = [
    Router(
        "/",
        route_handlers=[*sign_in_routes, *account_routes, *users_routes],
        request_max_body_size=MAX_FORM,
        include_in_schema=False,
    )
]
