"""Other platforms and proxies on this host, which would want the same ports or manage the same containers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from appliance.deploy.doctor.context import DoctorContext
from appliance.deploy.doctor.engine_api import Container, EngineError
from appliance.deploy.doctor.findings import Finding, Reporter

say: Final = Reporter("platforms")


class Known(Struct, frozen=True, kw_only=True):
    """How something is recognised."""

    name: str
    paths: tuple[str, ...] = ()  # directories that only its installation makes
    words: tuple[str, ...] = ()  # in names, images and label names of running containers
    programs: tuple[str, ...] = ()  # names of running processes


PLATFORMS: Final = (
    Known(name="Coolify", paths=("data/coolify",), words=("coolify",)),
    Known(name="Dokploy", paths=("etc/dokploy",), words=("dokploy",)),
    Known(name="CapRover", paths=("captain",), words=("captain-", "caprover")),
    Known(name="Dokku", paths=("home/dokku", "var/lib/dokku"), words=("dokku",)),
)
PROXIES: Final = (
    Known(name="Traefik", words=("traefik",), programs=("traefik",)),
    Known(name="nginx", words=("nginx",), programs=("nginx", "openresty")),
    Known(name="Caddy", words=("caddy",), programs=("caddy",)),
    Known(name="Apache", words=("httpd",), programs=("apache2", "httpd")),
    Known(name="HAProxy", words=("haproxy",), programs=("haproxy",)),
)


async def check_platforms(context: DoctorContext) -> list[Finding]:
    """Whether another platform or proxy is at home here, and whether the target fits that."""
    try:
        containers = [one for one in (await context.engine_facts()).containers if one.project != context.project]
    except EngineError:
        containers = []
    running = [one for one in containers if one.state == "running"]
    platforms = [known.name for known in PLATFORMS if _is_installed(context, known, running)]
    target = context.config.deploy.target
    if platforms:
        return [_platform(", ".join(platforms), target)]
    programs = await asyncio.to_thread(_programs, context, running)
    proxies = [known.name for known in PROXIES if _is_running(known, running, programs)]
    if proxies and target == "compose":
        return [
            say.warn(
                "other-proxy",
                f"{', '.join(proxies)} runs on this host.",
                "If it listens on 80 or 443, our proxy cannot.",
                '[deploy] target = "behind-proxy" puts this stack behind it: docs/behind-a-proxy.md has the lines for'
                " nginx, Caddy and Traefik.",
            )
        ]
    return [
        say.ok("platforms", f"{', '.join(proxies) or 'No other platform or proxy'} runs here; the target is {target}.")
    ]


CHECKS: Final = (check_platforms,)


def _platform(name: str, target: str) -> Finding:
    fitting = {"behind-proxy", "coolify"} if name == "Coolify" else {"behind-proxy", "tunnel"}
    if target in fitting | {"tunnel"}:
        return say.ok("platforms", f"{name} runs here, and the target {target} leaves its ports to it.")
    better = '"coolify" (docs/coolify.md)' if name == "Coolify" else '"behind-proxy" (docs/behind-a-proxy.md)'
    return say.warn(
        "other-platform",
        f"{name} is installed on this host.",
        f"It owns ports 80 and 443, and may remove containers that it does not know; the target is {target}.",
        f"Set [deploy] target = {better}, or use a host of its own.",
    )


def _is_installed(context: DoctorContext, known: Known, running: Sequence[Container]) -> bool:
    return any(context.exists(path) for path in known.paths) or _has_word(known, running)


def _is_running(known: Known, running: Sequence[Container], programs: frozenset[str]) -> bool:
    return bool(programs.intersection(known.programs)) or _has_word(known, running)


def _has_word(known: Known, running: Sequence[Container]) -> bool:
    """A word in a container's name, its image's own name, or the names of its labels: not in what labels say."""
    texts = [
        text.lower()
        for one in running
        if any(port.port in {80, 443} for port in one.published) or known in PLATFORMS
        for text in (one.name, one.image.rpartition("/")[2], *one.labels)
    ]
    return any(word in text for word in known.words for text in texts)


def _programs(context: DoctorContext, running: Sequence[Container]) -> frozenset[str]:
    """Names of the host's processes. Those of containers are among them: only containers that publish count."""
    inside = {one.id for one in running}
    found: set[str] = set()
    for pid in context.names("proc"):
        if pid.isdigit():
            group = context.text(f"proc/{pid}/cgroup")
            in_container = "docker" in group or "containerd" in group or any(one and one in group for one in inside)
            if not in_container:
                found.add(context.text(f"proc/{pid}/comm").strip())
    return frozenset(found)
