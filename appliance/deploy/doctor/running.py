"""The running stack: its containers against the plan, and what core and the event store say of themselves.

Settings are read back from the engine, not from files: what was asked for and what is in force may differ.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

import msgspec

from appliance import __version__
from appliance.control import ControlError, NotRunningError, call
from appliance.deploy.doctor.context import DoctorContext
from appliance.deploy.doctor.engine_api import Container, EngineError
from appliance.deploy.doctor.findings import Finding, Reporter, size
from appliance.deploy.doctor.machine import host_facts
from appliance.deploy.plan import Plan, PlanError
from appliance.deploy.sizing import make_plan
from appliance.hookspecs import HealthCheck, HealthResult
from appliance.running_file import read_running

say: Final = Reporter("running")

MANY_RESTARTS: Final = 3  # one is an upgrade of the engine, two bad luck
CORE_SECONDS: Final = 6.0  # sizes of all tables are asked for, perhaps in the middle of a merge
HEALTH_SECONDS: Final = 8.0  # a plugin's own check
# What config.toml calls it → what the engine calls it.
ENGINE_NAMES: Final = {
    "plugins.clickhouse.server_memory": "max_server_memory_usage",
    "plugins.clickhouse.query_memory": "max_memory_usage",
    "plugins.clickhouse.threads": "max_threads",
}


async def check_services(context: DoctorContext) -> list[Finding]:
    """Every planned service runs, is healthy, was not killed, and has the limits of the plan."""
    ours = await stack_containers(context)
    if not ours:
        return []
    plan = await asyncio.to_thread(_plan, context)
    findings = [
        say.error(
            "service-missing",
            f"There is no container of the service {service.name}.",
            "What it does is not done. Platforms that tidy up remove containers that they do not know.",
            "condev apply",
        )
        for service in (plan.services if plan is not None else ())
        if not any(one.service == service.name for one in ours)
    ]
    for found in await asyncio.gather(*(_service(context, one, plan) for one in ours)):
        findings += found
    return findings or [say.ok("services", f"{', '.join(sorted(one.service for one in ours))} run and are healthy.")]


async def check_core(context: DoctorContext) -> list[Finding]:
    """What core says over its socket: problems, and the settings that the event store's engine really uses."""
    try:
        answer = await call(context.data_dir, "system", timeout=CORE_SECONDS)
    except NotRunningError:
        if not any(one.service == "core" and one.state == "running" for one in await stack_containers(context)):
            return []
        return [_no_answer("it does not listen on its socket")]
    except ControlError as error:
        return [_no_answer(str(error))]
    said = cast("dict[str, Any]", answer)
    findings = [
        say.warn(
            "system-problem",
            str(problem.get("text", "")),
            "The System page shows it, too.",
            str(problem.get("mend", "")) or "Look at the System page.",
        )
        for problem in cast("list[dict[str, Any]]", said.get("problems") or [])
    ]
    store = cast("dict[str, Any]", said.get("store") or {})
    return [*findings, *_version(context.data_dir), *await asyncio.to_thread(_store, context, store)]


async def check_plugins(context: DoctorContext) -> list[Finding]:
    """The health checks that plugins bring."""
    results = await asyncio.gather(*(_health(check) for _, check in context.health_checks))
    return [
        say.ok("plugin-check", f"{plugin}, {check.name}: {result.detail}")
        if result.ok
        else say.warn(
            "plugin-check-failed",
            f"{plugin}, {check.name}: {result.detail}",
            "What the plugin does may not be done.",
            result.mend or f"Look into the documentation of the plugin {plugin}.",
        )
        for (plugin, check), result in zip(context.health_checks, results, strict=True)
    ]


CHECKS: Final = (check_services, check_core, check_plugins)


async def stack_containers(context: DoctorContext) -> list[Container]:
    """The containers of our Compose project; none when there is no engine to ask."""
    try:
        containers = (await context.engine_facts()).containers
    except EngineError:
        return []
    return [one for one in containers if one.project == context.project and one.service]


def _plan(context: DoctorContext) -> Plan | None:
    """None when no plan can be made, which the group machine says."""
    try:
        return make_plan(context.config, host_facts(context))
    except PlanError:
        return None


async def _service(context: DoctorContext, container: Container, plan: Plan | None) -> list[Finding]:
    name = container.service
    try:
        details = await context.engine.inspect(container.id)
    except EngineError:  # gone since it was listed
        details = dict[str, Any]()
    state = cast("dict[str, Any]", details.get("State") or {})
    findings: list[Finding] = []
    if container.state != "running":
        findings.append(
            say.error(
                "service-down",
                f"{name} is {container.state} ({container.status}).",
                "What it does is not done; what ingest accepted stays in the spool.",
                f"condev logs {name}, then condev restart {name}",
            )
        )
    elif cast("dict[str, Any]", state.get("Health") or {}).get("Status") == "unhealthy":
        findings.append(
            say.error(
                "service-unhealthy",
                f"{name} runs, but its health check fails.",
                "Others may wait for it.",
                f"condev logs {name}, then condev restart {name}",
            )
        )
    elif (settings := details.get("NetworkSettings")) is not None and not settings.get("Networks"):
        findings.append(
            say.error(
                "service-cut-off",
                f"{name} runs, but is on no network any more.",
                "No other service reaches it. Platforms that tidy up remove networks that they do not know.",
                "condev apply",
            )
        )
    return [*findings, *_kills(name, details, state), *_limit(name, details, plan)]


def _kills(name: str, details: Mapping[str, Any], state: Mapping[str, Any]) -> list[Finding]:
    findings: list[Finding] = []
    if state.get("OOMKilled"):
        findings.append(
            say.warn(
                "service-out-of-memory",
                f"The kernel killed {name}, or a process in it, at its memory limit.",
                "It was started again and nothing accepted is lost; until then it did not answer.",
                "A larger host, or lower limits in [ingest] and [pipeline]; `condev plan` shows who has what.",
            )
        )
    restarts = int(details.get("RestartCount") or 0)
    if restarts >= MANY_RESTARTS:
        findings.append(
            say.warn(
                "service-restarts",
                f"{name} was started again {restarts} times.",
                "Each time it did not answer for some seconds.",
                f"condev logs {name} shows what it said before.",
            )
        )
    return findings


def _limit(name: str, details: Mapping[str, Any], plan: Plan | None) -> list[Finding]:
    limit = int(cast("dict[str, Any]", details.get("HostConfig") or {}).get("Memory") or 0)
    if plan is None or not plan.has(name) or not details or limit == plan.service(name).memory:
        return []
    has = size(limit) if limit else "no limit"
    return [
        say.warn(
            "service-limit-differs",
            f"{name} runs with {has}; the plan for this host says {size(plan.service(name).memory)}.",
            "The sum may be more than the host has, or something lies idle.",
            "condev apply",
        )
    ]


def _no_answer(why: str) -> Finding:
    return say.error(
        "core-not-answering",
        f"The core process does not answer: {why}.",
        "Pages and alerts stand still; ingest goes on accepting into the spool.",
        "condev logs core, then condev restart core",
    )


def _version(data_dir: Path) -> list[Finding]:
    try:
        running = read_running(data_dir)
    except (OSError, msgspec.DecodeError):
        return []  # written anew at each start; whoever upgrades is told of a damaged one
    if running is None or running.version == __version__:
        return []
    return [
        say.warn(
            "version-differs",
            f"Core is version {running.version}, this command is {__version__}.",
            "An upgrade is half done, or the command comes from another installation.",
            "condev apply",
        )
    ]


def _store(context: DoctorContext, store: Mapping[str, Any]) -> list[Finding]:
    if problem := str(store.get("problem") or ""):
        return [
            say.error(
                "store-not-answering",
                f"The event store does not answer: {problem}",
                "Nothing is applied and no page shows events; ingest goes on accepting into the spool.",
                "condev logs core (and condev logs clickhouse), then condev restart core",
            )
        ]
    findings = [
        say.warn(
            "engine-note",
            str(note),
            "The engine runs with another value than it was asked for.",
            "Look into [plugins.clickhouse], then: condev restart core",
        )
        for note in store.get("notes") or ()
    ]
    settings = {str(name): str(value) for name, value in dict(store.get("settings") or {}).items()}
    wanted = _wanted(context) if context.exists(str(context.directory / "compose.yaml")) else {}
    differing = [
        f"{name} is {settings[name]}, not {value}"
        for name, value in wanted.items()
        if settings.get(name, value) != value
    ]
    if differing:
        findings.append(
            say.warn(
                "engine-settings-differ",
                f"The event store's engine runs with other settings than planned: {'; '.join(differing)}.",
                "It may use more memory than its share, or be slower than it could.",
                "condev apply",
            )
        )
    told = ", ".join(f"{name} = {value}" for name, value in sorted(settings.items()))
    head = f"{store.get('backend', 'unknown')} {store.get('version', '')}".strip()
    return findings or [say.ok("event-store", f"{head}; in force: {told or 'nothing it tells'}.")]


def _wanted(context: DoctorContext) -> dict[str, str]:
    """Engine setting → planned value."""
    plan = _plan(context)
    wanted: dict[str, str] = {}
    for setting in plan.settings if plan is not None else ():
        if setting.part == "clickhouse":
            wanted[setting.name] = str(setting.value)
        elif setting.part == "config" and setting.name in ENGINE_NAMES:
            wanted.setdefault(ENGINE_NAMES[setting.name], str(setting.value))
    return wanted


async def _health(check: HealthCheck) -> HealthResult:
    try:
        async with asyncio.timeout(HEALTH_SECONDS):
            return await check.check()
    except TimeoutError:
        return HealthResult(ok=False, detail=f"no answer within {HEALTH_SECONDS:g} s")
    except Exception as error:  # noqa: BLE001 - a plugin's code; what it raised is the finding
        return HealthResult(ok=False, detail=f"it raised {type(error).__name__}: {error}")
