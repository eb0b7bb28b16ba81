"""A simulated VPS: what a fresh machine of some size looks like to an installer, and what it cannot exceed.

- Memory: the machine (engine, containers, commands) lives in one memory cgroup of that size, so that what is too big is
  killed; /proc/meminfo says the same size, and no swap.
- CPUs: a cpuset, so that `nproc` tells them; never more than this machine has.
- Network: a namespace with an address of its own, in which ports 80 and 443 are free, and no way out but to this side.
- Files: /opt, /usr/local/bin, /root and /run are empty ones of its own; the rest is this machine's. With a disk of its
  own, /opt has a file system of that size.

What it is not: another kernel, another distribution, systemd. The engine's images are those that `images.py` built.
Both versions of the cgroup hierarchy are written for; only version 1 has been run.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.stack.lab.engine import CLEAN, IMAGES, LAB, STOP_SECONDS, stop_engine, wait_for_engine

CGROUPS: Final = Path("/sys/fs/cgroup")
V1_CONTROLLERS: Final = ("memory", "cpuset")
KIB: Final = 1024
MAPPED_USER: Final = "nobody:nogroup"  # in /etc/passwd of every Debian
FIRST_MAPPED: Final = 200_000  # what root in a container is to the machine
OWN_DIRECTORIES: Final = ("opt", "usr/local/bin", "root")
PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# Runs in the new namespaces, in the cgroup: makes the machine's files its own and becomes the engine.
_INIT: Final = """
set -eu
mount --make-rprivate /
mount -t tmpfs tmpfs /run
for directory in opt usr/local/bin root; do mount --bind "$PLACE/$directory" "/$directory"; done
for file in meminfo swaps; do mount --bind "$PLACE/$file" "/proc/$file"; done
[ ! -d "$PLACE/etc" ] || mount -t overlay overlay -o "lowerdir=/etc,upperdir=$PLACE/etc,workdir=$PLACE/etc.work" /etc
mount --bind "$PLACE/hosts" /etc/hosts
ip link set lo up
exec dockerd --config-file "$PLACE/daemon.json" --data-root "$IMAGES" --exec-root "$PLACE/exec" \\
  --pidfile "$PLACE/pid" --host unix:///var/run/docker.sock --cgroup-parent "/$GROUP/docker"
"""


class Vps:
    """One machine. Use `machine()`."""

    def __init__(
        self, name: str, memory: int, cpus: int, hosts: Mapping[str, str], disk: int = 0, maps_users: bool = False
    ) -> None:  # fmt: skip
        """See `machine`."""
        number = (
            zlib.crc32(name.encode()) % 200 + 20
        )  # of its network: two at a time never share one by chance of order
        self.name: Final = name
        self.memory: Final = memory
        self.cpus: Final = min(cpus, os.cpu_count() or 1)
        self.place: Final = LAB / "vps" / name
        self.group: Final = f"condev-{name}-{number}"
        self.namespace: Final = f"condev-{name}-{number}"
        self.link: Final = f"cv{number}"
        self.address: Final = f"10.77.{number}.2"  # the machine's public one
        self.outside: Final = f"10.77.{number}.1"  # this side: all that it can reach
        self.disk: Final = disk
        self.maps_users: Final = maps_users
        self.images: Final = self.place / "images" if maps_users else IMAGES  # whose files belong to other users
        self._hosts: Final = hosts
        self._process: subprocess.Popen[bytes] | None = None
        self._events: subprocess.Popen[bytes] | None = None

    # ── using it ──

    def run(
        self, *command: str, seconds: float = 120.0, check: bool = True, env: Mapping[str, str] | None = None,
        cwd: str = "/root", stdin: str = "",
    ) -> subprocess.CompletedProcess[str]:  # fmt: skip
        """Run a command on it, as root and without a terminal; its output is text.

        Args:
            command: words, or one line for `sh -c` after "sh", "-c".
            seconds: after which it is ended.
            check: fail when its exit code is not 0.
            env: variables beside PATH, HOME and LANG.
            cwd: where.
            stdin: what it reads.
        """
        environment = {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8", **(env or {})}
        done = subprocess.run(
            self.words(command, cwd), capture_output=True, text=True, timeout=seconds, env=environment, check=False,
            input=stdin, start_new_session=True,
        )  # fmt: skip
        if check and done.returncode:
            said = f"{done.stdout[-6000:]}\n{done.stderr[-6000:]}"
            raise AssertionError(f"on {self.name}: {' '.join(command)} → {done.returncode}\n{said}")
        return done

    def words(self, command: Sequence[str], cwd: str = "/root") -> list[str]:
        """The command line, to be given to this machine, that runs a command on it."""
        join = " ".join(f"echo $$ > {path / 'cgroup.procs'} &&" for path in self._groups("host"))
        pid = (self.place / "pid").read_text("ascii")
        return [
            "nsenter", "--target", pid, "--mount", "--net",
            "taskset", "--cpu-list", f"0-{self.cpus - 1}",
            "sh", "-c", f'{join} cd "$0" && exec "$@"', cwd, *command,
        ]  # fmt: skip

    def docker(self, *arguments: str, seconds: float = 120.0) -> str:
        """`docker` on it."""
        return self.run("docker", *arguments, seconds=seconds).stdout

    @contextlib.contextmanager
    def busy(self, *ports: int) -> Generator[None]:
        """Something else listens on these ports of it for the time of the block."""
        enter = ["nsenter", f"--net=/run/netns/{self.namespace}", sys.executable, "-m", "http.server"]
        servers = [subprocess.Popen([*enter, str(port)], stderr=subprocess.DEVNULL, cwd=self.place) for port in ports]
        try:
            deadline = time.monotonic() + STOP_SECONDS
            while not all(f":{port} " in self.run("ss", "-ltn").stdout for port in ports):
                assert time.monotonic() < deadline, f"nothing listens on {ports}"
                time.sleep(0.1)
            yield
        finally:
            for server in servers:
                server.terminate()
                server.wait(STOP_SECONDS)

    def path(self, path: str) -> Path:
        """Where this side finds one of its own files."""
        return self.place / path.lstrip("/")

    def oom_kills(self) -> int:
        """How often the kernel killed something on it for memory: by the engine's word, and by the groups there are."""
        group = self._groups("")[0]
        told = (self.place / "oom-events").read_text("utf-8").splitlines()  # a container's group goes with it
        found = 0
        for file in (*group.rglob("memory.oom_control"), *group.rglob("memory.events")):
            with contextlib.suppress(OSError):  # of a container that has just ended
                for line in file.read_text("ascii").splitlines():
                    name, _, value = line.partition(" ")
                    found += int(value) if name == "oom_kill" else 0
        return max(found, len(told))

    # ── making it ──

    @contextlib.contextmanager
    def running(self, block: Sequence[int] = ()) -> Generator[Vps]:
        """See `machine`."""
        self.remove()
        try:
            self._make_files()
            for path in (*self._groups(""), *self._groups("host"), *self._groups("docker")):
                path.mkdir(parents=True, exist_ok=True)
                self._limit(path)
            self._make_network(block)
            self.start()
            try:
                yield self
            finally:
                self.run("sh", "-c", CLEAN, check=False)  # nothing of it is left in the images' directory
        finally:
            self.stop()
            self.remove()

    def start(self) -> None:
        """Boot: start its engine."""
        environment = {
            "PATH": PATH, "HOME": "/root", "PLACE": str(self.place), "IMAGES": str(self.images), "GROUP": self.group,
        }  # fmt: skip
        join = " ".join(f"echo $$ > {path / 'cgroup.procs'} &&" for path in self._groups("host"))
        log = self.place / "dockerd.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [
                    "nsenter", f"--net=/run/netns/{self.namespace}",
                    "taskset", "--cpu-list", f"0-{self.cpus - 1}",
                    "sh", "-c", f'{join} exec unshare --mount sh -c "$0"', _INIT,
                ],
                env=environment, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + STOP_SECONDS
        while not (self.place / "pid").exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{self.name} did not boot:\n{log.read_text('utf-8', 'replace')[-3000:]}")
            time.sleep(0.05)
        wait_for_engine(self.words(["docker"]), log)
        with (self.place / "oom-events").open("ab") as events:
            # Of this side's memory, not the machine's.
            words = ["nsenter", "--target", (self.place / "pid").read_text("ascii"), "--mount", "docker", "events"]
            self._events = subprocess.Popen([*words, "--filter", "event=oom"], stdout=events, stderr=subprocess.DEVNULL)

    def stop(self) -> None:
        """Shut down: containers are stopped by the engine, which ends."""
        stop_engine(self.place / "pid")
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):  # one that did not boot: `remove` ends it
                self._process.wait(STOP_SECONDS)
        if self._events is not None:
            self._events.terminate()  # it ends with the engine; where it never had one, it would wait
            self._events.wait(STOP_SECONDS)
            self._events = None
        (self.place / "pid").unlink(missing_ok=True)

    def _groups(self, leaf: str) -> list[Path]:
        """Its control groups: of all of it (""), of the engine and commands ("host"), or of containers ("docker")."""
        if (CGROUPS / "cgroup.controllers").exists():
            return [CGROUPS / self.group / leaf]
        return [CGROUPS / controller / self.group / leaf for controller in V1_CONTROLLERS]

    def _limit(self, path: Path) -> None:
        whole = path.name == self.group
        if (CGROUPS / "cgroup.controllers").exists():
            if whole:
                (CGROUPS / "cgroup.subtree_control").write_text("+memory +cpuset +pids +cpu")
                (path / "memory.max").write_text(str(self.memory * KIB * KIB))
                (path / "memory.swap.max").write_text("0")
                (path / "cpuset.cpus").write_text(f"0-{self.cpus - 1}")
                (path / "cgroup.subtree_control").write_text("+memory +cpuset +pids +cpu")
        elif "memory" in path.parts:
            if whole:
                (path / "memory.use_hierarchy").write_text("1")
                (path / "memory.limit_in_bytes").write_text(str(self.memory * KIB * KIB))
        else:
            (path / "cpuset.mems").write_text((CGROUPS / "cpuset" / "cpuset.mems").read_text())
            (path / "cpuset.cpus").write_text(f"0-{self.cpus - 1}")

    def _make_files(self) -> None:
        for directory in OWN_DIRECTORIES:
            (self.place / directory).mkdir(parents=True, exist_ok=True)
        if self.disk:
            image = self.place / "disk.img"
            with image.open("wb") as file:
                file.truncate(self.disk * KIB * KIB)
            _call("mkfs.ext4", "-q", "-F", "-m", "0", str(image))
            _call("mount", "-o", "loop", str(image), str(self.place / "opt"))
        settings: dict[str, str] = {}
        if self.maps_users:
            settings["userns-remap"] = MAPPED_USER
            for name in ("etc", "etc.work"):
                (self.place / name).mkdir()
            lines = "".join(f"{owner}:{FIRST_MAPPED}:65536\n" for owner in MAPPED_USER.split(":"))
            for file in ("subuid", "subgid"):  # of groups, too, some engines ask by the user's name
                (self.place / "etc" / file).write_text(lines)
        (self.place / "daemon.json").write_text(json.dumps(settings))
        total = self.memory * KIB
        shares = {"MemTotal": 1.0, "MemFree": 0.7, "MemAvailable": 0.85, "Buffers": 0.01, "Cached": 0.1}
        shares |= {"SwapTotal": 0.0, "SwapFree": 0.0}
        lines = [f"{name + ':':<16}{int(total * share):8} kB" for name, share in shares.items()]
        (self.place / "meminfo").write_text("\n".join(lines) + "\n")
        (self.place / "swaps").write_text("Filename\tType\tSize\tUsed\tPriority\n")
        hosts = {"localhost": "127.0.0.1", "ip6-localhost": "::1", **self._hosts}
        names = {name: {"VPS": self.address, "OUTSIDE": self.outside}.get(to, to) for name, to in hosts.items()}
        (self.place / "hosts").write_text("".join(f"{to}\t{name}\n" for name, to in names.items()))

    def _make_network(self, block: Sequence[int]) -> None:
        inside = ("ip", "-n", self.namespace)
        _call("ip", "netns", "add", self.namespace)
        _call("ip", "link", "add", self.link, "type", "veth", "peer", "name", "eth0", "netns", self.namespace)
        _call("ip", "addr", "add", f"{self.outside}/24", "dev", self.link)
        _call("ip", "link", "set", self.link, "up")
        _call(*inside, "addr", "add", f"{self.address}/24", "dev", "eth0")
        _call(*inside, "link", "set", "eth0", "up")
        _call(*inside, "link", "set", "lo", "up")
        _call(*inside, "route", "add", "default", "via", self.outside)
        rule = ("nsenter", f"--net=/run/netns/{self.namespace}", "iptables", "-A", "OUTPUT", "-o", "eth0")
        for port in block:
            _call(*rule, "-p", "tcp", "--dport", str(port), "-j", "DROP")
        if not block:  # nothing is to be learned from waiting: each `condev apply` would take seven seconds more
            _call(*rule, "!", "-d", f"{self.outside}/24", "-j", "REJECT")

    def remove(self) -> None:
        """End what runs on it, and take away what it is made of; also of a run that was killed."""
        stop_engine(self.place / "pid")
        there = subprocess.run(["ip", "netns", "pids", self.namespace], capture_output=True, text=True, check=False)
        # In every hierarchy: the engine makes groups in those that limit nothing here, too.
        groups = [*CGROUPS.glob(self.group), *CGROUPS.glob(f"*/{self.group}")]
        members = [file.read_text("ascii") for group in groups for file in group.rglob("cgroup.procs")]
        for pid in {int(pid) for pid in f"{there.stdout} {' '.join(members)}".split()}:
            with contextlib.suppress(ProcessLookupError):  # a container outlives an engine that was killed
                os.kill(pid, signal.SIGKILL)
        subprocess.run(["ip", "netns", "del", self.namespace], capture_output=True, check=False)
        subprocess.run(["ip", "link", "del", self.link], capture_output=True, check=False)
        for path in (path for group in groups for path in (*sorted(group.rglob("*/"), reverse=True), group)):
            with contextlib.suppress(OSError):  # a process that is still ending: the next run finds it empty
                path.rmdir()
        if (self.place / "opt").is_mount():
            _call("umount", "--lazy", str(self.place / "opt"))
        subprocess.run(["rm", "-rf", "--one-file-system", self.place], check=True)


def remove_left(name: str) -> None:
    """Take away what a run that was killed left of a machine."""
    Vps(name, 0, 1, {}).remove()


def _call(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"{' '.join(command)}: {done.stderr}")


@contextlib.contextmanager
def machine(
    name: str, *, memory: int, cpus: int, hosts: Mapping[str, str] | None = None, block: Sequence[int] = (),
    disk: int = 0, maps_users: bool = False,
) -> Generator[Vps]:  # fmt: skip
    """A fresh machine for the time of the block. One at a time: they share the images.

    Args:
        name: of its network, groups and directory; a dozen letters at most.
        memory: in MiB.
        cpus: how many.
        hosts: names for its /etc/hosts, to an address, "VPS" (itself) or "OUTSIDE" (this side).
        block: TCP ports that its provider lets nobody reach from it, without a word, as all else that is not this side;
            with none, what tries to get out is refused at once.
        disk: in MiB, of /opt; 0 leaves it on this machine's.
        maps_users: its engine has `userns-remap`, and images of its own: none, until `images.hand_over`.
    """
    with Vps(name, memory, cpus, hosts or {}, disk, maps_users).running(block) as vps:
        yield vps
