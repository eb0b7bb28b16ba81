"""What the handlers of issues are given, by the names that app.py provides."""

from __future__ import annotations

from typing import Any

from litestar import Request
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath

from appliance.accounts.access import Actor
from appliance.alerts.service import AlertService
from appliance.hookspecs import Clock
from appliance.issues.feed import IssueFeed
from appliance.issues.service import IssueService

AnyRequest = Request[Any, Any, State]
Acting = NamedDependency[Actor]
Alerts = NamedDependency[AlertService]
Feed = NamedDependency[IssueFeed]
Issues = NamedDependency[IssueService]
Time = NamedDependency[Clock]
PathInt = FromPath[int]
PathText = FromPath[str]
