"""The commands that stay on the host, with a `docker` that only writes down what it is told."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

COMMANDS: Final = Path(__file__).parents[3] / "appliance" / "deploy" / "host_commands"
SHELLS: Final = {"dash": ["dash"], "bash": ["bash", "--posix"], "busybox": ["busybox", "sh"], "mksh": ["mksh"]}
DOCKER: Final = """#!/bin/sh
printf '%s\\n' "$*" >> "$DOCKER_LOG"
env > "$DOCKER_LOG.env"
case "$1" in ps) echo abc123 ;; esac
"""


class Host:
    """An installed host."""

    def __init__(self, place: Path, shell: str) -> None:
        self.shell = shell
        self.log = place / "docker.log"
        self.root = place / "opt" / "condev"
        self.root.mkdir(parents=True)
        (self.root / "image").write_text("condev-monitor:1.2.3\n")
        self.elsewhere = place / "home"
        self.elsewhere.mkdir()
        programs = place / "programs"
        programs.mkdir()
        (programs / "docker").write_text(DOCKER)
        (programs / "docker").chmod(0o755)
        self.command = place / "condev"
        self.command.write_text((COMMANDS / "condev").read_text().replace("@DIR@", str(self.root)))
        self.path = f"{programs}:{os.environ['PATH']}"

    def run(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": self.path, "DOCKER_LOG": str(self.log), **variables}
        program = SHELLS[self.shell]
        return subprocess.run(
            [shutil.which(program[0]) or program[0], *program[1:], str(self.command), *words],
            env=environment, capture_output=True, text=True, timeout=30, check=False, cwd=self.elsewhere,
        )  # fmt: skip

    @property
    def last(self) -> str:
        return self.log.read_text().splitlines()[-1]

    @property
    def environment(self) -> list[str]:
        return Path(f"{self.log}.env").read_text().splitlines()


@pytest.fixture(params=sorted(SHELLS))
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Host:
    shell = str(request.param)
    if shutil.which(SHELLS[shell][0]) is None:
        pytest.skip(f"{shell} is missing (Debian: dash bash busybox-static mksh)")
    return Host(tmp_path, shell)


def test_a_verb_of_the_stack_gets_socket_host_and_secrets_by_name_alone(host: Host) -> None:
    evil = "touch evil"
    lines = ("# a comment", f"SMTP_PASSWORD='a $HOME `{evil}` b'", f"PLAIN=$({evil})", "PATH=/nowhere", "no line")
    (host.root / ".env").write_text("\n".join((*lines, "DOCKER_HOST=tcp://x", "")))
    assert host.run("doctor", "--json").returncode == 0
    assert host.last.endswith("condev-monitor:1.2.3 doctor --json")
    for part in ("--user 0:0", "--userns host", "--network host", "--volume /:/host:ro",
                 f"--volume {host.root}:{host.root}", "--volume /var/run/docker.sock:/var/run/docker.sock",
                 "--env CONDEV_IMAGE=condev-monitor:1.2.3", "--env SMTP_PASSWORD --env PLAIN"):  # fmt: skip
        assert part in host.last
    assert evil not in host.last
    assert f"SMTP_PASSWORD=a $HOME `{evil}` b" in host.environment
    assert f"PLAIN=$({evil})" in host.environment
    assert not (host.elsewhere / "evil").exists()


def test_all_other_verbs_run_in_the_core(host: Host) -> None:
    assert host.run("project", "create", "--name", "A shop").returncode == 0
    assert host.last == "exec --interactive abc123 condev project create --name A shop"


def test_a_file_on_the_command_line_is_where_it_says(host: Host, tmp_path: Path) -> None:
    there = tmp_path / "backups"
    there.mkdir()
    host.run("backup", str(there / "today.condev"), f"--passphrase-file={host.elsewhere}/phrase")
    assert f"--volume {there}:{there}" in host.last
    assert f"--volume {host.elsewhere}:{host.elsewhere}" in host.last
    assert f"--workdir {host.elsewhere}" in host.last
    host.run("backup", "/etc/../proc/x", "/today.condev")
    assert "--volume /proc" not in host.last
    assert "--volume /:/ " not in host.last


def test_a_relative_path_and_one_by_a_link_are_mounted_where_they_lead(host: Host, tmp_path: Path) -> None:
    there = tmp_path / "backups"
    there.mkdir()
    (tmp_path / "link").symlink_to(there)
    host.run("backup", "../backups/today.condev")
    assert f"--volume {there}:{there}" in host.last
    host.run("render", "--out=../backups/not/yet")
    assert f"--volume {there}:{there}" in host.last
    host.run("backup", str(tmp_path / "link" / "today.condev"))
    assert f"--volume {there}:{there} --volume {there}:{tmp_path}/link" in host.last


def test_the_images_own_files_are_never_hidden_by_the_hosts(host: Host) -> None:
    for place in ("/usr/x", "/etc/x", "--out=/bin/x", "/lib/x", "../../../../../../../../usr/x"):
        host.run("backup", place)
        assert [word for word in host.last.split() if word.startswith(("/usr", "/etc", "/bin", "/lib", "/:/ "))] in (
            [], [place]
        )  # fmt: skip
    host.elsewhere = Path("/usr")
    host.run("backup", "x")
    assert "--workdir / " in host.last  # there is no /usr of the host's to write to, and the verb says so


def test_verbs_that_load_plugins_have_the_installed_ones(host: Host) -> None:
    for verb in ("doctor", "plan", "render", "backup", "support-bundle", "config"):
        host.run(verb)
        assert f"--env PYTHONPATH={host.root}/plugins " in host.last, verb
    host.run("apply")
    assert "PYTHONPATH" not in host.last


def test_a_line_of_env_is_read_as_compose_reads_it_and_overwrites_nothing_of_the_commands(host: Host) -> None:
    lines = ("PLAIN=a b # why", "EMPTY= # why", "HASH=a#b", "QUOTED='a # b'", "DIR=/nowhere", "image=evil", "LAST=z")
    (host.root / ".env").write_bytes("\r\n".join((*lines, "")).encode())
    assert host.run("doctor").returncode == 0
    assert host.last.endswith("condev-monitor:1.2.3 doctor")
    assert f"--volume {host.root}:{host.root}" in host.last
    assert {"PLAIN=a b", "EMPTY=", "HASH=a#b", "QUOTED=a # b", "LAST=z"} <= set(host.environment)
    assert not [line for line in host.environment if "nowhere" in line or "evil" in line]


def test_an_engine_on_another_machine_is_refused(host: Host) -> None:
    done = host.run("status", DOCKER_HOST="tcp://there:2375")
    assert (done.returncode, "the machine that its engine is on" in done.stderr) == (1, True)


def test_without_an_installation_it_says_what_to_do(host: Host) -> None:
    (host.root / "image").unlink()
    done = host.run("status")
    assert (done.returncode, "run installer.sh again" in done.stderr) == (1, True)
