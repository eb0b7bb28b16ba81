"""The Compose program, as `condev apply` uses it: a narrow, typed wrapper around its command line.

Everything that starts, stops or describes containers goes through here; images are `images.py`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn, cast

import msgspec
from msgspec import Struct, field

from appliance.deploy.apply.layout import ApplyError

PROGRAM: Final = "docker-compose"
QUICK_SECONDS: Final = 120.0  # of a question; a loaded 1-core host takes seconds for one
WAIT_SECONDS: Final = 240  # until all services are healthy: ClickHouse on a slow disk after a crash takes two minutes
CHANGE_SECONDS: Final = WAIT_SECONDS + 120.0  # and making and stopping the containers
LONG_SECONDS: Final = 6 * 3600.0  # of a migration or a restore of 100 GB; a person watches, and may end it
MAX_ERROR_LINES: Final = 12  # of what Compose said last: the cause stands at the end
MIN_SECRET: Final = 6  # characters; a shorter value would mask ordinary words


# "Container condev-core-1 Waiting": how it goes, not what is wrong. What is wrong begins with a small letter.
_PROGRESS: Final = re.compile(r"(?:Container|Network|Volume|Image) \S+ [A-Z][a-z]+$")


# Of a container that was stopped while its network was removed: it knows that by its id alone, and never starts again.
_LOST_NETWORK: Final = re.compile(r"network [0-9a-f]{12,64} not found")


class EngineError(ApplyError):
    """Docker or Compose refused; the text is what it said last, without secrets."""


class ServiceState(Struct, frozen=True, kw_only=True):
    """A container of the stack, as it is now."""

    service: str
    name: str
    state: str  # running, exited, restarting, …
    health: str  # healthy, unhealthy, starting, "" without a check
    status: str  # in words, with the time
    image: str
    exit_code: int = 0
    config_hash: str = ""  # of the configuration it was made with
    connected: bool = True  # to some network; "none" and the host's count

    @property
    def well(self) -> bool:
        """Running, healthy where that is checked, and not cut off: a health check asks from inside."""
        return self.state == "running" and self.health in ("", "healthy") and self.connected


class Service(Struct, frozen=True, kw_only=True):
    """A service as the Compose files describe it."""

    name: str
    image: str
    user: str = ""
    binds: tuple[tuple[str, str], ...] = ()  # host path, path in the container
    published: tuple[tuple[str, int, int], ...] = ()  # host address, host port, container port
    labels: Mapping[str, str] = field(default_factory=dict[str, str])


class Compose:
    """One project in one directory."""

    def __init__(self, root: Path, *, program: Sequence[str] = (), environ: Mapping[str, str] | None = None) -> None:
        """Say which.

        Args:
            root: the installation's directory; relative paths in the files are from there.
            program: the Compose command; () finds it.
            environ: added to this process's environment; wins over `.env`.
        """
        self._root = root
        self._program = list(program)
        self._environ = dict(environ or {})

    def services(self, files: Sequence[Path] = ()) -> dict[str, Service]:
        """What the files describe, by name; as they stand in the directory when none are given."""
        model = cast("dict[str, Any]", json.loads(self._ask(files, "config", "--format", "json", "--no-normalize")))
        described = cast("dict[str, dict[str, Any]]", model.get("services") or {})
        return {name: _service(name, raw) for name, raw in described.items()}

    def hashes(self, files: Sequence[Path] = ()) -> dict[str, str]:
        """Compose's own hash of each service's configuration: another one means another container."""
        lines = self._ask(files, "config", "--hash", "*").splitlines()
        pairs = (line.split() for line in lines if line.strip())
        return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}

    def states(self) -> list[ServiceState]:
        """All containers of the project."""
        return [_state(raw) for raw in _documents(self._ask((), "ps", "--all", "--format", "json"))]

    def up(self, services: Iterable[str] = (), *, wait_seconds: int = WAIT_SECONDS) -> None:
        """Make, replace and start what differs, and wait until it is healthy.

        Args:
            services: only these, without what they depend on; all when empty.
            wait_seconds: how long to wait for health.
        """
        names = list(services)
        only = ["--no-deps", *names] if names else ["--remove-orphans"]
        words = ["--detach", "--wait", "--wait-timeout", str(wait_seconds), "--pull", "never", "--no-build", "--yes"]
        try:
            self._do((), CHANGE_SECONDS, "up", *words, *only)
        except EngineError as error:
            if not _LOST_NETWORK.search(str(error)):
                raise
            self._do((), CHANGE_SECONDS, "up", "--force-recreate", *words, *only)
        # Compose makes a network that is missing, and leaves those running that were on the one before.
        cut_off = [one.service for one in self.states() if not one.connected and (not names or one.service in names)]
        if cut_off:
            self._do((), CHANGE_SECONDS, "up", "--force-recreate", *words, "--no-deps", *cut_off)

    def stop(self, services: Sequence[str]) -> None:
        """Stop containers, giving each its grace period."""
        self._do((), CHANGE_SECONDS, "stop", *services)

    def restart(self, services: Sequence[str]) -> None:
        """Stop and start containers as they are; make those anew that cannot start because their network is gone."""
        try:
            self._do((), CHANGE_SECONDS, "restart", *services)
        except EngineError as error:
            if not _LOST_NETWORK.search(str(error)):
                raise
            self.up(services)

    def run(self, service: str, command: Sequence[str], *, volumes: Sequence[str] = ()) -> str:
        """Run a command in a new container of a service, beside what it depends on; what it printed."""
        mounts = [part for volume in volumes for part in ("--volume", volume)]
        return self._do((), LONG_SECONDS, "run", "--rm", "-T", "--pull", "never", *mounts, service, *command)

    def execute(self, service: str, command: Sequence[str]) -> str:
        """Run a command in the running container of a service; what it printed."""
        return self._ask((), "exec", "-T", service, *command)

    def last_logs(self, services: Sequence[str], lines: int) -> str:
        """The last lines of each service's log."""
        return self._ask((), "logs", "--no-color", "--tail", str(lines), *services)

    def logs(self, services: Sequence[str], *, follow: bool, tail: str, since: str) -> int:
        """Show logs on this process's own output; Compose's exit code."""
        flags = ["--tail", tail, *(["--follow"] if follow else []), *(["--since", since] if since else [])]
        command = self._command((), "logs", *flags, *services)
        return subprocess.run(command, cwd=self._root, env=self._environment(), check=False).returncode  # noqa: S603 - our words, no shell

    # ── running it ──

    def _ask(self, files: Sequence[Path], *arguments: str) -> str:
        return self._run(files, arguments, QUICK_SECONDS)

    def _do(self, files: Sequence[Path], seconds: float, *arguments: str) -> str:
        return self._run(files, arguments, seconds)

    def _run(self, files: Sequence[Path], arguments: Sequence[str], seconds: float) -> str:
        command = self._command(files, *arguments)
        try:
            done = subprocess.run(  # noqa: S603 - our own words, no shell
                command, cwd=self._root, env=self._environment(), capture_output=True, text=True, timeout=seconds,
                check=False, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            message = f"Compose did not end `{arguments[0]}` within {seconds:.0f} s; is the machine overloaded?"
            raise EngineError(message) from None
        except OSError as error:
            raise EngineError(f"{command[0]} cannot be run: {error.strerror}; install Docker Compose") from error
        if done.returncode:
            self._refused(arguments[0], done.stderr or done.stdout)
        return done.stdout

    def _refused(self, verb: str, said: str) -> NoReturn:
        lines = [line.strip() for line in said.splitlines() if line.strip() and not _PROGRESS.match(line.strip())]
        text = "\n".join(lines[-MAX_ERROR_LINES:]) or "it gave no reason"
        for secret in _env_values(self._root / ".env"):
            text = text.replace(secret, "…")
        raise EngineError(f"docker compose {verb}: {text}")

    def _command(self, files: Sequence[Path], *arguments: str) -> list[str]:
        if not self._program:
            self._program = find_program()
        # --env-file is not given: a missing .env is none, a present one is found in the project's directory.
        named = [part for file in files for part in ("--file", str(file))]
        return [
            *self._program, "--project-directory", str(self._root),
            "--ansi", "never", "--progress", "plain", *named, *arguments,
        ]  # fmt: skip

    def _environment(self) -> dict[str, str]:
        return {**os.environ, **self._environ}


def find_program() -> list[str]:
    """The Compose command: beside this Python (as in the image), on the path, or Docker's own.

    Raises:
        EngineError: there is none.
    """
    beside = Path(sys.executable).with_name(PROGRAM)
    if found := shutil.which(PROGRAM):
        return [found]
    if beside.is_file():
        return [str(beside)]
    if found := shutil.which("docker"):
        return [found, "compose"]
    raise EngineError("there is no Docker Compose here: install it (docs/install.md), or run this inside the image")


def _env_values(path: Path) -> list[str]:
    """What stands in .env, to be kept out of messages; the longest first, so that none hides in another."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except OSError:
        return []
    values = (line.partition("=")[2].strip().strip("'\"") for line in lines if not line.lstrip().startswith("#"))
    return sorted((value for value in values if len(value) >= MIN_SECRET), key=len, reverse=True)


def _documents(text: str) -> list[dict[str, Any]]:
    """JSON as Compose prints lists: one array (before 2.21) or a document a line."""
    text = text.strip()
    if text.startswith("["):
        return cast("list[dict[str, Any]]", json.loads(text))
    return [cast("dict[str, Any]", json.loads(line)) for line in text.splitlines() if line.strip()]


def _state(raw: Mapping[str, Any]) -> ServiceState:
    labels: dict[str, str] = {}
    for part in str(raw.get("Labels", "")).split(","):
        key, _, value = part.partition("=")
        labels[key] = value
    return ServiceState(
        service=str(raw.get("Service", "")),
        name=str(raw.get("Name", "")),
        state=str(raw.get("State", "")).lower(),
        health=str(raw.get("Health", "")).lower(),
        status=str(raw.get("Status", "")),
        image=str(raw.get("Image", "")),
        exit_code=int(raw.get("ExitCode") or 0),
        config_hash=labels.get("com.docker.compose.config-hash", ""),
        connected=raw.get("Networks") != "",
    )


class _Volume(Struct):
    type: str = ""
    source: str = ""
    target: str = ""


class _Port(Struct):
    target: int = 0
    published: str = ""
    host_ip: str = ""


def _service(name: str, raw: Mapping[str, Any]) -> Service:
    volumes = msgspec.convert(raw.get("volumes") or [], list[_Volume])
    ports = msgspec.convert(raw.get("ports") or [], list[_Port])
    return Service(
        name=name,
        image=str(raw.get("image", "")),
        user=str(raw.get("user", "")),
        binds=tuple((volume.source, volume.target) for volume in volumes if volume.type == "bind"),
        published=tuple((port.host_ip, int(port.published), port.target) for port in ports if port.published.isdigit()),
        labels=cast("dict[str, str]", raw.get("labels") or {}),
    )
