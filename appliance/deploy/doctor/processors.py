"""Whether the processor has the instructions that the event store's engines are compiled for.

An engine that meets an instruction which the processor lacks is ended by the kernel (SIGILL) without a word in any
log, so this must be said before one is started. Nothing of an engine is imported here.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import Final, Literal

from appliance.deploy.doctor.context import DoctorContext
from appliance.deploy.doctor.findings import Finding, Reporter

EngineKind = Literal["embedded", "server"]
say: Final = Reporter("machine")

ARCHITECTURES: Final = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}

# What each engine is compiled for, by the names in /proc/cpuinfo.
# x86_64, embedded: found by running chdb-core 26.9 under an emulator and taking one feature away at a time: without any
# of these it dies at the import or at the first query. Two belong to the same level, x86-64-v3: f16c was not missed,
# sse4_1 not tried alone.
# Try a new version so: qemu-x86_64 -cpu Haswell,-avx2 python -c 'import chdb; chdb.query("SELECT 1")', for each.
# x86_64, server: what the documentation of ClickHouse 25.8 asks for. aarch64: from both projects' build files, not
# tried: the server is for ARMv8.2 with dot product, which the Raspberry Pi 4 lacks; the embedded one for ARMv8.0.
_V3: Final = "ssse3 sse4_1 sse4_2 popcnt movbe avx avx2 fma f16c bmi1 bmi2 abm"
NEEDED: Final[Mapping[tuple[str, EngineKind], tuple[str, ...]]] = {
    ("x86_64", "embedded"): tuple(_V3.split()),
    ("x86_64", "server"): ("ssse3", "sse4_1", "sse4_2", "popcnt", "pclmulqdq"),
    ("aarch64", "embedded"): ("asimd", "crc32"),
    ("aarch64", "server"): ("asimd", "crc32", "atomics", "asimddp"),
}


def processor_flags(cpuinfo: str) -> frozenset[str]:
    """The instruction sets that every core has, as /proc/cpuinfo names them."""
    found: frozenset[str] | None = None
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in {"flags", "Features"}:
            flags = frozenset(value.split())
            found = flags if found is None else found & flags
    return found or frozenset()


def missing_flags(architecture: str, engine: EngineKind, flags: frozenset[str]) -> list[str]:
    """What an engine needs and this processor lacks; nothing when the processor does not say what it has."""
    needed = NEEDED.get((ARCHITECTURES.get(architecture, architecture), engine), ())
    return [flag for flag in needed if flag not in flags] if flags else []


def machine_architecture(context: DoctorContext) -> str:
    """As `uname -m` says it; a container has its host's."""
    return context.environ.get("CONDEV_ARCHITECTURE") or platform.machine()


def check_processor(context: DoctorContext, engine: EngineKind) -> list[Finding]:
    """Architecture and instruction sets, for the engine that will run here."""
    architecture = machine_architecture(context)
    if architecture not in ARCHITECTURES:
        return [
            say.error(
                "architecture-unsupported",
                f"This is a {architecture} machine.",
                "There is no event store and no image for it.",
                "Use a 64-bit x86 (x86_64) or 64-bit ARM (aarch64) machine with a 64-bit operating system.",
            )
        ]
    flags = processor_flags(context.text("proc/cpuinfo"))
    if not flags:
        return [
            say.warn(
                "cpu-unknown",
                "/proc/cpuinfo does not say which instructions the processor has.",
                "If it lacks some, the event store is ended by the kernel at its start, without a word.",
                "Compare `lscpu` with docs/troubleshooting.md#cpu-lacks-instructions.",
            )
        ]
    missing = missing_flags(architecture, engine, flags)
    if not missing:
        return [say.ok("cpu-instructions", f"{architecture} with all that the {_words(engine)} needs.")]
    return [_lacking(architecture, engine, flags, missing)]


def _lacking(architecture: str, engine: EngineKind, flags: frozenset[str], missing: list[str]) -> Finding:
    other: EngineKind = "server" if engine == "embedded" else "embedded"
    mend = (
        "Many hosting panels hide instructions: set the virtual machine's CPU type to host (or x86-64-v3). Or move to"
        " a newer machine, or use a ClickHouse server on another one: [plugins.clickhouse] engine = "
        '"server" and its url.'
    )
    if not missing_flags(architecture, other, flags):
        mend += f' The {_words(other)} would run on this processor: [plugins.clickhouse] engine = "{other}".'
    return say.error(
        "cpu-lacks-instructions",
        f"The processor lacks {', '.join(missing)}, which the {_words(engine)} is compiled for.",
        "The kernel would end it with SIGILL as soon as it starts, again and again.",
        mend,
    )


def _words(engine: EngineKind) -> str:
    return "embedded engine" if engine == "embedded" else "ClickHouse server"
