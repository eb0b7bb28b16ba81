"""A Docker engine of our own for the stack tests, and the commands given to it. Ends only what it started, by pid.

The engine keeps its images in one directory, which the simulated machines (`vps.py`) use in turn: what is built once is
there on each of them, as if it had been pulled.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import IO, Final

LAB: Final = Path(os.environ.get("CONDEV_STACK_LAB", Path(tempfile.gettempdir()) / "condev-stack"))
IMAGES: Final = LAB / "images"  # the data root of every engine here
# Leaves the shared images as they were found: no containers, networks, volumes, and no tags of a release.
CLEAN: Final = """
docker ps --all --quiet | xargs --no-run-if-empty docker rm --force --volumes
docker network prune --force
docker volume ls --quiet | xargs --no-run-if-empty docker volume rm --force
docker image ls --format "{{.Repository}}:{{.Tag}}" | grep ^condev-release/ | xargs --no-run-if-empty docker image rm
"""
START_SECONDS: Final = 30.0  # it takes one; a busy machine more
STOP_SECONDS: Final = 30.0


class EngineStoppedError(RuntimeError):
    """The engine did not start; the text ends with what it logged."""


def wait_for_engine(command: Sequence[str], log: Path) -> None:
    """Return when `docker info` answers.

    Args:
        command: what goes before `docker`'s own arguments.
        log: of the engine.

    Raises:
        EngineStoppedError: it did not in time.
    """
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if subprocess.run([*command, "info"], capture_output=True, check=False).returncode == 0:
            return
        time.sleep(0.1)
    raise EngineStoppedError(f"dockerd does not answer:\n{log.read_text('utf-8', 'replace')[-3000:]}")


def stop_engine(pid_file: Path) -> None:
    """End the engine whose id the file holds, and wait for it; nothing else that has got that id since."""
    try:
        pid = int(pid_file.read_text("ascii"))
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ValueError):
        return
    if os.fsencode(pid_file) not in words:
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)  # when it is a child of this process, it would stay as a zombie
            os.kill(pid, 0)
            time.sleep(0.1)
        os.kill(pid, signal.SIGKILL)


class Engine:
    """One `dockerd` on a socket of its own."""

    def __init__(self, place: Path) -> None:
        """Args: place: for its socket, pid and log; made when it is missing."""
        self.place: Final = place
        self.socket: Final = place / "docker.sock"

    @contextlib.contextmanager
    def running(self) -> Generator[Engine]:
        """Start it, and stop it at the end."""
        self.place.mkdir(parents=True, exist_ok=True)
        IMAGES.mkdir(parents=True, exist_ok=True)
        settings = self.place / "daemon.json"
        settings.write_text("{}")  # keeps the machine's own /etc/docker/daemon.json out
        log = self.place / "dockerd.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [
                    "dockerd", "--config-file", settings, "--data-root", IMAGES, "--exec-root", self.place / "exec",
                    "--pidfile", self.place / "pid", "--host", f"unix://{self.socket}",
                ],
                stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        try:
            wait_for_engine(self._command, log)
            subprocess.run(["sh", "-c", CLEAN], env=self.environment(), capture_output=True, check=False)
            yield self
        finally:
            process.terminate()
            process.wait(STOP_SECONDS)

    @property
    def _command(self) -> list[str]:
        return ["docker", "--host", f"unix://{self.socket}"]

    def docker(self, *arguments: str, seconds: float = 120.0) -> str:
        """Give it a command.

        Args:
            arguments: of `docker`.
            seconds: after which it is ended.

        Returns:
            What it wrote on standard output.
        """
        environment = {**os.environ, "DOCKER_BUILDKIT": "0"}  # the classic builder: all that Debian's engine has
        done = subprocess.run(
            [*self._command, *arguments], capture_output=True, text=True, timeout=seconds, check=False, env=environment
        )
        if done.returncode:
            raise AssertionError(f"docker {' '.join(arguments)}:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
        return done.stdout

    @contextlib.contextmanager
    def saved(self, *tags: str) -> Generator[IO[bytes]]:
        """What `docker save` writes of these images, while it does."""
        with subprocess.Popen([*self._command, "save", *tags], stdout=subprocess.PIPE) as saving:
            assert saving.stdout is not None
            yield saving.stdout
        assert saving.returncode == 0

    def environment(self) -> dict[str, str]:
        """For programs that call `docker` themselves."""
        return {**os.environ, "DOCKER_HOST": f"unix://{self.socket}", "DOCKER_BUILDKIT": "0"}
