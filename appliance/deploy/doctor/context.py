"""What the checks look at: the configuration, the host's files under a root, the Docker engine, places on the network.

Nothing here writes. A root other than "/" is the host's file system as a container sees it, or a test's tree.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct, field

from appliance.config import Config
from appliance.deploy.doctor.engine_api import EngineApi, EngineFacts
from appliance.deploy.doctor.knock import Resolver, resolve
from appliance.deploy.doctor.mail_advice import MailAdvice
from appliance.hookspecs import HealthCheck, HttpClient, Notifier

MAX_TEXT: Final = 4 << 20  # /proc/net/tcp of a busy host has 150 bytes a connection; cpuinfo of 256 cores 400 KB
PROJECT: Final = "condev"  # our Compose project
CONNECT_SECONDS: Final = 5.0  # a SYN and two retransmissions: what has not answered by then is blocked


class Probes(Struct, frozen=True, kw_only=True):
    """Where the network checks knock. The defaults are the real places; tests put listeners of their own there."""

    http_port: int = 80
    https_port: int = 443
    listen: tuple[str, ...] = ("0.0.0.0", "::")  # noqa: S104 - what the public address leads to
    # Port as people know it → port to connect to.
    smtp_ports: Mapping[int, int] = field(default_factory=lambda: {25: 25, 465: 465, 587: 587, 2525: 2525})
    seconds: float = CONNECT_SECONDS  # for one connection

    @classmethod
    def of_environment(cls, environ: Mapping[str, str]) -> Probes:
        """The real places, with the ports that the same variables give the rendered compose.yaml."""
        return cls(
            http_port=_port(environ.get("CONDEV_HTTP_PORT", ""), 80),
            https_port=_port(environ.get("CONDEV_HTTPS_PORT", ""), 443),
        )


class DoctorContext:
    """Everything that the checks may look at, gathered by whoever runs them."""

    def __init__(
        self,
        *,
        config: Config,
        directory: Path,
        data_dir: Path,
        http: HttpClient,
        root: Path = Path("/"),
        environ: Mapping[str, str] | None = None,
        config_problems: Sequence[str] = (),
        notifiers: Mapping[str, Notifier] | None = None,
        health_checks: Sequence[tuple[str, HealthCheck]] = (),
        engine: EngineApi | None = None,
        probes: Probes | None = None,
        resolver: Resolver = resolve,
        seconds: float = 9.0,
    ) -> None:
        """Look at nothing yet.

        Args:
            config: what is configured; the defaults when the file cannot be read.
            directory: where the appliance is, or will be, installed, as the host names it.
            data_dir: the data directory, as this process names it.
            http: the way out for HTTP.
            root: the host's file system: "/" on the host itself, "/host" in our container.
            environ: the environment; this process's own when None.
            config_problems: what is wrong with config.toml or a plugin's table, one line each.
            notifiers: of the loaded plugins, by name; None when plugins could not be loaded.
            health_checks: of the loaded plugins, each with its plugin's name.
            engine: the Docker engine; None: the one that DOCKER_HOST names, else the usual socket.
            probes: where the network checks knock.
            resolver: how the domain is looked up.
            seconds: after which a check that has not ended is given up.
        """
        self.config: Final = config
        self.directory: Final = directory
        self.data_dir: Final = data_dir
        self.http: Final = http
        self.root: Final = root
        self.environ: Final = os.environ if environ is None else environ
        self.config_problems: Final = tuple(config_problems)
        self.notifiers: Final = notifiers
        self.health_checks: Final = tuple(health_checks)
        self.engine: Final = engine or EngineApi.of_environment(self.environ)
        self.probes: Final = probes or Probes.of_environment(self.environ)
        self.resolver: Final = resolver
        self.seconds: Final = seconds
        self.project: Final = self.environ.get("COMPOSE_PROJECT_NAME") or PROJECT  # as Compose does
        self.mail_advice: MailAdvice | None = None  # set by the checks of mail
        self._engine_facts: asyncio.Task[EngineFacts] | None = None

    async def engine_facts(self) -> EngineFacts:
        """What the Docker engine says of itself and its containers; asked once for all checks."""
        if self._engine_facts is None:
            self._engine_facts = asyncio.create_task(self.engine.facts())
        return await asyncio.shield(self._engine_facts)

    # ── the host's files ──

    def on_host(self, path: str | Path) -> Path:
        """Where this process finds a path of the host."""
        return self.root / str(path).lstrip("/")

    def text(self, path: str) -> str:
        """A small file of the host, "" when it is not there or not ours to read; cut at 4 MiB."""
        try:
            with self.on_host(path).open("rb") as file:
                return file.read(MAX_TEXT).decode("utf-8", "replace")
        except OSError:
            return ""

    def exists(self, path: str) -> bool:
        """Whether the host has this file or directory."""
        try:
            return self.on_host(path).exists()
        except OSError:
            return False

    def names(self, path: str) -> list[str]:
        """What lies in a directory of the host; nothing when it is not there or not ours to read."""
        try:
            return sorted(os.listdir(self.on_host(path)))
        except OSError:
            return []

    def nearest(self, path: Path) -> Path:
        """The deepest existing directory on the way to a path of the host, as this process finds it."""
        for candidate in (path, *path.parents):
            found = self.on_host(candidate)
            if found.is_dir():
                return found
        return self.root

    def kernel_setting(self, name: str) -> int | None:
        """A number under /proc/sys, such as "net/ipv4/ip_unprivileged_port_start"."""
        text = self.text(f"proc/sys/{name}").strip()
        return int(text) if text.lstrip("-").isdigit() else None


def _port(text: str, default: int) -> int:
    """The port of "8080" or "127.0.0.1:8080", as Compose understands them."""
    number = text.rpartition(":")[2]
    return int(number) if number.isdigit() else default
