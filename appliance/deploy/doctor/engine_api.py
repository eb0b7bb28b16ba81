"""Asks the Docker engine over its socket, with deadlines: version, info, containers. Reads only.

Compose does everything that changes something; this is for looking, so that doctor needs no Docker command.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final, cast
from urllib.parse import quote, urlsplit

import httpx
import msgspec
from msgspec import Struct, field

SOCKET: Final = "unix:///var/run/docker.sock"
SECONDS: Final = 5.0  # for one question; an engine that is starting containers may take two
MAX_CONTAINERS: Final = 500  # whose details are looked at: a host with more is not one of ours
PROJECT_LABEL: Final = "com.docker.compose.project"
SERVICE_LABEL: Final = "com.docker.compose.service"


class EngineError(Exception):
    """The engine could not be asked; `reason` is missing, refused, silent or odd."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Published(Struct, frozen=True, kw_only=True):
    """A container's port on the host."""

    address: str
    port: int
    container_port: int
    protocol: str


class Container(Struct, frozen=True, kw_only=True):
    """One container, as the list of them says."""

    id: str
    name: str
    image: str
    state: str
    status: str
    labels: Mapping[str, str]
    published: tuple[Published, ...]

    @property
    def project(self) -> str:
        """Its Compose project; "" when it has none."""
        return self.labels.get(PROJECT_LABEL, "")

    @property
    def service(self) -> str:
        """Its Compose service; "" when it has none."""
        return self.labels.get(SERVICE_LABEL, "")


class EngineFacts(Struct, frozen=True, kw_only=True):
    """What an engine said."""

    version: str
    api_version: str
    components: tuple[str, ...]
    info: Mapping[str, Any] = field(default_factory=dict[str, Any])
    containers: tuple[Container, ...] = ()

    @property
    def root_directory(self) -> str:
        """Where images and volumes lie on the host."""
        return str(self.info.get("DockerRootDir") or "/var/lib/docker")

    @property
    def security_options(self) -> tuple[str, ...]:
        """Such as "name=rootless"."""
        return tuple(str(option) for option in self.info.get("SecurityOptions") or ())


class EngineApi:
    """One engine, by its address: unix:///path or tcp://host:port."""

    def __init__(self, address: str = SOCKET, seconds: float = SECONDS) -> None:
        """Connect to nothing yet.

        Args:
            address: as DOCKER_HOST has it.
            seconds: for one question.
        """
        self.address: Final = address
        self._seconds = seconds

    @classmethod
    def of_environment(cls, environ: Mapping[str, str]) -> EngineApi:
        """The one that DOCKER_HOST names, else the usual socket."""
        return cls(environ.get("DOCKER_HOST") or SOCKET)

    async def facts(self) -> EngineFacts:
        """Version, info and all containers.

        Raises:
            EngineError: it cannot be asked; the text says why.
        """
        version, info, containers = await asyncio.gather(
            self.get("/version"), self.get("/info"), self.get("/containers/json?all=1")
        )
        said = cast("dict[str, Any]", version)
        return EngineFacts(
            version=str(said.get("Version", "")),
            api_version=str(said.get("ApiVersion", "")),
            components=tuple(str(part.get("Name", "")) for part in said.get("Components") or ()),
            info=cast("dict[str, Any]", info),
            containers=tuple(_container(item) for item in cast("list[dict[str, Any]]", containers)[:MAX_CONTAINERS]),
        )

    async def inspect(self, container: str) -> dict[str, Any]:
        """Everything about one container. Raises `EngineError`."""
        return cast("dict[str, Any]", await self.get(f"/containers/{quote(container, safe='')}/json"))

    async def get(self, path: str) -> object:
        """Ask for JSON. Raises `EngineError`."""
        transport, base = self._way()
        try:
            async with (
                asyncio.timeout(self._seconds),
                httpx.AsyncClient(transport=transport, base_url=base, trust_env=False, timeout=self._seconds) as client,
            ):
                answer = await client.get(path)
        except TimeoutError as error:
            raise EngineError("silent", f"{self.address} did not answer within {self._seconds:g} s") from error
        except httpx.HTTPError as error:
            raise _failure(self.address, error) from error
        if answer.status_code != 200:
            raise EngineError("odd", f"{self.address} answered {answer.status_code} to {path}")
        try:
            return cast("object", msgspec.json.decode(answer.content))
        except msgspec.DecodeError as error:
            raise EngineError("odd", f"{self.address} does not speak as a Docker engine does") from error

    def _way(self) -> tuple[httpx.AsyncHTTPTransport, str]:
        parts = urlsplit(self.address)
        if parts.scheme == "unix":
            return httpx.AsyncHTTPTransport(uds=parts.path), "http://docker"
        if parts.scheme in {"tcp", "http"} and parts.netloc:
            return httpx.AsyncHTTPTransport(), f"http://{parts.netloc}"
        raise EngineError("odd", f"DOCKER_HOST is {self.address!r}; unix:///path and tcp://host:port are understood")


def _failure(address: str, error: httpx.HTTPError) -> EngineError:
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    for kind, reason, words in (
        (FileNotFoundError, "missing", "is not there"),
        (PermissionError, "refused", "may not be used by this user"),
        (ConnectionRefusedError, "stopped", "is there, but nothing listens behind it"),
    ):
        if any(isinstance(one, kind) for one in causes):
            return EngineError(reason, f"{address} {words}")
    return EngineError("odd", f"{address}: {error or type(error).__name__}")


def _container(item: Mapping[str, Any]) -> Container:
    names = cast("list[str]", item.get("Names") or [str(item.get("Id", "?"))[:12]])
    return Container(
        id=str(item.get("Id", "")),
        name=names[0].lstrip("/"),
        image=str(item.get("Image", "")),
        state=str(item.get("State", "")),
        status=str(item.get("Status", "")),
        labels=cast("dict[str, str]", item.get("Labels") or {}),
        published=tuple(
            Published(
                address=str(port.get("IP", "")),
                port=int(port["PublicPort"]),
                container_port=int(port.get("PrivatePort", 0)),
                protocol=str(port.get("Type", "tcp")),
            )
            for port in cast("list[dict[str, Any]]", item.get("Ports") or [])
            if port.get("PublicPort")
        ),
    )
