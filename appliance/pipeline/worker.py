"""The decode worker: a process of its own, in which plugin code may hang or crash.

Started as `python -m appliance.pipeline.worker`. It reads jobs from one pipe and writes chunks to another. It ends when
its parent does: the kernel kills it, and where that is not to be had, the job pipe closes. It imports neither the web
framework nor a database.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import mmap
import os
import resource
import signal
import sys
from collections.abc import Callable
from typing import Final, cast

from appliance.model import JsonObject
from appliance.pipeline.decode import Decoder, PluginSet
from appliance.pipeline.pipes import FrameReader, FrameWriter, PipeClosedError
from appliance.pipeline.wire import MARKER_BYTES, Job, Marker, Ready, Start, encode

PR_SET_PDEATHSIG: Final = 1
# What the process may hold: a body of 20 MiB is at most some 300 MiB as Python objects. A plugin that wants more gets
# a MemoryError, which costs one record, instead of pushing the whole appliance over its memory limit.
MAX_DATA_BYTES: Final = 768 * 1024 * 1024
COLLECT_EVERY: Final = 16  # jobs; plugins may make reference cycles, our own structs are none
OOM_SCORE: Final = "500"  # when memory runs out the kernel takes this process, which is respawned, not the store's
# Where there is less processor time than work, pages and what was decoded go first: a batch can wait a little, a person
# should not.
NICE: Final = 5
JOB_BYTES: Final = 64 * 1024  # of the buffer for jobs, which are small

Loader = Callable[[JsonObject], tuple[PluginSet, int]]


def main(arguments: list[str]) -> int:
    """Run until the parent closes the job pipe.

    Args:
        arguments: descriptors of the job pipe, the answer pipe and the marker, and the parent's process id.
    """
    jobs_fd, answers_fd, marker_fd, parent = (int(argument) for argument in arguments)
    _guard(parent)
    jobs, answers = FrameReader(jobs_fd, JOB_BYTES), FrameWriter(answers_fd)
    try:
        start = jobs.receive()
        if not isinstance(start, Start):
            raise PipeClosedError("the first frame must be Start")
        decoder = _prepare(start, marker_fd, answers)
        if decoder is not None:
            _serve(decoder, jobs, answers)
    except PipeClosedError:
        return 0
    return 0 if decoder is not None else 1


def _prepare(start: Start, marker_fd: int, answers: FrameWriter) -> Decoder | None:
    """Load the plugins and say how that went."""
    try:
        module, _, name = start.loader.partition(":")
        loader = cast("Loader", getattr(importlib.import_module(module), name))
        plugins, max_body = loader(start.options)
    except Exception as error:  # noqa: BLE001 - plugins run here; the parent shows the text and tries again
        answers.send(encode(Ready(error=f"{type(error).__name__}: {error}"[:4_000])))
        return None
    marker = Marker(memoryview(mmap.mmap(marker_fd, MARKER_BYTES)))
    decoder = Decoder(plugins, max_body, marker)
    gc.collect()
    gc.freeze()
    gc.disable()
    protocols = [protocol.name for protocol in plugins.protocols]
    processors = [processor.name for processor in plugins.processors]
    answers.send(encode(Ready(protocols=protocols, processors=processors)))
    return decoder


def _serve(decoder: Decoder, jobs: FrameReader, answers: FrameWriter) -> None:
    done = 0
    while True:
        job = jobs.receive()
        if not isinstance(job, Job):
            raise PipeClosedError("expected a Job")
        answers.send(encode(decoder.run(job, answers.add)))
        done += 1
        if done % COLLECT_EVERY == 0:
            gc.collect()


def _guard(parent: int) -> None:
    """Die with the parent, hold little, and be the one that the kernel kills first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ^C in a terminal goes to the whole group; the parent decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.nice(NICE)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died between our start and the line above
            os._exit(0)
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write(OOM_SCORE)
        resource.setrlimit(resource.RLIMIT_DATA, (MAX_DATA_BYTES, MAX_DATA_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold unscrubbed bodies


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
