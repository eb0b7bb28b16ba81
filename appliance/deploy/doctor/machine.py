"""Memory, swap, processors, disk, inodes, kernel: whether the smallest size fits, and which one does."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path
from typing import Final

from appliance.deploy.doctor.context import DoctorContext
from appliance.deploy.doctor.engine_api import EngineError
from appliance.deploy.doctor.findings import Finding, Reporter, size
from appliance.deploy.doctor.processors import EngineKind, check_processor
from appliance.deploy.host_facts import HostFacts, detect
from appliance.deploy.needs import MINIMUM_MEMORY, TOLERANCE
from appliance.deploy.plan import PlanError
from appliance.deploy.sizing import make_plan

say: Final = Reporter("machine")

MIB: Final = 1 << 20
GIB: Final = 1 << 30
SWAP_WISHED_BELOW: Final = 2 * GIB  # with less, one package upgrade beside the stack can make the kernel kill something
LEAST_CPUS: Final = 0.95  # a core; a quota may be a little odd
DISK_TO_INSTALL: Final = 3 * GIB  # images about 1.5 GiB and as much again while they are unpacked
DISK_TO_RUN: Final = GIB  # below 256 MiB SDKs are told to wait: a day's notice before that
LEAST_INODES: Final = 20_000  # images have about 15,000 files; the stack itself makes a few thousand
KERNEL_REFUSED: Final[tuple[int, int]] = (3, 10)  # Docker's engine needs it
KERNEL_OLD: Final[tuple[int, int]] = (
    4,
    18,
)  # the oldest that a distribution which Docker packages for still mends (RHEL 8)
NETWORK_FILE_SYSTEMS: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "fuse.s3fs", "9p"})
LOST_FILE_SYSTEMS: Final = frozenset({"tmpfs", "ramfs"})


async def check_memory(context: DoctorContext) -> list[Finding]:
    """Memory as the least of host and cgroup: whether any size fits, and which one it is."""
    facts = await asyncio.to_thread(host_facts, context)
    try:
        plan = make_plan(context.config, facts)
    except PlanError as error:
        stated = int(context.config.deploy.memory) or facts.memory
        if stated >= MINIMUM_MEMORY * (1 - TOLERANCE):
            return [
                say.error(
                    "plan-impossible",
                    " ".join(error.problems),
                    "There is no stack to be made of this configuration.",
                    "Change the keys it names, or take out what does not fit; `condev plan` says whether all is right.",
                )
            ]
        return [
            say.error(
                "memory-too-small",
                " ".join(error.problems),
                "The kernel would kill services under load, again and again. Nothing accepted would be lost.",
                "Use a host with 1 GiB or more; `condev plan --memory 1g` shows what that gives.",
            )
        ]
    if plan.facts.memory > facts.memory * (1 + TOLERANCE):
        return [
            say.warn(
                "memory-overstated",
                f"[deploy] memory says {size(plan.facts.memory)}; this host has {size(facts.memory)}.",
                "The services' limits add up to more than there is: under load the kernel kills one of them.",
                "Take the key out: the host's own memory is found.",
            )
        ]
    planned = f", {size(plan.facts.memory)} of it planned with" if plan.facts.memory < facts.memory else ""
    return [say.ok("memory", f"{size(facts.memory)}{planned}: profile {plan.profile}.")]


async def check_cpu_limits(context: DoctorContext) -> list[Finding]:
    """Docker makes no container that may use more processors than the host has."""
    try:
        count = int((await context.engine_facts()).info.get("NCPU") or 0)
        plan = make_plan(context.config, await asyncio.to_thread(host_facts, context))
    except (EngineError, PlanError):
        return []  # said by others
    above = [service.name for service in plan.services if service.cpus > count]
    if not count or not above:
        return []
    return [
        say.error(
            "cpus-overstated",
            f"The plan counts on {plan.facts.cpus:g} processors; Docker's engine has {count}.",
            f"Docker refuses to make {', '.join(above)}.",
            "Take [deploy] cpus out: the host's own are found.",
        )
    ]


async def check_memory_in_use(context: DoctorContext) -> list[Finding]:
    """What other programs leave over."""
    facts = _meminfo(context.text("proc/meminfo"))
    total, available = facts.get("MemTotal", 0), facts.get("MemAvailable", 0)
    if not total or not available or available >= total / 2 or await _is_running(context):
        return []
    return [
        say.warn(
            "memory-in-use",
            f"Other programs hold {size(total - available)} of {size(total)}.",
            "The stack is sized for the whole host: together they may need more than there is.",
            'Stop what is not needed, or say how much the stack may have: [deploy] memory = "1g".',
        )
    ]


async def check_swap(context: DoctorContext) -> list[Finding]:
    """Swap, where memory is short."""
    facts = _meminfo(context.text("proc/meminfo"))
    swap, total = facts.get("SwapTotal", 0), facts.get("MemTotal", 0)
    if swap or not total:
        return [say.ok("swap", f"{size(swap)}.")] if swap else []
    if total > SWAP_WISHED_BELOW:
        return [say.ok("swap", f"None, and not needed with {size(total)} of memory.")]
    return [
        say.warn(
            "swap-none",
            f"There is no swap, and {size(total)} of memory.",
            "The stack does not need it, but an upgrade of packages or a build beside it may make the kernel kill one.",
            "As root: fallocate -l 1G /swapfile && chmod 600 /swapfile && mkswap /swapfile && swapon /swapfile; and"
            " for the next start: echo '/swapfile none swap sw 0 0' >> /etc/fstab",
        )
    ]


async def check_cpus(context: DoctorContext) -> list[Finding]:
    """How many, and whether they have the needed instructions."""
    count = (await asyncio.to_thread(host_facts, context)).cpus
    engine = await asyncio.to_thread(engine_kind, context)
    findings = check_processor(context, engine) if engine is not None else []
    if count < LEAST_CPUS:
        slow = say.warn(
            "cpu-share-small",
            f"The stack may use {count:.2g} of a processor.",
            "Pages are slow and the spool fills in a burst; nothing accepted is lost.",
            "Give it a whole one: lift the quota of the container or virtual machine.",
        )
        return [slow, *findings]
    return [say.ok("cpus", f"{count:g}."), *findings]


async def check_disk(context: DoctorContext) -> list[Finding]:
    """Space and inodes where the appliance and Docker's images are kept, and what kind of file system that is."""
    installed = context.exists(str(context.directory / "compose.yaml"))
    least = DISK_TO_RUN if installed else DISK_TO_INSTALL
    places = {"the appliance": context.directory, "Docker's images": Path(await _docker_root(context))}
    findings: list[Finding] = []
    seen: set[int] = set()
    for words, path in places.items():
        device, found = await asyncio.to_thread(_measure, context, path)  # a server of files that is away hangs here
        if device not in seen:
            seen.add(device)
            findings += _space(words, path, found, least)
    return [*findings, *_file_system(context)]


async def check_kernel(context: DoctorContext) -> list[Finding]:
    """The kernel's version."""
    release = context.text("proc/sys/kernel/osrelease").strip() or os.uname().release
    match = re.match(r"(\d+)\.(\d+)", release)
    version = (int(match[1]), int(match[2])) if match else KERNEL_OLD
    if _is_older(version, KERNEL_REFUSED):
        return [
            say.error(
                "kernel-too-old",
                f"The kernel is {release}; Docker's engine needs 3.10.",
                "Containers cannot be started.",
                "Upgrade the operating system.",
            )
        ]
    if _is_older(version, KERNEL_OLD):
        return [
            say.warn(
                "kernel-old",
                f"The kernel is {release}; those before 4.18 get no more fixes from any distribution.",
                "It may work, but nobody tries it: memory limits and file systems have known faults.",
                "Upgrade the operating system when you can.",
            )
        ]
    return [say.ok("kernel", f"{release}.")]


CHECKS: Final = (check_memory, check_memory_in_use, check_swap, check_cpus, check_cpu_limits, check_disk, check_kernel)


def host_facts(context: DoctorContext) -> HostFacts:
    """Memory, processors and disk of the host that the context looks at."""
    return detect(context.root, context.on_host(context.directory))


def engine_kind(context: DoctorContext) -> EngineKind | None:
    """Which engine this host will run; None when the event store runs elsewhere."""
    try:
        store = make_plan(context.config, host_facts(context)).event_store
    except PlanError:
        return "embedded"  # what the smallest sizes run
    return None if store == "elsewhere" else store


def _is_older(version: tuple[int, int], least: tuple[int, int]) -> bool:
    return version < least


def _measure(context: DoctorContext, path: Path) -> tuple[int, os.statvfs_result]:
    nearest = context.nearest(path)
    return nearest.stat().st_dev, os.statvfs(nearest)


def _space(words: str, path: Path, found: os.statvfs_result, least: int) -> list[Finding]:
    free, inodes = found.f_bavail * found.f_frsize, found.f_favail
    findings: list[Finding] = []
    if free < least:
        findings.append(
            say.error(
                "disk-too-small",
                f"{size(free)} are free at {path}, where {words} are kept; {size(least)} are needed.",
                "Images cannot be unpacked, or SDKs are soon told to wait.",
                "Make room (`docker system df` says what Docker holds) or use a larger disk.",
            )
        )
    if found.f_files and inodes < LEAST_INODES:  # file systems such as btrfs count none
        findings.append(
            say.error(
                "inodes-too-few",
                f"{inodes:,} inodes are free at {path}; {LEAST_INODES:,} are needed.",
                "Files cannot be made although there is space.",
                "Remove what made so many small files: du --inodes -x -d 2 / | sort -n | tail",
            )
        )
    if not findings:
        counted = f", {inodes:,} inodes" if found.f_files else ""
        findings.append(say.ok("disk", f"{size(free)}{counted} free at {path}."))
    return findings


def _file_system(context: DoctorContext) -> list[Finding]:
    kind, point = _mount_of(context, context.directory)
    if kind in NETWORK_FILE_SYSTEMS:
        return [
            say.error(
                "disk-over-network",
                f"{context.directory} lies on {point}, a file system over the network ({kind}).",
                "Databases lose data there: locks and syncs are not what they say.",
                "Use a local disk or a block volume for the installation (--dir).",
            )
        ]
    if kind in LOST_FILE_SYSTEMS:
        return [
            say.error(
                "disk-in-memory",
                f"{context.directory} lies on {point}, which is in memory ({kind}).",
                "Everything is gone at the next start of the machine.",
                "Use a directory on a disk for the installation (--dir).",
            )
        ]
    return []


def _mount_of(context: DoctorContext, path: Path) -> tuple[str, str]:
    """(kind, mount point) of the file system that holds a path of the host; ("", "") when unknown."""
    best = ("", "")
    for line in (context.text("proc/1/mounts") or context.text("proc/self/mounts")).splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), fields[1])
        if path.is_relative_to(point) and len(point) >= len(best[1]):
            best = (fields[2], point)
    return best


def _meminfo(text: str) -> dict[str, int]:
    """/proc/meminfo in bytes."""
    found: dict[str, int] = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if words and words[0].isdigit():
            found[name] = int(words[0]) * 1024
    return found


async def _docker_root(context: DoctorContext) -> str:
    try:
        return (await context.engine_facts()).root_directory
    except EngineError:
        return "/var/lib/docker"


async def _is_running(context: DoctorContext) -> bool:
    """Whether our own stack runs here: what it holds is no other program's."""
    try:
        containers = (await context.engine_facts()).containers
    except EngineError:
        return False
    return any(one.project == context.project and one.state == "running" for one in containers)
