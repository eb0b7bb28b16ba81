"""On request: what a service writes to its volumes is still there after its restart. Everything through Compose.

For hosts where a volume is not what it seems: a snap's empty view, a platform that makes a new one, a full quota.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from typing import Any, Final, cast

import structlog
from msgspec import Struct

from appliance.deploy.apply.engine import Compose
from appliance.deploy.apply.layout import ApplyError
from appliance.deploy.doctor.context import DoctorContext
from appliance.deploy.doctor.engine_api import Container, EngineError
from appliance.deploy.doctor.findings import Finding, Reporter
from appliance.deploy.doctor.running import stack_containers

say: Final = Reporter("running")
log = structlog.stdlib.get_logger(__name__)

TRIES: Final = 30  # seconds until a restarted service takes a command
NOT_DATA: Final = ("/var/run/docker.sock", "/run/docker.sock")


class Mount(Struct, frozen=True, kw_only=True):
    """A writable place of a service that outlives its container."""

    service: str
    container: str
    path: str


async def check_volumes(context: DoctorContext) -> list[Finding]:
    """Write, restart the service, read, remove: for each writable volume of each running service, one after another.

    Each service is away for some seconds meanwhile.
    """
    mounts: list[Mount] = []
    for container in await stack_containers(context):
        if container.state == "running":
            mounts += await _mounts(context, container)
    if not mounts:
        return [
            say.warn(
                "volumes-none",
                "No service of the stack with a writable volume runs.",
                "There is nothing to try.",
                "condev apply starts the stack.",
            )
        ]
    compose = Compose(context.directory)
    services = dict.fromkeys(mount.service for mount in mounts)
    findings: list[Finding] = []
    for service in services:
        findings += await _try(compose, service, [mount.path for mount in mounts if mount.service == service])
    return findings


async def _mounts(context: DoctorContext, container: Container) -> list[Mount]:
    try:
        details = await context.engine.inspect(container.id)
    except EngineError:
        return []
    return [
        Mount(service=container.service, container=container.name, path=str(mount.get("Destination")))
        for mount in cast("list[dict[str, Any]]", details.get("Mounts") or [])
        if mount.get("RW") and mount.get("Type") in {"bind", "volume"} and mount.get("Source") not in NOT_DATA
    ]


async def _try(compose: Compose, service: str, paths: Sequence[str]) -> list[Finding]:
    token = secrets.token_hex(16)
    name = f".condev-doctor-{token}"
    findings: list[Finding] = []
    try:
        for path in paths:
            await _shell(compose, service, 'umask 077 && printf %s "$2" > "$1" && sync', f"{path}/{name}", token)
        await asyncio.to_thread(compose.restart, [service])
        findings += [_judge(service, path, await _read(compose, service, f"{path}/{name}") == token) for path in paths]
    except ApplyError as error:
        findings.append(
            say.error(
                "volume-not-writable",
                f"{service}: a volume could not be tried: {error}",
                "What the service has to keep may not be kept.",
                f"Look at owner and free space of its directory on the host; condev logs {service}",
            )
        )
    finally:
        await _remove(compose, service, [f"{path}/{name}" for path in paths])
    return findings


async def _shell(compose: Compose, service: str, script: str, *args: str) -> str:
    """A line of sh in a service."""
    return await asyncio.to_thread(compose.execute, service, ["sh", "-c", script, "sh", *args])


async def _read(compose: Compose, service: str, path: str) -> str:
    """What the file holds, as soon as the restarted service takes commands; "" when it is gone."""
    for _ in range(TRIES):
        try:
            return await _shell(compose, service, 'cat "$1" 2>/dev/null || true', path)
        except ApplyError:
            await asyncio.sleep(1)
    raise ApplyError(f"it took no commands for {TRIES} s after its restart")


async def _remove(compose: Compose, service: str, paths: Sequence[str]) -> None:
    try:
        await _shell(compose, service, 'rm -f "$@"', *paths)
    except ApplyError as error:  # hidden files of 32 bytes; what made it fail is a finding already
        log.warning("could not remove what was tried with", service=service, paths=list(paths), reason=str(error))


def _judge(service: str, path: str, kept: bool) -> Finding:
    if kept:
        return say.ok("volume", f"{service} keeps what it writes to {path}.")
    return say.error(
        "volume-not-kept",
        f"{service} does not find again at {path} what it wrote before its restart.",
        "Everything it stores there is lost at the next restart.",
        "The mount leads somewhere else than it seems: compare `docker inspect` with compose.yaml; condev apply",
    )
