"""What the stack tests need of a machine, found out by trying: `python -m tests.stack.lab.needs` for `.ci/run`.

It ends with 0 where they can run, and with 3 and the reason on standard output where they cannot.
"""

from __future__ import annotations

import io
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Final

from tests.stack.lab.engine import IMAGES, LAB, EngineStoppedError
from tests.stack.lab.vps import Vps, machine
from tests.stack.lab.whole import LabTakenError, whole_lab

PROGRAMS: Final = (
    "dockerd", "docker", "containerd", "runc", "iptables", "ip", "ss", "nsenter", "unshare", "taskset", "mmdebstrap",
    "mkfs.ext4", "busybox",
)  # fmt: skip
PACKAGES: Final = "docker.io iptables iproute2 util-linux mmdebstrap e2fsprogs busybox-static"
GIB: Final = 1 << 30
FREE_BYTES: Final = 6 * GIB  # while images are built 3.7; a machine with its data, and one with images of its own: 1.5
COPYING_DRIVERS: Final = ("vfs",)  # each layer of each container is a copy of all below it: 30 GB
MIB_OF_PROBE: Final = 256
PORT: Final = 80
PROBE: Final = "condev-lab/probe"
TOLD_SECONDS: Final = 10.0  # until the engine has told of it
SAID: Final = 120  # letters of each end of an error: it has to fit on a line
LACKING: Final = 3  # exit code; Python's own for a fault of ours is 1


def lacking() -> str:
    """What this machine lacks for the stack tests; "" when nothing does. Takes some five seconds.

    Nothing is concluded from versions: a small machine is made as the tests make theirs, with a disk, a memory limit
    and a network, and its engine runs a container that answers from outside and one that is killed for memory.
    """
    if os.geteuid() != 0:
        return "root"
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        return f"{', '.join(missing)} (Debian: {PACKAGES})"
    LAB.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(LAB).free
    if free < FREE_BYTES and not IMAGES.exists():
        return f"{FREE_BYTES / GIB:.0f} GiB of disk in {LAB}, where {free / GIB:.1f} are free"
    try:
        with whole_lab(), machine("probe", memory=MIB_OF_PROBE, cpus=1, disk=MIB_OF_PROBE) as vps:
            return _try(vps)
    except LabTakenError:
        return ""  # another run has it, so it can be had; the tests say so
    except (AssertionError, EngineStoppedError, OSError, subprocess.SubprocessError) as error:
        said = " ".join(str(error).split())  # a command and what it said, or the end of an engine's log
        return f"rights to simulate a machine: {said if len(said) <= 2 * SAID else f'{said[:SAID]} … {said[-SAID:]}'}"


def _try(vps: Vps) -> str:
    driver = vps.docker("info", "--format", "{{.Driver}}").strip()
    if driver in COPYING_DRIVERS:
        return f"a file system in {LAB} whose layers need not be copied (the engine takes {driver})"
    archive = vps.path("/root/probe.tar")
    with tarfile.open(archive, "w") as tar:
        shell = Path(shutil.which("busybox") or "").read_bytes()
        entry = tarfile.TarInfo("busybox")
        entry.mode, entry.size = 0o755, len(shell)
        tar.addfile(entry, io.BytesIO(shell))
    vps.docker("import", "/root/probe.tar", PROBE)
    try:
        vps.docker("network", "create", "probe")
        limits = ["--memory", "32m", "--cpus", "0.5", "--pids-limit", "16", "--read-only", "--cap-drop", "ALL"]
        for libraries in filter(os.path.isdir, ("/lib", "/lib64")):  # for a busybox that is not a static one
            limits += ["--volume", f"{libraries}:{libraries}:ro"]
        served = ("--detach", "--network", "probe", "--publish", f"{PORT}:8080", PROBE)
        vps.docker("run", *limits, *served, "/busybox", "httpd", "-f", "-p", "8080", "-h", "/")
        with socket.create_connection((vps.address, PORT), timeout=10.0) as connection:
            connection.sendall(b"GET /busybox HTTP/1.0\r\n\r\n")
            if b" 200 " not in connection.recv(64):
                return "a network in which a container answers at its machine's address"
        greedy = ("/busybox", "dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1")
        vps.run("docker", "run", *limits, PROBE, *greedy, check=False)
        deadline = time.monotonic() + TOLD_SECONDS
        while not vps.oom_kills():
            if time.monotonic() > deadline:
                return "a kernel that ends a container at its memory limit, and an engine that tells it"
            time.sleep(0.1)
        return ""
    finally:
        vps.run("sh", "-c", f"docker rm --force $(docker ps --all --quiet); docker image rm {PROBE}", check=False)


def main() -> None:
    """Say what is lacking, if anything is."""
    if missing := lacking():
        sys.stdout.write(f"{missing}\n")
        sys.exit(LACKING)


if __name__ == "__main__":
    main()
