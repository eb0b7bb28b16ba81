"""Where a stack keeps its state on the host, and whose it must be before the containers start."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from appliance.deploy.plan import Plan

APPLIANCE_USER: Final = 10001  # as in the image
POSTGRES_USER: Final = 999  # as in the official image on Debian
CLICKHOUSE_USER: Final = 101  # as in the official image


class StateDirectory(Struct, frozen=True):
    """A directory that `condev apply` makes: Docker would make it root's."""

    path: str  # relative to the appliance's directory
    user: int  # uid and gid
    mode: int


def state_directories(plan: Plan) -> tuple[StateDirectory, ...]:
    """The bind-mounted directories of a plan; none for Coolify, which has named volumes."""
    if plan.target == "coolify":
        return ()
    found = [
        StateDirectory("data", APPLIANCE_USER, 0o700),
        StateDirectory("plugins", APPLIANCE_USER, 0o755),
    ]
    if plan.has("caddy"):
        # Certificates and their keys.
        found += [StateDirectory("caddy/data", APPLIANCE_USER, 0o700)]
        found += [StateDirectory("caddy/config", APPLIANCE_USER, 0o700)]
    # May be entered, not listed: what is in them tells the next plan which stores hold data.
    if plan.has("postgres"):
        found.append(StateDirectory("postgres", POSTGRES_USER, 0o711))
    if plan.has("clickhouse"):
        found.append(StateDirectory("clickhouse-data", CLICKHOUSE_USER, 0o711))
    return tuple(found)
