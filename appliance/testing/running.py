"""The appliance as its user runs it: a `condev` process on a free port, asked over HTTP and by its verbs.

A log line at error level that the test did not expect fails the test when the appliance is stopped.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

CONDEV: Final = str(Path(sys.executable).with_name("condev"))
START_SECONDS: Final = 60.0
STOP_SECONDS: Final = 40.0


class UnexpectedErrorsError(AssertionError):
    """The appliance logged errors that the test did not expect."""


class RunningAppliance:
    """One process. Use it as a context manager, or `start`, `kill` and `stop` it by hand."""

    def __init__(
        self,
        data_dir: Path,
        *,
        role: str = "all",
        config: str = "",
        environ: Mapping[str, str] | None = None,
        expected_errors: Sequence[str] = (),
    ) -> None:
        """Say how it is to run; nothing runs yet.

        Args:
            data_dir: made when it is not there.
            role: of `condev serve`, or "demo" for `condev demo --no-traffic`.
            config: the text of its config.toml.
            environ: added to this process's environment.
            expected_errors: parts of log lines at error level that the test provokes.
        """
        self.data_dir = data_dir
        data_dir.mkdir(parents=True, exist_ok=True)
        self.config_file = data_dir.with_suffix(".toml")
        self.config_file.write_text(config, "utf-8")
        self.log_file = data_dir.with_suffix(".log")
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.expected_errors = list(expected_errors)
        self._role = role
        self._environ = {**os.environ, **(environ or {}), "CONDEV__LOG__FORMAT": "json"}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> RunningAppliance:
        self.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.stop()
        if kind is None:
            self.check_log()

    @property
    def pid(self) -> int:
        """Of the process; its decode worker is a child of it."""
        assert self._process is not None, "not started"
        return self._process.pid

    @property
    def is_untouched(self) -> bool:
        """Whether its metadata would be a new file in its data directory, made as any other's."""
        said = self.config_file.read_text("utf-8")
        elsewhere = any(name.startswith(("CONDEV__METADATA", "CONDEV__ACCOUNTS")) for name in self._environ)
        return not (
            (self.data_dir / "metadata.db").exists() or "[metadata]" in said or "[accounts]" in said or elsewhere
        )

    def start(self, *, ready: bool = True) -> None:
        """Start it, and wait until it can accept (`ready`) or at least until it lives."""
        self.launch()
        self.wait_until_ready(ready=ready)

    def launch(self) -> None:
        """Start it, and wait for nothing."""
        words = ["demo", "--no-traffic"] if self._role == "demo" else ["serve", "--role", self._role]
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [CONDEV, *words, "--port", str(self.port), *self._places()],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=self._environ,
                cwd=self.data_dir.parent,
            )

    def wait_until_ready(self, *, ready: bool = True) -> None:
        """Wait until it can accept (`ready`) or at least until it lives."""
        self.wait_until(lambda: self._answers("/readyz" if ready else "/healthz"), "it to be ready", START_SECONDS)

    def stop(self) -> int | None:
        """SIGTERM, and wait; its exit code."""
        if self._process is None:
            return None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def kill(self) -> None:
        """SIGKILL; the decode worker ends by itself."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_SECONDS)

    def errors(self) -> list[str]:
        """Log lines at error level that nobody expected."""
        unexpected: list[str] = []
        for line in self.log_file.read_text("utf-8", "replace").splitlines():
            try:
                entry = cast("dict[str, Any]", json.loads(line))
            except ValueError:
                if "Traceback" in line:
                    unexpected.append(line)
                continue
            if entry.get("level") in ("error", "critical") and not any(part in line for part in self.expected_errors):
                unexpected.append(line)
        return unexpected

    def check_log(self) -> None:
        """Raise `UnexpectedErrorsError` if it logged an error that the test did not expect."""
        errors = self.errors()
        if errors:
            raise UnexpectedErrorsError("\n".join(errors[:5]))

    def verb(self, *words: str, text: str = "") -> str:
        """Run a `condev` verb on the same data; its standard output."""
        done = subprocess.run(
            [CONDEV, *words, *self._places()],
            input=text,
            capture_output=True,
            text=True,
            check=False,
            env=self._environ,
            cwd=self.data_dir.parent,
        )
        assert done.returncode == 0, f"condev {' '.join(words)}: exit {done.returncode}\n{done.stderr}"
        return done.stdout

    def get(self, path: str, token: str = "") -> Any:
        """GET a JSON answer."""
        request = urllib.request.Request(self.url + path, headers={"Authorization": f"Bearer {token}"} if token else {})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def post(self, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
        """POST; status and body, whatever the status."""
        request = urllib.request.Request(self.url + path, body, dict(headers or {}), method="POST")
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def wait_until(self, condition: Any, what: str, seconds: float = 30.0) -> None:
        """Poll until a condition holds; fails with the end of the log when it never does, or the process ends."""
        deadline = time.monotonic() + seconds
        while not condition():
            ended = self._process is not None and self._process.poll() is not None
            if ended or time.monotonic() > deadline:
                tail = self.log_file.read_text("utf-8", "replace")[-3000:]
                raise AssertionError(f"waited for {what}{' but the process ended' if ended else ''}; its log:\n{tail}")
            time.sleep(0.05)

    def _answers(self, path: str) -> bool:
        with contextlib.suppress(OSError), urllib.request.urlopen(self.url + path, timeout=5) as answer:
            return answer.status == 200
        return False

    def _places(self) -> list[str]:
        return ["--config", str(self.config_file), "--data-dir", str(self.data_dir)]


class Owner:
    """An owner, a project and a token of a running (or stopped) appliance."""

    EMAIL: Final = "owner@example.com"
    PASSWORD: Final = "correct horse battery staple"  # noqa: S105 - of a test

    def __init__(self, appliance: RunningAppliance, project: str = "Shop") -> None:
        """Make all three with their verbs; in an untouched data directory, by a copy of what this process made before.

        Args:
            appliance: runs, or does not.
            project: its name.
        """
        made = _prepared(project) if appliance.is_untouched else None
        if made is not None:
            shutil.copytree(made.folder, appliance.data_dir, dirs_exist_ok=True)
        self.token, self.project = (made.token, made.project) if made else _make(appliance, project)
        self.key: str = self.project["key"]
        self.project_id = int(self.project["id"])


class _Prepared(NamedTuple):
    folder: Path
    token: str
    project: dict[str, Any]


def _make(appliance: RunningAppliance, project: str) -> tuple[str, dict[str, Any]]:
    appliance.verb("user", "create", "--email", Owner.EMAIL, "--role", "owner", text=f"{Owner.PASSWORD}\n")
    token = json.loads(appliance.verb("token", "create", "--user", Owner.EMAIL, "--json"))["token"]
    return token, json.loads(appliance.verb("project", "create", "--name", project, "--json"))


@functools.cache
def _prepared(project: str) -> _Prepared:
    """A data directory with an owner: the verbs take seconds, and a suite has dozens of appliances."""
    place = Path(tempfile.mkdtemp(prefix="condev-owner-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    return _Prepared(place / "data", *_make(RunningAppliance(place / "data"), project))


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
