"""Load from a compiled generator (wrk, of Debian's packages), on loopback only."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

from benchmarks.payloads import templates, write_templates

SCRIPT: Final = Path(__file__).with_name("load.lua")
CONNECTIONS: Final = 32


class NoGeneratorError(RuntimeError):
    """wrk is not installed."""


def template_file(folder: Path, key: str, issues: int = 2_000) -> Path:
    """Write what the generator sends: one template an issue."""
    path = folder / f"templates-{issues}.bin"
    write_templates(templates(issues, key), path)
    return path


def wrk(
    url: str, bodies: Path, seconds: float, *, connections: int = CONNECTIONS, rate: float = 0.0, seed: int = 1
) -> dict[str, Any]:
    """Send events for a while.

    Args:
        url: the envelope address with its key.
        bodies: from `template_file`.
        seconds: for how long.
        connections: keep-alive connections.
        rate: events a second in all, about; 0 = as fast as answers come. Each connection waits before it sends.
        seed: another one gives other events.

    Returns:
        requests, seconds, not_2xx, socket_errors, p50_ms, p99_ms, max_ms.
    """
    program = shutil.which("wrk")
    if program is None:
        raise NoGeneratorError("wrk is not installed: apt install wrk")
    if not url.startswith("http://127.0.0.1:"):
        raise ValueError("load stays on loopback")
    wait_ms = 1000 * connections / rate if rate else 0
    command = [program, "-t1", f"-c{connections}", f"-d{round(seconds)}s", "--timeout", "30s", "-s", str(SCRIPT), url]
    done = subprocess.run(
        [*command, "--", str(bodies), str(round(wait_ms)), str(seed)], capture_output=True, text=True, check=True
    )
    for line in done.stdout.splitlines():
        if line.startswith("JSON "):
            return json.loads(line.removeprefix("JSON "))
    raise RuntimeError(f"wrk said nothing: {done.stdout}{done.stderr}")
