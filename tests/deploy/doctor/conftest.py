"""A host as a tree of files, an engine behind a real socket, and listeners on free ports of the loopback address."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct, structs

from appliance.config import Config
from appliance.deploy.doctor import DoctorContext, Finding, Probes
from appliance.deploy.doctor.engine_api import EngineApi
from appliance.http_client import GuardedHttpClient

GIB = 1 << 30
ANYWHERE = "0.0.0.0"  # noqa: S104 - what Docker says of a published port
V3 = "ssse3 sse4_1 sse4_2 popcnt movbe avx avx2 fma f16c bmi1 bmi2 abm pclmulqdq"


class HostTree:
    """Files of a host of 2 GiB and 2 processors; tests write over what they are about."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write("proc/meminfo", meminfo(2 * GIB))
        self.write("proc/cpuinfo", cpuinfo(V3))
        self.write("proc/sys/kernel/osrelease", "6.1.0-18-amd64\n")
        self.write("proc/1/mounts", "/dev/sda1 / ext4 rw 0 0\n")
        self.write("proc/net/tcp", "  sl  local_address rem_address\n")
        self.write("proc/net/fib_trie", "  |-- 10.0.0.5\n     /32 host LOCAL\n")
        self.directory = Path("/opt/condev")

    def write(self, path: str, text: str, mode: int = 0o644) -> Path:
        place = self.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        place.chmod(mode)
        return place

    def listen(self, *ports: int, name: str = "tcp", inode: int = 4242) -> None:
        lines = [
            f"   {n}: 00000000:{port:04X} 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 {inode + n} 1\n"
            for n, port in enumerate(ports)
        ]
        self.write(f"proc/net/{name}", "  sl  local_address rem_address\n" + "".join(lines))

    def process(self, pid: int, name: str, *, cgroup: str = "0::/system.slice\n", inode: int | None = None) -> None:
        self.write(f"proc/{pid}/comm", f"{name}\n")
        self.write(f"proc/{pid}/cgroup", cgroup)
        descriptors = self.root / f"proc/{pid}/fd"
        descriptors.mkdir()
        if inode is not None:
            (descriptors / "7").symlink_to(f"socket:[{inode}]")


def meminfo(total: int, *, available: int | None = None, swap: int = GIB) -> str:
    free = total * 8 // 10 if available is None else available
    return f"MemTotal: {total >> 10} kB\nMemAvailable: {free >> 10} kB\nSwapTotal: {swap >> 10} kB\n"


def cpuinfo(flags: str, cores: int = 2) -> str:
    return "".join(f"processor\t: {n}\nflags\t\t: fpu {flags}\n\n" for n in range(cores))


class EngineState(Struct):
    """What the stand-in for Docker's engine answers."""

    version: dict[str, Any]
    info: dict[str, Any]
    containers: list[dict[str, Any]]
    details: dict[str, dict[str, Any]]
    delay: float = 0.0

    def add(
        self, name: str, *, service: str = "", project: str = "", ports: Mapping[int, str] | None = None, **more: Any
    ) -> dict[str, Any]:
        """A container; what `inspect` says of it is in `details`, by its id."""
        labels = {"com.docker.compose.project": project, "com.docker.compose.service": service} if project else {}
        identity = f"id-{name}"
        item = {
            "Id": identity,
            "Names": [f"/{name}"],
            "Image": more.pop("image", f"{name}:latest"),
            "State": more.pop("state", "running"),
            "Status": more.pop("status", "Up 3 hours"),
            "Labels": {**labels, **more.pop("labels", {})},
            "Ports": [
                {"IP": address, "PublicPort": port, "PrivatePort": port, "Type": "tcp"}
                for port, address in (ports or {}).items()
            ],
        }
        self.containers.append(item)
        self.details[identity] = {"State": {}, "HostConfig": {}, "Mounts": [], "RestartCount": 0, **more}
        return self.details[identity]


@pytest.fixture
def host(tmp_path: Path) -> HostTree:
    return HostTree(tmp_path / "host")


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncGenerator[tuple[EngineApi, EngineState]]:
    """An engine's API over a real Unix socket, with what the test says it should answer."""
    state = EngineState(
        version={"Version": "28.2.2", "ApiVersion": "1.50", "Components": [{"Name": "Engine"}]},
        info={"DockerRootDir": "/var/lib/docker", "Driver": "overlay2", "MemoryLimit": True, "SecurityOptions": []},
        containers=[],
        details={},
    )

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1].decode()
        await asyncio.sleep(state.delay)
        identity = path.split("/")[2] if path.startswith("/containers/id-") else ""
        answers: dict[str, object] = {
            "/version": state.version,
            "/info": state.info,
            "/containers/json?all=1": state.containers,
            f"/containers/{identity}/json": state.details.get(identity),
        }
        body = json.dumps(answers[path]).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(body), body))
        await writer.drain()
        writer.close()

    place = tmp_path / "docker.sock"
    server = await asyncio.start_unix_server(serve, place)
    yield EngineApi(f"unix://{place}", seconds=2), state
    server.close()
    await server.wait_closed()


MakeContext = Callable[..., DoctorContext]


@pytest.fixture
async def make_context(
    host: HostTree, engine: tuple[EngineApi, EngineState], tmp_path: Path
) -> AsyncGenerator[MakeContext]:
    """A context on the tree and the stand-in engine; keyword arguments as those of `DoctorContext`."""
    client = GuardedHttpClient()

    def make(**changes: Any) -> DoctorContext:
        given: dict[str, Any] = {
            "config": Config(),
            "directory": host.directory,
            "data_dir": tmp_path / "data",
            "http": client,
            "root": host.root,
            "environ": {},
            "engine": engine[0],
            "probes": Probes(http_port=free_port(), https_port=free_port(), listen=("127.0.0.1",), seconds=2),
            **changes,
        }
        return DoctorContext(**given)

    yield make
    await client.close()


def configured(**tables: Mapping[str, object]) -> Config:
    """A configuration with some keys of some tables changed: configured(deploy={"domain": "x.example.com"})."""
    config = Config()
    for table, values in tables.items():
        setattr(config, table, structs.replace(getattr(config, table), **values))
    return config


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def codes(findings: list[Finding]) -> list[str]:
    return [finding.code for finding in findings]


def only(findings: list[Finding], code: str) -> Finding:
    """The one finding of that code, complete if it is bad."""
    (found,) = [finding for finding in findings if finding.code == code]
    assert found.fact
    assert found.level == "ok" or (found.consequence and found.mend)
    return found


Asked = Callable[[DoctorContext], Awaitable[list[Finding]]]
