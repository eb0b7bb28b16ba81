"""Starts the appliance as a user would, and watches what all of its processes take: CPU, memory, disk."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

CONDEV: Final = str(Path(sys.executable).with_name("condev"))
TICKS: Final = os.sysconf("SC_CLK_TCK")
SAMPLE_SECONDS: Final = 0.2
# Rates and payload bounds off, everything else as shipped: durability, memory caps, batch sizes.
SETTINGS: Final[Mapping[str, str]] = {
    "CONDEV__INGEST__REQUESTS_PER_SECOND": "0",
    "CONDEV__INGEST__REQUESTS_PER_SECOND_PER_ADDRESS": "0",
    "CONDEV__PIPELINE__PAYLOADS_PER_HOUR_PER_ISSUE": "0",
    "CONDEV__PIPELINE__PAYLOADS_PER_HOUR_PER_PROJECT": "0",
    "CONDEV__PIPELINE__NEW_ISSUES_PER_HOUR": "0",
    "CONDEV__INGEST__SPOOL_MAX_BYTES": "12g",
    "CONDEV__RETENTION__BYTES": "0",
    "CONDEV__LOG__LEVEL": "warning",
}


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    info = dict(line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().splitlines() if ":" in line)
    info = {key.strip(): value.strip() for key, value in info.items()}
    return {
        "cpu": info.get("model name", platform.machine()),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_before": os.getloadavg()[0],
    }


@dataclass
class Usage:
    """What a set of processes took."""

    cpu_seconds: float = 0.0
    anonymous: list[tuple[float, int]] = field(default_factory=list)  # (seconds since start, bytes of all together)

    @property
    def peak_anonymous(self) -> int:
        """The most at one time, in bytes."""
        return max((bytes_ for _, bytes_ in self.anonymous), default=0)


def family(pid: int) -> list[int]:
    """A process and everything below it."""
    found = [pid]
    for each in found:
        for task in Path(f"/proc/{each}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += [int(child) for child in task.read_text().split()]
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and of those below it, ended ones included."""
    total = 0
    for each in family(pid):
        with contextlib.suppress(OSError):
            stat = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            total += sum(int(stat[index]) for index in (11, 12, 13, 14))
    return total / TICKS


def anonymous_bytes(pid: int) -> int:
    """Memory that cannot be given back without swap, of a process and of those below it."""
    total = 0
    for each in family(pid):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{each}/status").read_text().splitlines():
                if line.startswith("RssAnon:"):
                    total += int(line.split()[1]) * 1024
    return total


class Appliance:
    """A running `condev serve`."""

    def __init__(self, data_dir: Path, role: str = "all", *, cgroup: Path | None = None, **settings: str) -> None:
        """Start it and wait until it is ready."""
        self.data_dir = data_dir
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = (data_dir.parent / f"{data_dir.name}-{role}.log").open("ab")
        command = [CONDEV, "serve", "--port", str(self.port), "--role", role, "--data-dir", str(data_dir)]
        if cgroup is not None:
            enter = f'echo $$ > "{cgroup}/cgroup.procs" && exec "$@"'
            command = ["sh", "-c", enter, "sh", *command]
        environment = {**os.environ, **SETTINGS, **settings}
        self.process = subprocess.Popen(
            command, stderr=self._log, stdout=self._log, env=environment, cwd=data_dir.parent
        )
        self._sampler: threading.Thread | None = None
        self._sampling = False
        self._wait_ready()

    def __enter__(self) -> Appliance:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> int:
        """SIGTERM, and wait."""
        self._sampling = False
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        self._log.close()
        return code

    def watch(self) -> Usage:
        """Begin to sample memory; `usage.cpu_seconds` is set by `read`."""
        usage = Usage()
        started = time.monotonic()
        self._sampling = True

        def sample() -> None:
            while self._sampling:
                usage.anonymous.append((time.monotonic() - started, anonymous_bytes(self.process.pid)))
                time.sleep(SAMPLE_SECONDS)

        self._sampler = threading.Thread(target=sample, daemon=True)
        self._sampler.start()
        return usage

    def cpu(self) -> float:
        """CPU seconds so far."""
        return cpu_seconds(self.process.pid)

    def get(self, path: str, token: str = "", timeout: float = 30.0) -> bytes:
        """GET, the body."""
        request = urllib.request.Request(self.url + path, headers={"Authorization": f"Bearer {token}"} if token else {})
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.read()

    def system(self, token: str) -> dict[str, Any]:
        """`/api/v1/system`."""
        return json.loads(self.get("/api/v1/system", token))

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"condev serve ended with {self.process.returncode}: see {self._log.name}")
            with contextlib.suppress(OSError):
                self.get("/healthz", timeout=2)
                return
            time.sleep(0.05)
        raise RuntimeError(f"condev serve was not ready within a minute: see {self._log.name}")


@dataclass(frozen=True)
class Installation:
    """A data directory with an owner, a project and a token."""

    data_dir: Path
    project_id: int
    key: str
    token: str


def install(folder: Path) -> Installation:
    """Set one up with the command line, as a user would."""
    data_dir = folder / "data"
    verb(data_dir, "user", "create", "--email", "bench@example.com", "--role", "owner", text="bench-mark-9182\n")
    project = json.loads(verb(data_dir, "project", "create", "--name", "Bench", "--json"))
    token = json.loads(verb(data_dir, "token", "create", "--user", "bench@example.com", "--json"))["token"]
    return Installation(data_dir, int(project["id"]), project["key"], token)


def verb(data_dir: Path, *words: str, text: str = "") -> str:
    """Run a `condev` verb; its standard output."""
    command = [CONDEV, *words, "--data-dir", str(data_dir)]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, cwd=data_dir.parent)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr}")
    return done.stdout


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def workspace() -> Generator[Path]:
    """A folder on disk (not tmpfs), removed at the end."""
    base = Path(__file__).parent / "data"
    base.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=base) as folder:
        yield Path(folder)


def disk_bytes(folder: Path) -> int:
    """What a folder takes on disk."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())
