"""Who listens on the ports that the stack publishes, and what firewalls do not see.

Listeners come from /proc/net/tcp: no program is needed, and nothing is bound to find out.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from appliance.deploy.doctor.context import DoctorContext
from appliance.deploy.doctor.engine_api import Container, EngineError, EngineFacts
from appliance.deploy.doctor.findings import Finding, Reporter

say: Final = Reporter("ports")

LISTENING: Final = "0A"  # TCP_LISTEN in /proc/net/tcp
MAX_PROCESSES: Final = 20_000  # looked through for the owner of a socket


class Listener(Struct, frozen=True, kw_only=True):
    """A listening TCP socket."""

    address: str
    port: int
    inode: str


async def check_ports(context: DoctorContext) -> list[Finding]:
    """The published ports are free, or are our own stack's."""
    wanted = published_ports(context)
    if not wanted:
        return [say.ok("ports", f"The target {context.config.deploy.target} publishes no port.")]
    engine = await _engine(context)
    findings = await asyncio.to_thread(_all_taken, context, wanted, engine)
    return [*findings, *_unprivileged(context, engine, min(wanted))] or [
        say.ok("ports", f"{' and '.join(str(port) for port in wanted)}: free, or our own proxy's.")
    ]


async def check_firewall(context: DoctorContext) -> list[Finding]:
    """Ports that Docker publishes pass by ufw and firewalld: who is open although the firewall says otherwise."""
    firewall = active_firewall(context)
    engine = await _engine(context)
    if not firewall or engine is None:
        return []
    meant = set(published_ports(context))
    open_ports = sorted(
        {
            f"{port.port}/{port.protocol} ({container.name})"
            for container in engine.containers
            for port in container.published
            if not _is_local(port.address) and not (container.project == context.project and port.port in meant)
        }
    )
    if not open_ports:
        public = meant and context.config.deploy.target == "compose"
        meant_words = " Those of this stack will, and are meant to be open." if public else ""
        return [say.ok("firewall", f"{firewall} is on; no container's port passes by it.{meant_words}")]
    return [
        say.warn(
            "firewall-bypassed",
            f"{firewall} is on, and Docker publishes past it: {', '.join(open_ports[:10])}.",
            f"These ports are open to everybody, whatever {firewall} says: Docker's own rules come before.",
            'Publish them on loopback ("127.0.0.1:5432:5432") in the Compose files of those containers, or close them'
            " in your provider's firewall, or in the chain DOCKER-USER.",
        )
    ]


CHECKS: Final = (check_ports, check_firewall)


def published_ports(context: DoctorContext) -> list[int]:
    """What the rendered stack publishes on the host."""
    deploy = context.config.deploy
    if deploy.target == "compose":
        return [context.probes.http_port, *([context.probes.https_port] if deploy.tls != "off" else [])]
    return [deploy.port] if deploy.target == "behind-proxy" else []


def listeners(context: DoctorContext) -> list[Listener]:
    """Every listening TCP socket of the host's network."""
    found: list[Listener] = []
    for name in ("tcp", "tcp6"):
        for line in context.text(f"proc/net/{name}").splitlines()[1:]:
            fields = line.split()
            if len(fields) > 9 and fields[3] == LISTENING:
                address, _, port = fields[1].partition(":")
                found.append(Listener(address=_address(address), port=int(port, 16), inode=fields[9]))
    return found


def owner(context: DoctorContext, inodes: Iterable[str]) -> str:
    """The program that holds a socket; "" when this user may not look."""
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for pid in [name for name in context.names("proc") if name.isdigit()][:MAX_PROCESSES]:
        for descriptor in context.names(f"proc/{pid}/fd"):
            try:
                target = os.readlink(context.on_host(f"proc/{pid}/fd/{descriptor}"))
            except OSError:
                continue
            if target in wanted:
                return f"{context.text(f'proc/{pid}/comm').strip() or 'a program'} (process {pid})"
    return ""


def publisher(engine: EngineFacts | None, port: int) -> Container | None:
    """The container that publishes a TCP port."""
    for container in engine.containers if engine is not None else ():
        if any(one.port == port and one.protocol == "tcp" for one in container.published):
            return container
    return None


def active_firewall(context: DoctorContext) -> str:
    """ufw or firewalld, when one is on; else ""."""
    if "enabled=yes" in context.text("etc/ufw/ufw.conf").lower().replace(" ", ""):
        return "ufw"
    return "firewalld" if context.exists("run/firewalld/firewalld.pid") or context.exists("run/firewalld.pid") else ""


def _all_taken(context: DoctorContext, wanted: list[int], engine: EngineFacts | None) -> list[Finding]:
    listening = listeners(context)
    found = (_taken(context, port, [one for one in listening if one.port == port], engine) for port in wanted)
    return [finding for finding in found if finding is not None]


def _taken(context: DoctorContext, port: int, found: list[Listener], engine: EngineFacts | None) -> Finding | None:
    container = publisher(engine, port)
    if container is not None and container.project == context.project:
        return None
    if not found and container is None:
        return None
    who = f"the container {container.name} ({container.image})" if container is not None else ""
    who = who or owner(context, [one.inode for one in found]) or "a program that this user may not look into"
    if context.config.deploy.target == "behind-proxy":
        return say.error(
            "loopback-port-taken",
            f"Port {port} is taken by {who}.",
            "The stack cannot publish it on loopback for your proxy.",
            "Choose another: [deploy] port, and the same one in your proxy's configuration.",
        )
    return say.error(
        "port-taken",
        f"Port {port} is taken by {who}.",
        "Our proxy cannot start, so nothing is reachable and no certificate is issued.",
        'If it is a proxy that shall stay: [deploy] target = "behind-proxy" (docs/behind-a-proxy.md). Otherwise stop'
        f" it; `ss -ltnp 'sport = :{port}'` as root names the process.",
    )


def _unprivileged(context: DoctorContext, engine: EngineFacts | None, lowest: int) -> list[Finding]:
    if engine is None or not any("rootless" in option for option in engine.security_options):
        return []
    start = context.kernel_setting("net/ipv4/ip_unprivileged_port_start")
    if start is None or start <= lowest:
        return []
    return [
        say.error(
            "port-privileged",
            f"Docker runs without root, and ports below {start} are for root alone.",
            f"Our proxy cannot listen on {lowest}.",
            f"As root: sysctl -w net.ipv4.ip_unprivileged_port_start={lowest}, and the same line into"
            " /etc/sysctl.d/50-ports.conf",
        )
    ]


async def _engine(context: DoctorContext) -> EngineFacts | None:
    """Without an engine the group docker says so; ports are then judged by /proc alone."""
    try:
        return await context.engine_facts()
    except EngineError:
        return None


def _address(word: str) -> str:
    """An address as /proc/net/tcp writes it: 32-bit words in the machine's byte order."""
    raw = b"".join(bytes.fromhex(word[at : at + 8])[::-1] for at in range(0, len(word), 8))
    return str(ipaddress.ip_address(raw))


def _is_local(address: str) -> bool:
    try:
        return ipaddress.ip_address(address or "0.0.0.0").is_loopback  # noqa: S104 - what Docker means by ""
    except ValueError:
        return False
