"""Whether this processor can run the embedded engine: asked before that is loaded, or the kernel ends the process.

The same list as `condev doctor` has, for whoever starts the appliance without asking it; a test holds the two together.
"""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Final

from appliance.hookspecs import StoreUnavailableError

CPUINFO: Final = Path("/proc/cpuinfo")
# What chdb-core 26.9 is compiled for on x86_64 (the level x86-64-v3), found by taking them away one at a time under an
# emulator: without one (f16c and sse4_1 are there for the level) the process ends with SIGILL or an abort, wordless.
NEEDED: Final = ("ssse3", "sse4_1", "sse4_2", "popcnt", "movbe", "avx", "avx2", "fma", "f16c", "bmi1", "bmi2", "abm")


def refuse_unfit_processor(cpuinfo: Path = CPUINFO, machine: str | None = None) -> None:
    """Raise `StoreUnavailableError` when the engine would be killed here; nothing when all is well or nobody knows.

    Args:
        cpuinfo: as Linux writes it.
        machine: the architecture; this one's when None.
    """
    if (machine or platform.machine()) not in {"x86_64", "amd64"}:
        return
    try:
        text = cpuinfo.read_text("ascii", "replace")
    except OSError:  # not Linux
        return
    flags = next(
        (line.partition(":")[2].split() for line in text.splitlines() if line.startswith("flags")), list[str]()
    )
    missing = [flag for flag in NEEDED if flag not in flags]
    if flags and missing:
        raise StoreUnavailableError(
            f"this processor lacks {', '.join(missing)}, which the embedded engine is compiled for: the kernel would"
            " end the process. In a virtual machine, set its CPU type to host (or x86-64-v3); else use a ClickHouse"
            ' server: [plugins.clickhouse] engine = "server" and url'
        )
