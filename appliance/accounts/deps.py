"""What the handlers of account and project pages are given, by the names that app.py provides."""

from __future__ import annotations

from typing import Annotated

from litestar.di import NamedDependency
from litestar.params import PathParameter

from appliance.accounts.access import Actor
from appliance.accounts.service import AccountService
from appliance.config import Config

Accounts = NamedDependency[AccountService]
Acting = NamedDependency[Actor]
Configured = NamedDependency[Config]

Id = Annotated[int, PathParameter(ge=1, le=2**63 - 1)]  # what the column holds
PathText = Annotated[str, PathParameter(max_length=200)]  # a slug or a link's secret
