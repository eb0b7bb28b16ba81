"""The parent's side of the decode worker: start it, give it jobs with a deadline, kill and replace it.

All blocking calls run in one thread that lives as long as the worker may, because the kernel ties a child's life to the
thread that made it. Which records are to blame for a death is not decided here: see `isolate.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from mmap import mmap
from typing import Final

import structlog
from msgspec import Struct, field

from appliance.model import JsonObject
from appliance.pipeline.pipes import FrameReader, FrameWriter, PipeClosedError, PipeTimeoutError
from appliance.pipeline.wire import MARKER_BYTES, Chunk, Done, Job, Marker, Ready, Start, encode

START_SECONDS: Final = 60.0  # importing the plugins, on a slow disk with cold caches
STDERR: Final = 2  # what plugins print goes to the log, not into the answers
PIPE_BYTES: Final = 1 << 20  # the kernel's usual limit; 64 KiB would cost a switch for every 6 events

log = structlog.get_logger(__name__)


# One arena, and memory given back: what a large batch took must not stay with the worker.
MALLOC: Final = {"MALLOC_ARENA_MAX": "1", "MALLOC_TRIM_THRESHOLD_": "4194304"}
# What a process needs to be one: where programs, libraries and temporary files lie, language and zone. Everything else
# may be a secret that config.toml names by `{ env = … }`, and the worker reads what strangers sent.
KEPT: Final = frozenset({"PATH", "LANG", "LANGUAGE", "TZ", "TMPDIR", "HOME", "LD_LIBRARY_PATH"})
KEPT_PREFIXES: Final = ("LC_", "MALLOC_", "PYTHON")


def kept_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Of an environment what the decode worker is given."""
    return {name: text for name, text in environ.items() if name in KEPT or name.startswith(KEPT_PREFIXES)}


class Decoded(Struct, kw_only=True):
    """A finished job."""

    chunks: list[Chunk] = field(default_factory=list)
    end: int
    records: int


class WorkerStartError(Exception):
    """The worker cannot start; no record is to blame. The text names the plugin."""


class WorkerDiedError(Exception):
    """The worker crashed or hung in the middle of a job.

    Args:
        reason: "crashed" or "timed_out".
        detail: how, in words.
        suspect: the index of the record it was at, if known.
    """

    def __init__(self, reason: str, detail: str, suspect: int | None) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.suspect = suspect


class DecodeWorker:
    """One worker process, replaced when it dies. `decode` runs one job at a time."""

    def __init__(self, loader: str, options: JsonObject, environ: Mapping[str, str] | None = None) -> None:
        """Start nothing yet.

        Args:
            loader: "package.module:function" that the worker calls for its plugins.
            options: what it is called with.
            environ: added to the little of this process's environment that it gets (`kept_environment`).
        """
        self._start_frame = encode(Start(loader=loader, options=options))
        self._environ = dict(environ or {})
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="decode-worker")
        self._process: subprocess.Popen[bytes] | None = None
        self._jobs: FrameWriter | None = None
        self._answers: FrameReader | None = None
        self._marker_memory: mmap | None = None
        self._closed = False
        self.ready = Ready()
        self.starts = 0

    @property
    def pid(self) -> int | None:
        """The process's id while it runs."""
        return self._process.pid if self._process is not None else None

    async def start(self) -> None:
        """Start the process if it does not run.

        Raises:
            WorkerStartError: it ended or said no; nothing runs.
        """
        await asyncio.get_running_loop().run_in_executor(self._thread, self._ensure_running)

    async def decode(self, job: Job, timeout: float) -> Decoded:
        """Run a job.

        Args:
            job: what to decode.
            timeout: seconds; a worker that takes longer is killed.

        Raises:
            WorkerStartError: no worker can be had.
            WorkerDiedError: it crashed or hung; the next call starts another.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._decode, job, timeout)

    def kill(self) -> None:
        """End the process at once; a running `decode` raises `WorkerDiedError`."""
        process = self._process
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()

    async def close(self) -> None:
        """End the process and the thread; again is fine."""
        if self._closed:
            return
        self._closed = True
        self.kill()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._reap)
        self._thread.shutdown()

    # ── in the thread ──

    def _decode(self, job: Job, timeout: float) -> Decoded:
        self._ensure_running()
        deadline = time.monotonic() + timeout
        chunks: list[Chunk] = []
        try:
            jobs, answers = self._pipes()
            jobs.send(encode(job))
            while True:
                answer = answers.receive(deadline)
                if isinstance(answer, Done):
                    return Decoded(chunks=chunks, end=answer.end, records=answer.records)
                if not isinstance(answer, Chunk):
                    raise PipeClosedError(f"an unexpected {type(answer).__name__}")
                chunks.append(answer)
        except PipeTimeoutError:
            suspect = self._suspect()
            self.kill()
            self._reap()
            raise WorkerDiedError("timed_out", f"decoding took longer than {timeout:g} s", suspect) from None
        except (PipeClosedError, OSError) as error:
            suspect = self._suspect()
            self.kill()
            how = self._reap()
            words = f"the decode worker {how}" + (f" ({error})" if str(error) else "")
            raise WorkerDiedError("crashed", words, suspect) from None

    def _pipes(self) -> tuple[FrameWriter, FrameReader]:
        if self._jobs is None or self._answers is None:
            raise PipeClosedError("the decode worker does not run")
        return self._jobs, self._answers

    def _close_pipes(self) -> None:
        for pipe in self._pipes():
            pipe.close()
        self._jobs = self._answers = None

    def _ensure_running(self) -> None:
        if self._process is not None and self._process.poll() is None:
            return
        self._reap()
        self._spawn()
        try:
            jobs, answers = self._pipes()
            jobs.send(self._start_frame)
            answer = answers.receive(time.monotonic() + START_SECONDS)
        except PipeTimeoutError:
            self.kill()
            self._reap()
            raise WorkerStartError(f"the decode worker was not ready within {START_SECONDS:g} s") from None
        except PipeClosedError:
            raise WorkerStartError(f"the decode worker {self._reap()} while it started") from None
        if not isinstance(answer, Ready) or answer.error:
            self.kill()
            self._reap()
            raise WorkerStartError(answer.error if isinstance(answer, Ready) else "the decode worker spoke out of turn")
        self.ready = answer

    def _spawn(self) -> None:
        marker_fd = os.memfd_create("decode-marker") if hasattr(os, "memfd_create") else _unnamed_file()
        os.ftruncate(marker_fd, MARKER_BYTES)
        self._marker_memory = mmap(marker_fd, MARKER_BYTES)
        theirs_jobs, jobs = os.pipe()
        answers, theirs_answers = os.pipe()
        self._jobs, self._answers = FrameWriter(jobs), FrameReader(answers)
        with contextlib.suppress(OSError, AttributeError):  # beyond the user's share of pipe memory: slower, not wrong
            fcntl.fcntl(answers, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        handed = (theirs_jobs, theirs_answers, marker_fd)
        environ = kept_environment(os.environ) | MALLOC | self._environ
        command = [sys.executable, "-m", "appliance.pipeline.worker", *map(str, handed), str(os.getpid())]
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                command, stdin=subprocess.DEVNULL, stdout=STDERR, pass_fds=handed, env=environ
            )
        except OSError:
            self._close_pipes()
            raise
        finally:
            for descriptor in handed:
                os.close(descriptor)
        self.starts += 1

    def _suspect(self) -> int | None:
        if self._marker_memory is None:
            return None
        return Marker(memoryview(self._marker_memory)).get()

    def _reap(self) -> str:
        """Wait for the process to end; how it ended, in words."""
        process, self._process = self._process, None
        if process is None:
            return "did not run"
        self._close_pipes()
        self._marker_memory = None
        try:
            code = process.wait(5.0)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        if code >= 0:
            return f"ended with exit code {code}"
        return f"was ended by {signal.Signals(-code).name}"


def _unnamed_file() -> int:
    import tempfile

    descriptor, path = tempfile.mkstemp()
    os.unlink(path)
    return descriptor
