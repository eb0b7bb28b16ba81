"""What the handlers of performance are given, by the names that app.py provides."""

from __future__ import annotations

from typing import Any

from litestar import Request
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath

from appliance.accounts.access import Actor
from appliance.hookspecs import Clock
from appliance.performance.service import PerformanceService

AnyRequest = Request[Any, Any, State]
Acting = NamedDependency[Actor]
Performance = NamedDependency[PerformanceService]
Time = NamedDependency[Clock]
PathText = FromPath[str]
