"""All routes of issues: the pages and the JSON API."""

from __future__ import annotations

from typing import Any, Final

from litestar import Router

from appliance.issues import issue_routes, list_routes
from appliance.issues.api import api_routes
from appliance.issues.views import IssueActionError, IssueNotFoundError
from appliance.web.errors import handle_missing, handle_unprocessable

_errors: dict[Any, Any] = {IssueNotFoundError: handle_missing, IssueActionError: handle_unprocessable}

routes: Final = [
    Router(
        path="/",
        route_handlers=[
            list_routes.overview,
            list_routes.issue_list,
            list_routes.issue_values,
            list_routes.issue_figures,
            list_routes.issue_actions,
            list_routes.issue_live,
            issue_routes.issue_page,
            issue_routes.issue_event_page,
            issue_routes.issue_event_json,
            issue_routes.event_page,
            issue_routes.issue_events_page,
            issue_routes.issue_grouping_page,
            issue_routes.issue_state,
            issue_routes.issue_merge,
            issue_routes.issue_unmerge,
            *api_routes,
        ],
        exception_handlers=_errors,
    )
]
