"""What the browser SDK costs a page: bytes, main-thread time of the start, scripting while it is used, memory.

    python -m benchmarks.sdk [--loads 25] [--seconds 60] [--minutes 60]

Prints JSON and writes it into benchmarks/results/. Chromium's main thread is slowed down four times, as on a cheap
phone; the same page without the SDK is measured beside it. The heap is read while an hour passes by a clock of our own.
Needs Debian's chromium. The SDK is built first where sdk/dist is not of its sources.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Browser, CDPSession, Page, sync_playwright

from benchmarks.page_server import PageServer
from benchmarks.processes import machine

CHROMIUM: Final = "/usr/bin/chromium"
BUILT: Final = Path(__file__).parents[1] / "sdk" / "dist"
RESULTS: Final = Path(__file__).parent / "results"
SCRIPTS: Final = ("sdk.js", "errors.js", "idle.js", "vitals.js", "replay.js")
FLOORS: Final = ("empty", "listeners", "work")  # of benchmarks/sdk_page/floors: what any script costs there
THROTTLE: Final = 4  # what DevTools calls a mid-tier phone
LONG_TASK_US: Final = 50_000
SETTLE_SECONDS: Final = 6  # after load: the vitals chunk and the settings are fetched when the page is idle
STARTED_SECONDS: Final = 0.2  # after load: all scripts of the page have run
# Before each load. The throttle counts the time in which another process has the core, too: beside the end of the page
# before, its "4" is 6 to 8.
REST_SECONDS: Final = 2
LOADS_A_FLOOR: Final = 5  # one load of so many is followed by the floors, or waits for what comes later
SAMPLING_US: Final = 250  # of the CPU profiler
CATEGORIES: Final = "-*,devtools.timeline,disabled-by-default-devtools.timeline,v8,toplevel"


def sizes() -> dict[str, dict[str, int]]:
    """Bytes of each script as built, and gzipped by the compressor that makes more of it, as in `make lint`."""
    files = [BUILT / name for name in SCRIPTS]
    gzipped: list[int] = _file_module("tests/sdk/sizes.py").sizes(files)
    return {file.name: {"bytes": file.stat().st_size, "gzip": size} for file, size in zip(files, gzipped, strict=True)}


def build() -> None:
    """Make sdk/dist that of its sources: a figure of an old build is of nothing. Ends the program if it cannot."""
    assets = _file_module("hatch_build.py")
    try:
        done: bool = assets.build_assets()
    except assets.AssetsError as error:
        sys.exit(str(error))
    if done:
        print("SDK: built anew", file=sys.stderr)


def _file_module(path: str) -> Any:
    """A module that belongs to no package, by its path in the repository."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, BUILT.parents[1] / path)
    if spec is None or spec.loader is None:
        raise ImportError(path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def of_sdk(url: str) -> bool:
    """Whether a script's address is the SDK's, and not the page's."""
    return url.endswith(tuple(f"/{name}" for name in SCRIPTS))


# ── the start ──


def start(browser: Browser, server: PageServer, loads: int) -> dict[str, Any]:
    """Main-thread time of the start, with the main thread slowed down and as it is: the latter varies less.

    `throttling_measured` is how much slower plain arithmetic was: what DevTools calls 4 depends on the machine.
    """
    found = {rate: _starts(browser, server, loads, rate) for rate in (THROTTLE, 1)}
    slowed, plain = (found[rate]["floors_ms"]["work"]["median"] for rate in (THROTTLE, 1))
    return {
        **found[THROTTLE],
        "not_throttled": found[1],
        "throttling_measured": round(slowed / plain, 1),
        "later": _later(browser, server, -(-loads // LOADS_A_FLOOR)),
    }


def _starts(browser: Browser, server: PageServer, loads: int, rate: int) -> dict[str, Any]:
    """Over several loads of the page with the SDK, and by turns of the same without it and with each of the floors.

    `init_ms` is all of evaluating sdk.js. Whatever script comes first on a page also pays for what the browser makes at
    the first use, as of `document`: `init_against_without_ms` is what all scripts of the page take more with the SDK.
    `floors_ms` is what others take in its place, by the same clock: nothing, three listeners, some plain arithmetic.
    """
    load_before = os.getloadavg()[0]
    runs: list[dict[str, Any]] = []
    plain: list[dict[str, Any]] = []
    floors: dict[str, list[dict[str, Any]]] = {name: [] for name in FLOORS}
    for number in range(loads):
        runs.append(_one_load(browser, server, rate, "sdk", STARTED_SECONDS))
        plain.append(_one_load(browser, server, rate, "", STARTED_SECONDS))
        if number % LOADS_A_FLOOR == 0:
            for name, found in floors.items():
                found.append(_one_load(browser, server, rate, f"floors/{name}", STARTED_SECONDS))
    return {
        "loads": loads,
        "machine_load_before": round(load_before, 1),
        "init_ms": _spread(run["init_ms"] for run in runs),
        "init_against_without_ms": _against(runs, plain),
        "floors_ms": {name: _spread(run["init_ms"] for run in found) for name, found in floors.items()},
        "floors_against_without_ms": {name: _against(found, plain[::LOADS_A_FLOOR]) for name, found in floors.items()},
        "of_it_compiling_ms": statistics.median(run["compile_ms"] for run in runs),
    }


def _later(browser: Browser, server: PageServer, loads: int) -> dict[str, Any]:
    """What comes when the page is idle, slowed down, and the long tasks of the whole load."""
    runs: list[dict[str, Any]] = []
    plain: list[dict[str, Any]] = []
    for _ in range(loads):
        runs.append(_one_load(browser, server, THROTTLE, "sdk", SETTLE_SECONDS))
        plain.append(_one_load(browser, server, THROTTLE, "", SETTLE_SECONDS))
    return {
        "loads": loads,
        "when_the_page_is_idle_ms": statistics.median(run["later_ms"] for run in runs),
        "chunks_evaluated_ms": statistics.median(run["chunk_ms"] for run in runs),
        "longest_sdk_call_ms": _spread(run["longest_ms"] for run in runs),
        "long_tasks_of_the_sdk": sum(run["long_tasks"] for run in runs),
        "long_tasks_a_load": statistics.mean(run["all_long_tasks"] for run in runs),
        "long_tasks_a_load_without": statistics.mean(run["all_long_tasks"] for run in plain),
    }


def _spread(values: Iterable[float]) -> dict[str, float]:
    ordered = sorted(values)
    middle = statistics.median(ordered)
    return {"least": round(ordered[0], 2), "median": round(middle, 2), "most": round(ordered[-1], 2)}


def _against(runs: list[dict[str, Any]], plain: list[dict[str, Any]]) -> dict[str, float]:
    """What all scripts of the page take more with one before them."""
    return _spread(run["init_ms"] + run["page_ms"] - other["page_ms"] for run, other in zip(runs, plain, strict=True))


def _one_load(browser: Browser, server: PageServer, rate: int, script: str, settle_seconds: float) -> dict[str, Any]:
    """Load the page with a script before its own, wait so long, and read the trace."""
    page = browser.new_page()
    session = page.context.new_cdp_session(page)
    session.send("Emulation.setCPUThrottlingRate", {"rate": rate})
    page.wait_for_timeout(REST_SECONDS * 1000)
    events: list[dict[str, Any]] = []
    session.on("Tracing.dataCollected", lambda data: events.extend(data["value"]))
    session.send("Tracing.start", {"transferMode": "ReportEvents", "traceConfig": _trace_config()})
    page.goto(server.address(script), wait_until="load")
    page.wait_for_timeout(settle_seconds * 1000)
    complete: list[Any] = []
    # Playwright keeps something on the handler, which a method of a list does not take.
    session.on("Tracing.tracingComplete", lambda data: complete.append(data))  # noqa: PLW0108
    session.send("Tracing.end")
    while not complete:
        page.wait_for_timeout(20)
    page.close()
    return _read_trace(events, f"/{script}.js")


def _trace_config() -> dict[str, Any]:
    return {"includedCategories": CATEGORIES.split(",")[1:], "excludedCategories": ["*"]}


def _read_trace(events: list[dict[str, Any]], script: str) -> dict[str, Any]:
    """In ms of the page's main thread: evaluating scripts with their compilation, calls of the SDK, long tasks.

    Args:
        script: how the address of the one before the page's own ends.
    """
    main = {_thread(one) for one in events if one["name"] == "thread_name" and one["args"]["name"] == "CrRendererMain"}
    done = [event for event in events if event.get("ph") == "X" and _thread(event) in main]
    found = dict.fromkeys(("init_ms", "chunk_ms", "page_ms", "compile_ms", "later_ms", "longest_ms"), 0.0)
    calls: list[tuple[tuple[int, int], float, float, float]] = []  # thread, start, end, time spent; µs
    for event in done:
        url, name, spent = event["args"].get("data", {}).get("url", ""), event["name"], _spent(event)
        if name == "EvaluateScript" and url.endswith("/page.js"):
            found["page_ms"] += spent
        first = url.endswith(script)
        if name not in ("EvaluateScript", "FunctionCall", "v8.compile") or not (first or of_sdk(url)):
            continue
        calls.append((_thread(event), event["ts"], event["ts"] + event["dur"], spent))
        if name == "v8.compile":
            found["compile_ms"] += spent if first else 0
        elif name == "EvaluateScript":
            found["init_ms" if first else "chunk_ms"] += spent
        else:
            found["later_ms"] += spent
        found["longest_ms"] = max(found["longest_ms"], spent)
    tasks = [one for one in done if one["name"].endswith("RunTask") and _spent(one) > LONG_TASK_US]
    return {
        **{name: round(value / 1000, 2) for name, value in found.items()},
        "long_tasks": len([task for task in tasks if _sdk_time(task, calls) > _spent(task) / 2]),
        "all_long_tasks": len({(*_thread(task), task["ts"]) for task in tasks}),
    }


def _thread(event: dict[str, Any]) -> tuple[int, int]:
    return event["pid"], event["tid"]


def _spent(event: dict[str, Any]) -> float:
    """µs of the thread's own time, where the trace has it: what else the machine does is not the page's cost."""
    return event.get("tdur", event["dur"])


def _sdk_time(task: dict[str, Any], calls: list[tuple[tuple[int, int], float, float, float]]) -> float:
    """µs of a task inside the SDK; nested calls count once."""
    begin, end = task["ts"], task["ts"] + task["dur"]
    total = reached = 0.0
    for _, start, stop, spent in sorted(call for call in calls if call[0] == _thread(task) and begin <= call[1] < end):
        if start >= reached:
            total += spent
            reached = stop
    return total


# ── use ──


def use(browser: Browser, server: PageServer, seconds: int) -> dict[str, Any]:
    """Scripting time over some time of use, with the SDK and without."""
    found: dict[str, Any] = {"seconds": seconds}
    for name, sdk in (("without", False), ("with", True)):
        page = browser.new_page()
        session = _throttled(page)
        page.goto(server.address("sdk" if sdk else ""), wait_until="load")
        page.wait_for_timeout(SETTLE_SECONDS * 1000)
        session.send("Performance.enable", {"timeDomain": "timeTicks"})
        session.send("Profiler.enable")
        session.send("Profiler.setSamplingInterval", {"interval": SAMPLING_US})
        before = _metrics(session)
        session.send("Profiler.start")
        page.wait_for_timeout(seconds * 1000)
        profile = session.send("Profiler.stop")["profile"]
        after = _metrics(session)
        page.close()
        found[name] = {
            "script_percent": round((after["ScriptDuration"] - before["ScriptDuration"]) / seconds * 100, 3),
            "tasks_percent": round((after["TaskDuration"] - before["TaskDuration"]) / seconds * 100, 3),
        }
        if sdk:
            found["sdk_percent"] = round(sdk_seconds(profile) / seconds * 100, 3)
    found["difference_percent"] = round(found["with"]["script_percent"] - found["without"]["script_percent"], 3)
    return found


def sdk_seconds(profile: dict[str, Any]) -> float:
    """Of samples whose nearest script is the SDK's: what it calls of the browser counts, the page's code does not.

    Nor does the page's own `fetch`, which it calls through the SDK: without it the page takes the same time.
    """
    nodes = {node["id"]: node for node in profile["nodes"]}
    parents = {child: node["id"] for node in profile["nodes"] for child in node.get("children", ())}

    def belongs(number: int) -> bool:
        at: int | None = number
        while at is not None:
            url = nodes[at]["callFrame"]["url"]
            if url:
                return of_sdk(url)
            at = parents.get(at)
        return False

    def passes_on(number: int) -> bool:
        if nodes[number]["callFrame"]["functionName"] != "fetch":
            return False
        at: int | None = number
        while at is not None and not nodes[at]["callFrame"]["url"].endswith("/page.js"):
            at = parents.get(at)
        return at is not None

    own = {number for number in nodes if belongs(number) and not passes_on(number)}
    spent = zip(profile["samples"], profile["timeDeltas"], strict=True)
    return sum(delta for sample, delta in spent if sample in own) / 1_000_000


def _metrics(session: CDPSession) -> dict[str, float]:
    return {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}


# ── memory ──


def heap(browser: Browser, server: PageServer, minutes: int) -> dict[str, Any]:
    """Used JavaScript heap after collection, in kB, at each tenth of some virtual time of use.

    Without what DevTools keeps while Playwright listens: the last thousand console messages, and each error that the
    page threw, for good.
    """
    found = {name: [*_heaps(browser, server, minutes, sdk=sdk)] for name, sdk in (("without", False), ("with", True))}
    cost = [more - less for more, less in zip(found["with"], found["without"], strict=True)]
    return {
        "virtual_minutes": minutes,
        "kb": found,
        "sdk_kb": {"after_a_tenth": cost[0], "at_the_end": cost[-1], "growth": cost[-1] - cost[0]},
    }


def _heaps(browser: Browser, server: PageServer, minutes: int, *, sdk: bool) -> Iterator[int]:
    page = browser.new_page()
    page.clock.install()  # timers and the time are ours; requests are as ever
    page.goto(server.address("sdk" if sdk else ""), wait_until="load")
    session = page.context.new_cdp_session(page)
    for _ in range(10):
        for _ in range(minutes * 6):
            page.clock.run_for(1000)  # a beat of the page; what it asked for is answered before the next
        session.send("Runtime.discardConsoleEntries")
        session.send("HeapProfiler.collectGarbage")
        yield round(session.send("Runtime.getHeapUsage")["usedSize"] / 1000)
    page.close()


def _throttled(page: Page) -> CDPSession:
    session = page.context.new_cdp_session(page)
    session.send("Emulation.setCPUThrottlingRate", {"rate": THROTTLE})
    return session


# ── all ──


def measure(loads: int, seconds: int, minutes: int) -> dict[str, Any]:
    """Everything about the SDK; a part of which there shall be 0 is left out."""
    build()
    found: dict[str, Any] = {"sizes": sizes(), "cpu_throttling": THROTTLE}
    parts = (("start", start, loads), ("use", use, seconds), ("heap", heap, minutes))
    with PageServer(BUILT) as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        found["chromium"] = browser.version
        for name, part, amount in parts:
            if amount:
                print(f"SDK: {name} …", file=sys.stderr)
                found[name] = {"machine_load_before": round(os.getloadavg()[0], 1), **part(browser, server, amount)}
        found["requests"] = server.taken
        browser.close()
    return found


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--loads", type=int, default=25, help="of the page, for the start; 0 = leave it out")
    parser.add_argument("--seconds", type=int, default=60, help="of use; 0 = leave it out")
    parser.add_argument("--minutes", type=int, default=60, help="of virtual time, for the heap; 0 = leave it out")
    given = parser.parse_args()
    found: dict[str, Any] = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": f"python -m benchmarks.sdk {' '.join(sys.argv[1:])}".strip(),
        "machine": machine(),
        **measure(given.loads, given.seconds, given.minutes),
    }
    RESULTS.mkdir(exist_ok=True)
    parts = "-".join(part for part in ("start", "use", "heap") if part in found)
    name = RESULTS / f"{found['at'][:10]}-sdk-{parts}.json"
    name.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    print(json.dumps(found, indent=2))
    print(f"written to {name}", file=sys.stderr)


if __name__ == "__main__":
    main()
