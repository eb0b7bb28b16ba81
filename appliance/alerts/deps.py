"""What the handlers of alerts are given, by the names that app.py provides, and the kinds of their parameters."""

from __future__ import annotations

from typing import Annotated

from litestar.di import NamedDependency
from litestar.params import PathParameter, QueryParameter

from appliance.accounts.access import Actor
from appliance.alerts.schemas import MAX_PAGE
from appliance.alerts.service import AlertService
from appliance.projects.service import ProjectService

Acting = NamedDependency[Actor]
Alerts = NamedDependency[AlertService]
Projects = NamedDependency[ProjectService]

Id = Annotated[int, PathParameter(ge=1, le=2**63 - 1)]
PathText = Annotated[str, PathParameter(max_length=200)]
Text = Annotated[str, QueryParameter(max_length=200)]
Slug = Annotated[str, QueryParameter(name="project", max_length=64, description="A project's slug; all without it.")]
MessageState = Annotated[str, QueryParameter(name="state", max_length=16)]
Number = Annotated[int | None, QueryParameter(ge=1, le=2**63 - 1)]
Flag = Annotated[bool | None, QueryParameter()]
Limit = Annotated[int, QueryParameter(ge=1, le=MAX_PAGE, description="How many, at most 200.")]
Cursor = Annotated[str, QueryParameter(max_length=18, description="`next` of the answer before.")]
