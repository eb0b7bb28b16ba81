"""What the handlers of replays are given, by the names that app.py provides."""

from __future__ import annotations

from typing import Any

from litestar import Request
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath

from appliance.accounts.access import Actor
from appliance.hookspecs import Clock
from appliance.issues.service import IssueService
from appliance.replays.service import ReplayService

AnyRequest = Request[Any, Any, State]
Acting = NamedDependency[Actor]
Issues = NamedDependency[IssueService]
Replays = NamedDependency[ReplayService]
Time = NamedDependency[Clock]
PathInt = FromPath[int]
PathText = FromPath[str]
