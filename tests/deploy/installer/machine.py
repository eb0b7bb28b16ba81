"""A place to run installer.sh in: one of the shells that people have, a `docker` that only takes notes."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import time
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).parents[3]
INSTALLER: Final = REPOSITORY / "installer.sh"
SHELLS: Final = {"dash": ["dash"], "bash": ["bash", "--posix"], "busybox": ["busybox", "sh"], "mksh": ["mksh"]}
ANSWERS: Final = ("--domain", "a.test", "--mail", "none")

# Answers `docker info`, keeps the arguments and names of what it was given, and "runs" nothing.
DOCKER: Final = """#!/bin/sh
echo "$*" >> "$DOCKER_LOG"
env | grep -E '^(CONDEV_SETUP_|RESEND|SMTP)' | sort > "$DOCKER_LOG.env"
case "$1 $2" in "image inspect") [ -n "${HAVE_IMAGE:-}" ] ;; esac
"""


class Machine:
    """A place with an installer, a `docker` and nothing else of ours."""

    def __init__(self, place: Path, shell: str) -> None:
        self.place = place
        self.shell = shell
        self.log = place / "docker.log"
        self.log.touch()
        self.programs = place / "programs"
        self.programs.mkdir()
        self.program("docker", DOCKER)
        self.root = place / "opt" / "condev"
        self.bin = place / "bin"
        self.bin.mkdir()

    def program(self, name: str, text: str) -> None:
        """Put a program on the path, before the machine's own."""
        path = self.programs / name
        path.write_text(text)
        path.chmod(0o755)

    def install(
        self, *flags: str, script: Path = INSTALLER, from_stdin: bool = False, path: str = "", **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run it, without a terminal."""
        environment = {
            "PATH": f"{self.programs}:{path or os.environ['PATH']}", "HOME": str(self.place),
            "DOCKER_LOG": str(self.log), "CONDEV_DIR": str(self.root), "CONDEV_BIN_DIR": str(self.bin), **variables,
        }  # fmt: skip
        words = [*SHELLS[self.shell], *(("-s", "--") if from_stdin else (str(script),)), *flags]
        words[0] = shutil.which(words[0]) or words[0]
        return subprocess.run(
            words, env=environment, capture_output=True, text=True, timeout=60, check=False, cwd=self.place,
            start_new_session=True, input=script.read_text() if from_stdin else "",
        )  # fmt: skip

    def install_at_a_terminal(self, *flags: str, typed: list[tuple[str, str]]) -> str:
        """Run it at a terminal of its own.

        Args:
            flags: of the installer.
            typed: what it asks, and what is typed then.

        Returns:
            All that was to be seen there.
        """
        environment = {
            "PATH": f"{self.programs}:{os.environ['PATH']}", "HOME": str(self.place), "DOCKER_LOG": str(self.log),
            "CONDEV_DIR": str(self.root), "CONDEV_BIN_DIR": str(self.bin),
        }  # fmt: skip
        terminal, its_end = pty.openpty()
        process = subprocess.Popen(
            ["setsid", "--ctty", *SHELLS[self.shell], str(INSTALLER), *flags],
            stdin=its_end, stdout=its_end, stderr=its_end, env=environment, cwd=self.place,
        )  # fmt: skip
        os.close(its_end)
        seen = ""
        for question, answer in [*typed, ("", "")]:
            while not question or question not in seen:
                try:
                    piece = os.read(terminal, 4096)
                except OSError:  # Linux's way of saying that nobody has it open any more
                    piece = b""
                if not piece:
                    break
                seen += piece.decode()
            if question:
                assert question in seen, seen
                time.sleep(0.1)  # a person reads the question, and `read` stands behind it by then
                os.write(terminal, f"{answer}\n".encode())
        os.close(terminal)
        process.wait(60)
        return seen

    @property
    def commands(self) -> list[str]:
        """What docker was told."""
        return self.log.read_text().splitlines()

    @property
    def answers(self) -> dict[str, str]:
        """What the last docker command was given in its environment."""
        lines = Path(f"{self.log}.env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)
