"""What the handlers of the system are given, by the names that app.py provides, and the kinds of their parameters."""

from __future__ import annotations

from typing import Annotated

from litestar.di import NamedDependency
from litestar.params import JSONBody, PathParameter, QueryParameter
from msgspec import Meta, Struct

from appliance.accounts.access import Actor
from appliance.accounts.service import AccountService
from appliance.system.dead_letters import MAX_PAGE
from appliance.system.service import SystemService


class Letters(Struct, kw_only=True, forbid_unknown_fields=True):
    """Which dead letters; without `ids` all that are kept."""

    ids: Annotated[list[int], Meta(max_length=MAX_PAGE)] | None = None


Acting = NamedDependency[Actor]
Accounts = NamedDependency[AccountService]
System = NamedDependency[SystemService]

Limit = Annotated[int, QueryParameter(ge=1, le=MAX_PAGE, description="How many at most.")]
Cursor = Annotated[str, QueryParameter(max_length=20, description="`next` of the page before.")]
LetterId = Annotated[int, PathParameter(ge=1, le=2**63 - 1)]
Chosen = JSONBody[Letters]
