"""From a host's memory, processors and disk, and the configuration, to a plan. One pure function, `make_plan`.

The order: what is there → which profile → which stores → what each service gets → what each part is told. A plan's
limits and the host's reserve together never exceed the host's memory; what cannot be planned raises `PlanError`, which
says what would have to go.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Literal, cast

from msgspec import Struct, structs

from appliance.config import MIB, Config
from appliance.deploy.disk import disk_settings
from appliance.deploy.engine_sizes import (
    MOST_EMBEDDED,
    caddy_settings,
    embedded_settings,
    postgres_settings,
    server_settings,
    table_of,
)
from appliance.deploy.host_facts import HostFacts
from appliance.deploy.needs import (
    BATCH_FACTOR,
    COOLIFY_RESERVE,
    IDLE_CORE,
    IDLE_INGEST,
    MINIMUM_MEMORY,
    SIZES,
    TOLERANCE,
    Need,
    Sizes,
    allot,
    profile_of,
    profiles_from,
    reserve_of,
)
from appliance.deploy.plan import Plan, PlanError, Profile, Reserve, ServicePlan, Setting, size_text
from appliance.deploy.topology import check_topology, public_url, topology_settings
from appliance.hookspecs import ServiceSpec

__all__ = ["HostFacts", "Plan", "PlanError", "ServicePlan", "Setting", "make_plan"]

PLUGIN_SERVICE_MEMORY: Final = 128 * MIB  # of a plugin's service that states no mem_limit
_MEMORY: Final = re.compile(r"^(\d+)([bkmg]?)b?$", re.IGNORECASE)


class _Stores(Struct, frozen=True):
    """Where events and metadata live, and why there."""

    events: Literal["embedded", "server", "elsewhere"]
    metadata: Literal["sqlite", "postgres", "elsewhere"]
    notes: tuple[str, ...] = ()


def make_plan(config: Config, facts: HostFacts, services: Sequence[ServiceSpec] = ()) -> Plan:
    """Size the stack.

    Args:
        config: what `[deploy]` states goes before `facts`; what other tables state is kept and checked.
        facts: of the host.
        services: of plugins (`register_services`); their limits count too.

    Raises:
        PlanError: it does not fit, or the configuration contradicts itself.
    """
    found, facts = facts, _stated_facts(config, facts)
    problems = check_topology(config)
    if facts.cpus <= 0:
        problems.append(f"[deploy] cpus: {facts.cpus:g} processors cannot run anything")
    if problems:
        raise PlanError(problems)
    others, why_others = _others(config)
    reserve = Reserve(
        memory=reserve_of(facts.memory - others) + others,
        reason=f"kernel, Docker and its shims, ssh, page cache: an eighth, 192 MiB to 2 GiB{why_others}",
    )
    candidates = profiles_from(profile_of(facts.memory - others))
    refused: PlanError | None = None
    for profile in candidates:
        try:
            plan = _plan(config, facts, profile, reserve, services)
            return structs.replace(plan, notes=(*plan.notes, *_more_than_found(facts, found)))
        except PlanError as error:  # what plugins add may leave room for the next smaller profile alone
            refused = error
    raise refused or PlanError(["no profile is defined"])


def _plan(
    config: Config, facts: HostFacts, profile: Profile, reserve: Reserve, services: Sequence[ServiceSpec]
) -> Plan:
    stores = _stores(config, facts, profile)
    sizes = SIZES[profile]
    needs = _needs(config, facts, sizes, stores, services)
    planned = _limits(needs, facts, reserve)
    settings, days, notes = disk_settings(config, facts.disk)
    by_name = {service.name: service for service in planned}
    settings += _flow_settings(config, sizes)
    settings += topology_settings(config)
    settings += _store_settings(config, facts, stores, by_name)
    if "caddy" in by_name:
        settings += caddy_settings(by_name["caddy"])
    return Plan(
        profile=profile,
        target=config.deploy.target,
        facts=facts,
        event_store=stores.events,
        metadata=stores.metadata,
        reserve=reserve,
        services=planned,
        settings=tuple(settings),
        days=days,
        notes=(*_address_notes(config), *_memory_notes(facts), *stores.notes, *notes),
    )


def _stated_facts(config: Config, facts: HostFacts) -> HostFacts:
    stated = config.deploy
    return structs.replace(
        facts,
        memory=int(stated.memory) or facts.memory,
        cpus=stated.cpus or facts.cpus,
        disk=int(stated.disk) or facts.disk,
    )


def _others(config: Config) -> tuple[int, str]:
    """Memory of what else runs on the host."""
    size, why = int(config.deploy.reserve), ""
    if size:
        why = f", and {size_text(size)} as [deploy] reserve says"
    elif config.deploy.target == "coolify" and "deploy.reserve" not in config.given:
        size = COOLIFY_RESERVE
        why = f", and {size_text(size)} for Coolify itself (on a server that it manages from afar: [deploy] reserve)"
    return size, why


def _stores(config: Config, facts: HostFacts, profile: Profile) -> _Stores:
    """What is stated goes first, then what holds data already, then the profile."""
    table = table_of(config)
    stated = str(table.get("engine", ""))
    choice = config.deploy.stores
    notes: list[str] = []
    by_size = "servers" if profile in ("medium", "large") else "embedded"
    if choice == "auto":
        choice = facts.stores or by_size
        if choice != by_size:
            notes.append(
                f"The {'ClickHouse and Postgres' if choice == 'servers' else 'embedded'} stores hold data here: they "
                "stay, though the host's size speaks for the others. To change over: condev backup, set [deploy] "
                "stores, condev restore."
            )
    events: Literal["embedded", "server", "elsewhere"] = "server" if choice == "servers" else "embedded"
    if stated == "embedded":
        events = "embedded"
    elif table.get("url"):
        events = "elsewhere"
    elif stated == "server":
        events = "server"
    metadata: Literal["sqlite", "postgres", "elsewhere"] = "postgres" if choice == "servers" else "sqlite"
    if config.metadata.url is not None:
        metadata = "elsewhere"
    return _Stores(events, metadata, tuple(notes))


def _in_flight(config: Config, sizes: Sizes) -> int:
    if "ingest.max_bytes_in_flight" in config.given:
        return int(config.ingest.max_bytes_in_flight)
    return sizes.in_flight * MIB


def _batch(config: Config, sizes: Sizes) -> int:
    if "pipeline.batch_bytes" in config.given:
        return int(config.pipeline.batch_bytes)
    return min(sizes.batch * MIB, int(config.pipeline.batch_bytes))


def _needs(
    config: Config, facts: HostFacts, sizes: Sizes, stores: _Stores, plugin_services: Sequence[ServiceSpec]
) -> list[Need]:
    cpus = facts.cpus
    target = config.deploy.target
    needs = [] if target == "coolify" else [_caddy(sizes, cpus)]
    if target == "tunnel":
        reason = "cloudflared: four connections to Cloudflare's edge, measured elsewhere at 30 to 50 MB"
        needs.append(_need("cloudflared", (80, 96, 1), min(1.0, cpus), 64, reason))
    needs.append(_ingest(config, sizes, cpus))
    needs.append(_core(config, sizes, stores, cpus))
    if stores.events == "server":
        reason = "ClickHouse: its program and fixed buffers take 500 MB before the first query; the rest is caches"
        # Half a core stays for the others while it merges.
        own = cpus - 0.5 if cpus >= 2 else cpus * 0.75
        needs.append(_need("clickhouse", sizes.clickhouse, own, 2048, reason))
    if stores.metadata == "postgres":
        reason = "Postgres: a quarter is shared_buffers, a session takes about 8 MB and core has up to 10"
        needs.append(_need("postgres", sizes.postgres, min(2.0, cpus), 128, reason))
    needs += [_of_plugin(spec, cpus) for spec in plugin_services]
    return needs


def _need(name: str, sizes: tuple[int, int, int], cpus: float, pids: int, reason: str) -> Need:
    least, most, weight = sizes
    return Need(
        name=name, least=least * MIB, most=most * MIB, weight=weight, cpus=cpus, pids=pids, reason=reason
    )  # fmt: skip


def _caddy(sizes: Sizes, cpus: float) -> Need:
    reason = "Caddy: 15 MB idle, 27 after a 300 MB upload through it, measured; TLS takes about 30 KB a connection"
    return _need("caddy", sizes.caddy, min(1.0, cpus), 128, reason)


def _ingest(config: Config, sizes: Sizes, cpus: float) -> Need:
    in_flight = _in_flight(config, sizes)
    # A body is held once more, and briefly, while it is framed for the spool.
    bodies = -(-in_flight * 3 // (2 * MIB))
    least, most, weight = sizes.ingest_spare
    reason = (
        f"one process: {size_text(IDLE_INGEST)} idle, one and a half times the {size_text(in_flight)} of bodies in "
        "flight, connections"
    )
    # One event loop keeps one core busy, its writer of the spool half of another.
    return _need("ingest", (least + bodies, most + bodies, weight), min(1.5, cpus), 128, reason)


def _core(config: Config, sizes: Sizes, stores: _Stores, cpus: float) -> Need:
    embedded = stores.events == "embedded"
    least, most, weight = sizes.embedded_core if embedded else sizes.core
    more = BATCH_FACTOR * max(0, _batch(config, sizes) - sizes.batch * MIB)
    if embedded:
        more += max(0, _number(table_of(config).get("server_memory")) - MOST_EMBEDDED)
    extra = -(-more // MIB)
    what = "pages, API, pipeline and its decode worker" + (", with the engine inside" if embedded else "")
    reason = f"{what}: {size_text(IDLE_CORE)} idle, 480 MB under a full spool, measured; the rest caches the store"
    # A quarter of a core stays for ingest and the host while it drains.
    own = cpus - 0.25 if cpus >= 1 else cpus
    # The embedded engine's pool has 100 threads; Python, the worker and SQLite about 40.
    return _need("core", (least + extra, most + extra, weight), own, 512, reason)


def _of_plugin(spec: ServiceSpec, cpus: float) -> Need:
    stated = cast("object", spec.compose.get("mem_limit"))
    memory = _compose_bytes(stated) if stated is not None else PLUGIN_SERVICE_MEMORY
    mebibytes = -(-memory // MIB)
    reason = "a plugin's service: " + ("as its mem_limit says" if stated is not None else "it states no mem_limit")
    return _need(spec.name, (mebibytes, mebibytes, 1), min(1.0, cpus), 256, reason)


def _compose_bytes(value: object) -> int:
    """A Compose size: a number of bytes, or "64m"."""
    match = _MEMORY.match(str(value).strip())
    if match is None:
        raise PlanError([f"a plugin's service has mem_limit {value!r}; expected bytes, or a text such as 64m"])
    return int(match[1]) * {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}[match[2].lower()]


def _number(value: object) -> int:
    text = str(value or 0)
    return int(text) if text.isdigit() else 0


def _limits(needs: Sequence[Need], facts: HostFacts, reserve: Reserve) -> tuple[ServicePlan, ...]:
    try:
        given = allot(needs, facts.memory - reserve.memory)
    except PlanError as error:
        raise PlanError([_too_small(facts, reserve), *error.problems, *_what_could_go(needs)]) from None
    return tuple(
        ServicePlan(
            name=need.name,
            memory=given[need.name],
            cpus=max(0.1, int(need.cpus * 100) / 100),
            pids=need.pids,
            reason=need.reason,
        )
        for need in needs
    )


def _too_small(facts: HostFacts, reserve: Reserve) -> str:
    return (
        f"this host has {size_text(facts.memory)} of memory, of which {size_text(reserve.memory)} stay for "
        f"{reserve.reason.split(':', maxsplit=1)[0]}; Condev Monitor needs {size_text(MINIMUM_MEMORY)} "
        f"({TOLERANCE:.0%} less as shown is accepted)"
    )


def _what_could_go(needs: Sequence[Need]) -> list[str]:
    """What to do without, or elsewhere, one line each, with what it gives back."""
    sizes = {need.name: need.least for need in needs}
    lines: list[str] = []
    tiny = SIZES["tiny"]
    if sizes.get("core", 0) >= tiny.embedded_core[0] * MIB and "clickhouse" not in sizes:
        less = sizes["core"] - tiny.core[0] * MIB
        lines.append(f'the event store ({size_text(less)}): [plugins.clickhouse] engine = "server", url = "http://…"')
    if "clickhouse" in sizes:
        less = sizes["clickhouse"]
        lines.append(f'ClickHouse ({size_text(less)}): [deploy] stores = "embedded", or [plugins.clickhouse] url')
    if "postgres" in sizes:
        lines.append(f'Postgres ({size_text(sizes["postgres"])}): [deploy] stores = "embedded", or [metadata] url')
    lines.append("other things on this host: what they take cannot be given to the stack; or a larger host")
    return [f"what would have to go: {line}" for line in lines]


def _flow_settings(config: Config, sizes: Sizes) -> list[Setting]:
    in_flight = _in_flight(config, sizes)
    stated = "as config.toml says"
    batch = _batch(config, sizes)
    return [
        Setting(
            part="config", name="ingest.max_bytes_in_flight", value=in_flight, unit="bytes",
            reason=stated if "ingest.max_bytes_in_flight" in config.given else
            "of all bodies at one time: more than one of the largest, and ingest's memory is planned for it",
        ),
        Setting(
            part="config", name="pipeline.batch_bytes", value=batch, unit="bytes",
            reason=stated if "pipeline.batch_bytes" in config.given else
            f"applied as one: core holds about {BATCH_FACTOR} times as much",
        ),
    ]  # fmt: skip


def _store_settings(
    config: Config, facts: HostFacts, stores: _Stores, services: dict[str, ServicePlan]
) -> list[Setting]:
    settings: list[Setting] = []
    if stores.events == "embedded":
        settings += embedded_settings(config, facts.memory, services["core"].cpus)
    elif stores.events == "server":
        settings += server_settings(config, services["clickhouse"])
    elif "plugins.clickhouse.engine" not in config.given:
        reason = "[plugins.clickhouse] url names a server elsewhere"
        settings.append(
            Setting(part="config", name="plugins.clickhouse.engine", value="server", reason=reason, unit="text")
        )
    if stores.metadata == "postgres":
        settings += postgres_settings(services["postgres"])
    return settings


def _memory_notes(facts: HostFacts) -> list[str]:
    """What fits is never refused, but said when it is below what is stated."""
    if facts.memory >= int(MINIMUM_MEMORY * (1 - TOLERANCE)):
        return []
    return [
        f"This host has {size_text(facts.memory)}, and {size_text(MINIMUM_MEMORY)} is the stated minimum. It fits, "
        "with nothing to spare: keep other things off it."
    ]


def _more_than_found(stated: HostFacts, found: HostFacts) -> list[str]:
    """A plan for more than there is would be right elsewhere alone."""
    more = [
        f"{name}: {size_text(said)} where {size_text(had)} was found"
        for name, said, had in (("memory", stated.memory, found.memory), ("disk", stated.disk, found.disk))
        if said > had
    ]
    return (
        [f"[deploy] states more than this host has ({'; '.join(more)}): right for another host alone."] if more else []
    )


def _address_notes(config: Config) -> list[str]:
    if public_url(config).startswith("https://"):
        return []
    return [
        "Without a domain everything goes over plain HTTP: passwords cross the network in clear. Set [deploy] domain, "
        "or [site] url when something in front brings HTTPS."
    ]
