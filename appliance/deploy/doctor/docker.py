"""Docker's engine and Compose: there, new enough, allowed, and able to hold limits."""

from __future__ import annotations

import asyncio
import contextlib
import re
from pathlib import PurePosixPath
from typing import Final

from appliance.deploy.apply.engine import find_program
from appliance.deploy.apply.layout import ApplyError
from appliance.deploy.doctor.context import DoctorContext
from appliance.deploy.doctor.engine_api import EngineError, EngineFacts
from appliance.deploy.doctor.findings import Finding, Reporter

say: Final = Reporter("docker")

# Before it, Docker's filter of system calls answers clone3 in a way that current C libraries take for a refusal: no
# thread can be started in our image.
ENGINE_NEEDED: Final = (20, 10, 10)
COMPOSE_NEEDED: Final = (2, 20, 0)  # the first to take every key of our compose.yaml, `name:` among them
COMPOSE_SECONDS: Final = 8.0  # 0.1 s usually; a cold disk on a small host needs a few
INSTALL: Final = "Install Docker as https://docs.docker.com/engine/install/ says, or let installer.sh do it."


async def check_engine(context: DoctorContext) -> list[Finding]:
    """The engine answers, and is one that our stack runs on."""
    try:
        engine = await context.engine_facts()
    except EngineError as error:
        if context.config.deploy.target == "coolify":  # asked in a container that Coolify made: it has no socket
            return [say.ok("docker", "Not looked at: Coolify looks after the engine.")]
        return [_unreachable(context, error)]
    info = engine.info
    findings = [*_version(engine), *_kind(context, engine)]
    if info.get("MemoryLimit") is False:
        findings.append(
            say.warn(
                "docker-no-memory-limit",
                "This kernel gives Docker no memory limits.",
                "One service that grows can make the kernel kill any program of this host.",
                "Add cgroup_enable=memory swapaccount=1 to the kernel's command line (Raspberry Pi: in"
                " /boot/firmware/cmdline.txt) and restart the machine.",
            )
        )
    if info.get("Driver") == "vfs":
        findings.append(
            say.warn(
                "docker-storage-copies",
                "Docker's storage driver is vfs, which copies every layer of every image.",
                "Our image takes several times its size on disk, and a start takes minutes.",
                'Use a file system that overlay2 works on (ext4, xfs with ftype=1), and "storage-driver": "overlay2".',
            )
        )
    return findings or [say.ok("docker", f"Engine {engine.version}, storage {info.get('Driver', 'unknown')}.")]


async def check_compose(context: DoctorContext) -> list[Finding]:
    """A Compose of version 2: in our image as docker-compose, on a host usually as a plug-in of docker."""
    if context.config.deploy.target == "coolify":
        return [say.ok("compose", "Not looked at: Coolify brings its own.")]
    try:
        version = (await _output(*find_program(), "version", "--short")).removeprefix("v")
    except ApplyError:
        version = ""
    if version and _numbers(version) >= COMPOSE_NEEDED:
        return [say.ok("compose", f"{version}.")]
    if version:
        return [
            say.error(
                "compose-too-old",
                f"Docker Compose is {version}; 2.20 is needed.",
                "It does not understand our compose.yaml.",
                "Upgrade docker-compose-plugin, or run `condev` from our image, which brings its own.",
            )
        ]
    return [
        say.error(
            "compose-missing",
            "There is no Docker Compose that runs.",
            "The stack can neither be started nor changed.",
            "Install docker-compose-plugin, or run `condev` from our image, which brings its own.",
        )
    ]


CHECKS: Final = (check_engine, check_compose)


def _unreachable(context: DoctorContext, error: EngineError) -> Finding:
    installed = error.reason != "missing" or any(
        context.exists(path) for path in ("usr/bin/dockerd", "usr/local/bin/dockerd", "snap/bin/docker")
    )
    if not installed:
        return say.error("docker-missing", f"There is no Docker here: {error}.", "Nothing can be started.", INSTALL)
    if error.reason == "refused":
        return say.error(
            "docker-not-allowed",
            f"{error}.",
            "Nothing can be started.",
            "Run this as root, or add yourself to the group docker (which makes you as good as root).",
        )
    return say.error(
        "docker-not-answering",
        f"Docker is installed, but: {error}.",
        "Nothing can be started.",
        "Start it (systemctl enable --now docker) and look into its log: journalctl -u docker -n 50. In a container,"
        " mount /var/run/docker.sock.",
    )


def _version(engine: EngineFacts) -> list[Finding]:
    if any("podman" in part.lower() for part in engine.components):
        return [
            say.warn(
                "docker-is-podman",
                f"Behind Docker's socket is Podman {engine.version}.",
                "Most of it works, but nobody tries it: restarts after a reboot and address forwarding differ.",
                INSTALL,
            )
        ]
    if _numbers(engine.version) < ENGINE_NEEDED:
        return [
            say.error(
                "docker-too-old",
                f"Docker's engine is {engine.version}; 20.10.10 is needed.",
                "Its filter of system calls stops current programs from starting threads.",
                "Upgrade it: https://docs.docker.com/engine/install/",
            )
        ]
    return []


def _kind(context: DoctorContext, engine: EngineFacts) -> list[Finding]:
    if PurePosixPath(engine.root_directory).is_relative_to("/var/snap"):
        return [
            say.error(
                "docker-snap",
                "Docker is installed as a snap.",
                f"It sees only home directories: {context.directory} would be empty in the containers.",
                f"snap remove docker, then: {INSTALL}",
            )
        ]
    if any("rootless" in option for option in engine.security_options):
        return [
            say.warn(
                "docker-rootless",
                "Docker runs without root.",
                "Every visitor appears under one address, so that limits per address count them as one; memory limits"
                " need cgroup v2 with delegation.",
                "Use the ordinary engine, or set the port driver to slirp4netns"
                " (https://docs.docker.com/engine/security/rootless/).",
            )
        ]
    return []


def _numbers(version: str) -> tuple[int, ...]:
    """ "28.2.2-rc1" → (28, 2, 2); a version that says no numbers is taken for a new one."""
    match = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?", version)
    return tuple(int(number or 0) for number in match.groups()) if match else (9999,)


async def _output(*command: str) -> str:
    """What a program prints; "" when it fails or takes too long."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with asyncio.timeout(COMPOSE_SECONDS):
            out, _ = await process.communicate()
    except TimeoutError:
        return ""
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    return out.decode("utf-8", "replace").strip() if process.returncode == 0 else ""
