"""From the spool to the pages: how fast, at what cost, in how much memory.

    python -m benchmarks.drain [--events 1000000] [--limit-mb 0]

Fills a spool through the ingest role, lets the core apply it, and repeats until so many events are stored; then asks
for pages, at rest and while more arrives. With --limit-mb the core runs in a memory cgroup without swap (needs root).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx

from benchmarks.load import template_file, wrk
from benchmarks.payloads import events, templates
from benchmarks.processes import Appliance, Installation, disk_bytes, install, machine, workspace

FILL_SECONDS: Final = 12  # about 100,000 events, 1 GB of spool
ASSUMED_RATE: Final = 8_000
LIVE_RATE: Final = 3_000
ASK_SECONDS: Final = 0.5  # between looks at the spool's depth, each of which asks the store for its sizes too
LAG_RATE: Final = 500
PAGE_LOAD_RATE: Final = 1_500
PAGES: Final = 150  # requests a page, for a p95 that is more than luck
MB: Final = 1_000_000
CGROUPS: Final = (Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup"))


def envelope_url(appliance: Appliance, made: Installation) -> str:
    """Where events go."""
    return f"{appliance.url}/api/{made.project_id}/envelope/?sentry_version=7&sentry_key={made.key}"


def fill_and_drain(made: Installation, bodies: Path, wanted: int, cgroup: Path | None) -> dict[str, Any]:
    """Store `wanted` events in rounds; throughput and cost of draining alone, memory of all of it."""
    stored, drained, seconds, cpu, peaks = 0, 0, 0.0, 0.0, [0]
    while stored < wanted:
        with Appliance(made.data_dir, "ingest") as ingest:
            enough = min(FILL_SECONDS, 2 + (wanted - stored) // ASSUMED_RATE)
            sent = wrk(envelope_url(ingest, made), bodies, enough, seed=stored + 1)
        if sent["not_2xx"] or sent["socket_errors"]:
            raise RuntimeError(f"not everything was accepted: {sent}")
        with Appliance(made.data_dir, "core", cgroup=cgroup) as core:
            usage, before, begun = core.watch(), core.cpu(), time.monotonic()
            first = core.system(made.token)
            while core.system(made.token)["spool"]["records"]:
                time.sleep(ASK_SECONDS)
            last = core.system(made.token)
            seconds += time.monotonic() - begun
            cpu += core.cpu() - before
            drained += last["totals"].get("events", 0) - first["totals"].get("events", 0)
            stored = last["totals"].get("events", 0)
            peaks.append(usage.peak_anonymous)
        print(f"  {stored:>9,} events stored, {drained / seconds:,.0f}/s", file=sys.stderr)
    return {
        "events": stored,
        "per_second": round(drained / seconds),
        "cpu_us_per_event": round(cpu / drained * 1e6, 1),
        "peak_anonymous_mb": round(max(peaks) / MB),
        "peaks_anonymous_mb": [round(peak / MB) for peak in peaks[1:]],  # one a round: flat or not
        "disk_bytes_per_event": round(disk_bytes(made.data_dir / "clickhouse") / stored),
    }


def live(made: Installation, bodies: Path, seconds: int) -> dict[str, Any]:
    """Accepting and draining at once, as the stack does it: ingest and core are two processes."""
    with Appliance(made.data_dir, "core") as core, Appliance(made.data_dir, "ingest") as ingest:
        usages, before = (core.watch(), ingest.watch()), core.cpu() + ingest.cpu()
        first = core.system(made.token)["totals"].get("events", 0)
        sent = wrk(envelope_url(ingest, made), bodies, seconds, rate=LIVE_RATE, seed=71)
        during = core.system(made.token)["totals"].get("events", 0) - first
        while core.system(made.token)["spool"]["records"]:
            time.sleep(ASK_SECONDS)
        done = core.system(made.token)["totals"].get("events", 0) - first
        return {
            "arrived_per_second": round(sent["requests"] / sent["seconds"]),
            "drained_per_second_meanwhile": round(during / sent["seconds"]),
            "not_2xx": sent["not_2xx"],
            "cpu_us_per_event_accept_and_drain": round((core.cpu() + ingest.cpu() - before) / max(done, 1) * 1e6, 1),
            "peak_anonymous_mb": round(sum(usage.peak_anonymous for usage in usages) / MB),
        }


def lag(made: Installation, bodies: Path, seconds: int) -> dict[str, Any]:
    """How long after its 2xx an event can be read, at a steady rate."""
    with Appliance(made.data_dir) as appliance:
        url = envelope_url(appliance, made)
        load = threading.Thread(target=wrk, args=(url, bodies, seconds), kwargs={"rate": LAG_RATE, "seed": 5})
        load.start()
        waits: list[float] = []
        headers = {"Authorization": f"Bearer {made.token}"}
        with httpx.Client(trust_env=False) as client:
            for body in events(templates(40, made.key), 10_000, seed=time.time_ns()):
                if not load.is_alive():
                    break
                event_id = json.loads(body.split(b"\n", 1)[0])["event_id"]
                client.post(url, content=body).raise_for_status()
                sent = time.monotonic()
                while client.get(f"{appliance.url}/api/v1/events/{event_id}", headers=headers).status_code != 200:
                    time.sleep(0.02)
                waits.append(time.monotonic() - sent)
                time.sleep(0.2)
        load.join()
        return {
            "probes": len(waits),
            "p50_s": _at(waits, 0.5),
            "p95_s": _at(waits, 0.95),
            "max_s": round(max(waits), 3),
        }


def pages(made: Installation, bodies: Path, cgroup: Path | None = None) -> dict[str, Any]:
    """The issue list and an issue, at rest and under load."""
    with Appliance(made.data_dir, cgroup=cgroup) as appliance, signed_in(appliance) as client:
        issue = json.loads(appliance.get(f"/api/v1/projects/{made.project_id}/issues?limit=1", made.token))["items"][0]
        paths = {"issue_list": "/issues", "issue": f"/issues/{issue['id']}"}
        at_rest = {name: timed(client, path) for name, path in paths.items()}
        load = threading.Thread(
            target=wrk, args=(envelope_url(appliance, made), bodies, 40), kwargs={"rate": PAGE_LOAD_RATE, "seed": 11}
        )
        load.start()
        time.sleep(3)
        under_load = {name: timed(client, path) for name, path in paths.items()}
        load.join()
        return {"at_rest": at_rest, f"while_{PAGE_LOAD_RATE}_a_second_arrive": under_load}


def timed(client: httpx.Client, path: str) -> dict[str, float]:
    """Milliseconds of whole answers, over one kept connection, and how many were none."""
    taken: list[float] = []
    refused = 0
    for _ in range(PAGES):
        begun = time.monotonic()
        refused += client.get(path).is_error
        taken.append((time.monotonic() - begun) * 1000)
    return {"p50_ms": _at(taken, 0.5), "p95_ms": _at(taken, 0.95), "refused": refused}


@contextmanager
def signed_in(appliance: Appliance) -> Generator[httpx.Client]:
    """A browser's session."""
    with httpx.Client(base_url=appliance.url, trust_env=False, timeout=30) as client:
        form = client.get("/sign-in").text
        token = re.search(r'name="_csrf_token" value="([^"]+)"', form)
        if token is None:
            raise RuntimeError("the sign-in page has no form")
        fields = {"_csrf_token": token[1], "email": "bench@example.com", "password": "bench-mark-9182"}
        answer = client.post("/sign-in", data=fields)
        if answer.status_code != 303:
            raise RuntimeError(f"signing in was answered {answer.status_code}")
        yield client


def idle(made: Installation) -> dict[str, Any]:
    """Memory and CPU of an appliance that nobody uses."""
    with Appliance(made.data_dir) as appliance:
        time.sleep(12)
        usage, before = appliance.watch(), appliance.cpu()
        time.sleep(10)
        return {
            "anonymous_mb": round(statistics.median(bytes_ for _, bytes_ in usage.anonymous) / MB),
            "cpu_percent": round((appliance.cpu() - before) * 10, 1),
        }


@contextmanager
def memory_cgroup(limit_mb: int) -> Generator[Path | None]:
    """A memory cgroup without swap; None without a limit."""
    if not limit_mb:
        yield None
        return
    base = next(path for path in CGROUPS if path.is_dir())
    group = base / f"condev-bench-{os.getpid()}"
    group.mkdir()
    v1 = (group / "memory.limit_in_bytes").exists()
    (group / ("memory.limit_in_bytes" if v1 else "memory.max")).write_text(str(limit_mb * MB))
    if not v1:
        (group / "memory.swap.max").write_text("0")
    try:
        yield group
    finally:
        time.sleep(1)
        group.rmdir()


def measure(wanted: int, limit_mb: int) -> dict[str, Any]:
    """Everything, on one installation."""
    with workspace() as folder, memory_cgroup(limit_mb) as cgroup:
        made = install(folder)
        bodies = template_file(folder, made.key)
        found: dict[str, Any] = {"machine": machine(), "memory_limit_mb": limit_mb, "idle": idle(made)}
        found["drain"] = fill_and_drain(made, bodies, wanted, cgroup)
        if cgroup is None:
            found["live"] = live(made, bodies, 30)
            found["lag"] = lag(made, bodies, 20)
        found["pages"] = pages(made, bodies, cgroup)
        return found


def _at(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * share))], 3)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--events", type=int, default=1_000_000, help="to store before pages are asked for")
    parser.add_argument("--limit-mb", type=int, default=0, help="memory cgroup of the core; 0 = none")
    given = parser.parse_args()
    print(json.dumps(measure(given.events, given.limit_mb), indent=2))


if __name__ == "__main__":
    main()
