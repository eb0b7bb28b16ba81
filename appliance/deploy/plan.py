"""A plan as values: what each service may take, what each part is told, and why; made by `appliance.deploy.sizing`."""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

from appliance.config import GIB, KIB, MIB
from appliance.deploy.host_facts import HostFacts

Profile = Literal["tiny", "small", "medium", "large"]
Unit = Literal["bytes", "number", "text"]


class ServicePlan(Struct, frozen=True, kw_only=True):
    """One container's limits."""

    name: str
    memory: int  # bytes, whole MiB; swap is not allowed beside it
    cpus: float  # cores at most
    pids: int  # processes and threads at most
    reason: str


class Setting(Struct, frozen=True, kw_only=True):
    """One value that a part is told.

    `part` says how it gets there: `config` as an environment variable of ingest and core, which goes before
    config.toml; `clickhouse` in its rendered files; `postgres` on its command line; `caddy` in its environment.
    """

    part: Literal["config", "clickhouse", "postgres", "caddy"]
    name: str  # for `config`, the dotted key of config.toml
    value: int | float | str
    reason: str
    unit: Unit = "number"


class Reserve(Struct, frozen=True, kw_only=True):
    """Memory that no service of ours is given."""

    memory: int
    reason: str


class Days(Struct, frozen=True, kw_only=True):
    """How long the bytes of retention last."""

    events_per_day: int
    bytes_per_event: int
    days: float  # until the oldest day is dropped for its bytes
    reason: str


class Plan(Struct, frozen=True, kw_only=True):
    """What `condev plan` prints and `condev render` writes out."""

    profile: Profile
    target: Literal["compose", "behind-proxy", "coolify", "tunnel"]
    facts: HostFacts
    event_store: Literal["embedded", "server", "elsewhere"]
    metadata: Literal["sqlite", "postgres", "elsewhere"]
    reserve: Reserve
    services: tuple[ServicePlan, ...]
    settings: tuple[Setting, ...]
    days: Days
    notes: tuple[str, ...] = ()  # what a person should know, in sentences

    @property
    def unplanned(self) -> int:
        """Bytes that are neither reserved nor given: the host's own cache of files."""
        return self.facts.memory - self.reserve.memory - sum(service.memory for service in self.services)

    def service(self, name: str) -> ServicePlan:
        """A service by name; KeyError when the plan has none."""
        for service in self.services:
            if service.name == name:
                return service
        raise KeyError(name)

    def has(self, name: str) -> bool:
        """Whether there is such a service."""
        return any(service.name == name for service in self.services)

    def setting(self, part: str, name: str) -> int | float | str:
        """A setting's value; KeyError when the plan has none."""
        for setting in self.settings:
            if (setting.part, setting.name) == (part, name):
                return setting.value
        raise KeyError(f"{part} {name}")


class PlanError(Exception):
    """No plan fits; `problems` are lines for a person: what is there, what is needed, what could go."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


_UNITS: Final = ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB"))


def size_text(size: float) -> str:
    """Bytes as people read them: "1.9 GiB", "224 MiB"."""
    for unit, name in _UNITS:
        if size >= unit:
            number = size / unit
            return f"{number:.0f} {name}" if number >= 100 or number == int(number) else f"{number:.1f} {name}"
    return f"{int(size)} bytes"
