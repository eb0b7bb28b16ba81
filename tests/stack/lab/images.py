"""The images of the stack tests, built once: the appliance's own from this checkout, and stand-ins for the others.

Where an image registry can be reached none of the stand-ins would be needed; here none can. Caddy and PostgreSQL are
the real programs in another package; the ClickHouse stand-in answers its HTTP interface from the embedded engine, so
that wire and SQL are real while the server's own memory is not measured.
"""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from appliance import __version__
from tests.stack.lab.engine import LAB, Engine
from tests.stack.lab.vps import Vps

REPOSITORY: Final = Path(__file__).parents[3]
HERE: Final = Path(__file__).parent
BASE: Final = "python:3.13-slim"
APPLIANCE: Final = f"condev-monitor:{__version__}"
CADDY: Final = "caddy:2"
POSTGRES: Final = "postgres:17"
CLICKHOUSE: Final = "clickhouse/clickhouse-server:25.8"
# Builds were seen to hang once in some dozen, in the package index's answer: they get minutes, and a second try.
BUILD_SECONDS: Final = 400.0
KEEP: Final = "condev-lab/appliance:kept"  # a second name: `condev-uninstall` removes the first one
STAGES: Final = ("dependencies", "ours")  # of the Dockerfile: named, they are there for the next build


def build(engine: Engine, tag: str, context: Path, *arguments: str) -> None:
    """`docker build`, with a second try when the first one hangs."""
    command = ("build", "--quiet", "--tag", tag, *arguments, str(context))
    try:
        engine.docker(*command, seconds=BUILD_SECONDS)
    except subprocess.TimeoutExpired:
        engine.docker(*command, seconds=BUILD_SECONDS)


def ensure(engine: Engine) -> None:
    """Build all; what did not change comes from the engine's cache. What nothing is built from any more goes."""
    have = engine.docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}").split()
    if BASE not in have:
        subprocess.run(
            [HERE / "base-image.sh", BASE, LAB / "cache"],
            env=engine.environment(), check=True, timeout=BUILD_SECONDS, stdout=subprocess.DEVNULL,
        )  # fmt: skip
    with ThreadPoolExecutor(2) as side_by_side:  # half of the time is waiting for downloads
        others = side_by_side.submit(_build_others, engine)
        for stage in STAGES:
            build(engine, f"condev-lab/{stage}", REPOSITORY, "--target", stage)
        build(engine, APPLIANCE, REPOSITORY)
        engine.docker("tag", APPLIANCE, KEEP)
        front = REPOSITORY / "tests" / "plugins" / "clickhouse"
        build(engine, CLICKHOUSE, front, "--file", str(HERE / "stand-ins" / "clickhouse" / "Dockerfile"))
        others.result()
    engine.docker("image", "prune", "--force")  # each commit makes a gigabyte of new layers


def _build_others(engine: Engine) -> None:
    build(engine, "condev-lab/caddy-get", HERE / "stand-ins" / "caddy", "--target", "get")
    build(engine, CADDY, HERE / "stand-ins" / "caddy")
    build(engine, POSTGRES, HERE / "stand-ins" / "postgres")


def hand_over(engine: Engine, vps: Vps, *tags: str) -> None:
    """Copy images to a machine that has its own."""
    with engine.saved(*tags) as archive:
        subprocess.run(vps.words(["docker", "load", "--quiet"]), stdin=archive, check=True, timeout=BUILD_SECONDS)
