"""The decode worker's own path, stage by stage: CPU an event, in this process and without pipes or stores.

    python -m benchmarks.decode [--events 4000] [--rounds 5]

CPU time, so other work on the machine disturbs little; it is not free of it (shared caches), so the best round counts.
"""

from __future__ import annotations

import argparse
import functools
import gc
import json
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from appliance.config import Config
from appliance.hookspecs import Processor, Protocol
from appliance.pipeline import decode, rows, worker_plugins
from appliance.pipeline.decode import Decoder, PluginSet
from appliance.pipeline.wire import MARKER_BYTES, Job, Marker
from appliance.spool.framing import SegmentHeader, pack_frame_header, pack_segment_header
from appliance.spool.layout import segment_path
from appliance.spool.record import SpooledRecord, encode_record
from benchmarks.payloads import events, templates
from benchmarks.processes import machine

NOW: Final = 1_795_400_000_000_000  # µs; near the times in the payloads
KEY: Final = "0" * 32
# What is timed for itself: functions of modules, by stage. The rest of the path is "spool and frames".
FUNCTIONS: Final[tuple[tuple[ModuleType, str, str], ...]] = (
    (decode, "group", "group"),
    (decode, "event_row", "row"),
    (rows, "payload_of", "payload"),
)


def write_spool(directory: Path, count: int) -> Job:
    """One segment of `count` records as ingest writes them, and the job that reads it."""
    data = bytearray(pack_segment_header(SegmentHeader(1, 1, 0, 0, 0)))
    start = len(data)
    for index, body in enumerate(events(templates(key=KEY, now=NOW / 1e6), count)):
        record = SpooledRecord(
            protocol="sentry",
            route="envelope",
            project_id=1,
            received_at=NOW + index,
            query=f"sentry_version=7&sentry_key={KEY}",
            address="127.0.0.1",
            category="error",
            body=body,
        )
        payload = encode_record(record)
        data += pack_frame_header(payload, index, NOW + index) + payload
    segment_path(directory, 1).write_bytes(data)
    return Job(batch_id=b"", directory=str(directory), epoch=1, segment=1, start=start, end=len(data))


class Stages:
    """Nanoseconds of CPU by stage; what a stage calls that is one itself counts there."""

    def __init__(self) -> None:
        self.spent: dict[str, int] = {}
        self._inner = [0]

    def timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, its time counted."""

        @functools.wraps(function)
        def counted(*args: object) -> object:
            self._inner.append(0)
            begun = time.process_time_ns()
            try:
                return function(*args)
            finally:
                taken = time.process_time_ns() - begun
                self.spent[stage] = self.spent.get(stage, 0) + taken - self._inner.pop()
                self._inner[-1] += taken

        return counted


@contextmanager
def _watched(stages: Stages, plugins: PluginSet) -> Generator[None]:
    """Have the stages timed, for as long as it lasts."""
    watched: list[tuple[ModuleType | Protocol | Processor, str, Callable[..., Any]]] = []
    watched += [(module, name, stages.timed(stage, getattr(module, name))) for module, name, stage in FUNCTIONS]
    watched += [(protocol, "decode", stages.timed("decode", protocol.decode)) for protocol in plugins.protocols]
    watched += [
        (processor, "process_batch", stages.timed(processor.name, processor.process_batch))
        for processor in plugins.processors
    ]
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in watched]
    for owner, name, function in watched:
        setattr(owner, name, function)
    try:
        yield
    finally:
        for owner, name, function in before:
            setattr(owner, name, function)


def measure(count: int, rounds: int) -> dict[str, Any]:
    """µs of CPU an event: of all of it, and by stage in a round of its own (timing takes some itself)."""
    with tempfile.TemporaryDirectory() as folder, _quiet():
        directory = Path(folder)
        job = write_spool(directory, count)
        options = worker_plugins.worker_options(
            Config(), data_dir=directory, site_url="http://localhost", memory_bytes=2 << 30, cpus=2
        )
        plugins, max_body = worker_plugins.load(options)
        decoder = Decoder(plugins, max_body, Marker(memoryview(bytearray(MARKER_BYTES))))
        _round(decoder, job)  # fills caches, loads the user agent parser
        totals = [_round(decoder, job) for _ in range(rounds)]
        by_stage: list[dict[str, float]] = []
        for _ in range(rounds):
            stages = Stages()
            with _watched(stages, plugins):
                total = _round(decoder, job)
            spent = {stage: nanoseconds / 1e3 for stage, nanoseconds in stages.spent.items()}
            by_stage.append(spent | {"spool and frames": total - sum(spent.values())})
        best = min(by_stage, key=lambda spent: sum(spent.values()))
        return {
            "machine": machine(),
            "events": count,
            "cpu_us_per_event": round(min(totals) / count, 1),
            "stages_us_per_event": {stage: round(spent / count, 1) for stage, spent in _largest_first(best)},
        }


def _round(decoder: Decoder, job: Job) -> float:
    """µs of CPU for all of the job."""
    begun = time.process_time_ns()
    decoder.run(job, lambda _: None)
    return (time.process_time_ns() - begun) / 1e3


@contextmanager
def _quiet() -> Generator[None]:
    """No collection of cycles, as in the worker."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _largest_first(spent: dict[str, float]) -> Iterator[tuple[str, float]]:
    return iter(sorted(spent.items(), key=lambda entry: -entry[1]))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--events", type=int, default=4_000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    print(json.dumps(measure(given.events, given.rounds), indent=2))


if __name__ == "__main__":
    main()
