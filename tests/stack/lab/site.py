"""An installed appliance, as its users meet it: over HTTPS at its public address, and by `condev` on the machine."""

from __future__ import annotations

import contextlib
import json
import secrets
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, cast

import httpx

from tests.stack.lab.images import REPOSITORY
from tests.stack.lab.vps import Vps

DOMAIN: Final = "monitor.test"
ROOT: Final = "/opt/condev"
OWNER: Final = "owner@monitor.test"
PASSWORD: Final = "a long enough password"
INSTALL_SECONDS: Final = 300.0  # what a person may be asked to wait on the smallest machine
SETTLE_SECONDS: Final = 120.0
AUTHORITY: Final = f"{ROOT}/caddy/data/caddy/pki/authorities/local/root.crt"


def install(vps: Vps, *flags: str, check: bool = True) -> str:
    """Run installer.sh of this checkout, as README says; its output.

    Args:
        vps: where.
        flags: beside the answers.
        check: fail when it fails.
    """
    words = ("sh", str(REPOSITORY / "installer.sh"), "--domain", DOMAIN, "--tls", "internal", "--mail", "none")
    done = vps.run(*words, "--no-pull", *flags, seconds=INSTALL_SECONDS, check=check)
    return done.stdout + done.stderr


class Site:
    """One project of an appliance on a machine, with an owner's token."""

    def __init__(self, vps: Vps, token: str, project: dict[str, Any]) -> None:
        """A browser's way: TLS for the public name, which this side has to be told the address and authority of.

        Args:
            vps: where.
            token: of the owner.
            project: as `condev project create --json` says it.
        """
        self.vps: Final = vps
        self.token: Final = token
        self.project: Final = project
        trust = ssl.create_default_context(cafile=vps.path(AUTHORITY))
        name = {"Host": DOMAIN}
        self.client: Final = httpx.Client(base_url=f"https://{vps.address}", headers=name, verify=trust, timeout=20.0)

    @classmethod
    def make(cls, vps: Vps) -> Site:
        """Make owner, token and project with the commands of docs/accounts.md."""

        def said(*words: str) -> dict[str, Any]:
            return cast("dict[str, Any]", json.loads(vps.run("condev", *words).stdout))

        vps.run("condev", "user", "create", "--email", OWNER, "--role", "owner", stdin=f"{PASSWORD}\n")
        token = str(said("token", "create", "--user", OWNER, "--json")["token"])
        return cls(vps, token, said("project", "create", "--name", "Shop", "--json"))

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """A request at the public address."""
        return self.client.request(method, path, extensions={"sni_hostname": DOMAIN}, **options)

    def get(self, path: str) -> Any:
        """Ask the API as the owner."""
        answer = self.request("GET", f"/api/v1/{path}", headers={"Authorization": f"Bearer {self.token}"})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def send(self, message: str = "TypeError: x is not a function") -> tuple[int, str]:
        """Send an event as Sentry's SDK does: (status, event id)."""
        event_id = secrets.token_hex(16)
        event = {
            "event_id": event_id, "platform": "javascript", "level": "error", "timestamp": time.time(),
            "exception": {"values": [{"type": message.partition(":")[0], "value": message}]},
        }  # fmt: skip
        lines = ({"event_id": event_id}, {"type": "event"}, event)
        body = "\n".join(json.dumps(line) for line in lines)
        answer = self.request(
            "POST", f"/api/{self.project['id']}/envelope/", content=body,
            headers={"X-Sentry-Auth": f"Sentry sentry_version=7, sentry_key={self.project['key']}"},
        )  # fmt: skip
        return answer.status_code, event_id

    def has(self, event_id: str) -> bool:
        """Whether the event can be read."""
        path, token = f"/api/v1/events/{event_id}", {"Authorization": f"Bearer {self.token}"}
        return self.request("GET", path, headers=token).status_code == 200

    def report(self) -> str:
        """Send an event and wait until it can be read back; its id."""
        status, event_id = self.send()
        assert status == 200
        wait_until(lambda: self.has(event_id), f"event {event_id} at the API")
        return event_id


def wait_until(condition: Callable[[], object], what: str, seconds: float = SETTLE_SECONDS) -> None:
    """Look twice a second; what cannot be asked at the moment counts as not yet."""
    deadline = time.monotonic() + seconds
    last = ""
    while time.monotonic() < deadline:
        try:
            if condition():
                return
        except (httpx.HTTPError, AssertionError) as error:
            last = f" ({error})"
        time.sleep(0.5)
    raise AssertionError(f"not within {seconds:.0f} s: {what}{last}")


def services_well(vps: Vps) -> bool:
    """Whether `condev status` is content; asked only when the engine is, since asking takes seconds of a processor."""
    told = vps.docker("ps", "--all", "--format", "{{.Status}}").splitlines()
    healthy = bool(told) and all("(healthy)" in status for status in told)
    return healthy and vps.run("condev", "status", check=False).returncode == 0


def container(vps: Vps, service: str) -> str:
    """The id of a service's container."""
    project, name = "label=com.docker.compose.project=condev", f"label=com.docker.compose.service={service}"
    return vps.docker("ps", "--all", "--quiet", "--filter", project, "--filter", name).strip()


def kill(vps: Vps, service: str) -> None:
    """SIGKILL to a service's first process: not by `docker kill`, after which Docker would not start it again."""
    vps.run("kill", "-9", str(first_process(vps, service)))


def first_process(vps: Vps, service: str) -> int:
    """The process that a service's container lives by."""
    return int(vps.docker("inspect", "--format", "{{.State.Pid}}", container(vps, service)))


def kill_by_memory(vps: Vps, service: str) -> None:
    """Have the kernel kill a service at its memory limit: something beside it in its container takes all there is.

    Every process of the service is made the first choice; what takes the memory ends with the container.
    """
    for pid in vps.docker("top", container(vps, service), "-o", "pid").split()[1:]:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a health check that has ended
            Path(f"/proc/{pid}/oom_score_adj").write_text("1000")
    greedy = "taken = []\nwhile True: taken.append(b'x' * (8 << 20))"
    vps.run("docker", "exec", container(vps, service), "python3", "-c", greedy, check=False)


def memory_groups(vps: Vps) -> dict[str, Path]:
    """The memory cgroup of each service that runs."""
    found: dict[str, Path] = {}
    told = "{{.Name}} {{.State.Pid}}"
    for line in vps.docker("inspect", "--format", told, *vps.docker("ps", "--quiet").split()).splitlines():
        name, pid = line.removeprefix("/condev-").split()
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
        _, controllers, path = next(one for one in lines if "memory" in one or "::" in one).split(":", 2)
        found[name.removesuffix("-1")] = Path("/sys/fs/cgroup") / ("memory" if controllers else "") / path.lstrip("/")
    return found


def memory_in(groups: dict[str, Path]) -> dict[str, float]:
    """MiB that each group uses, less inactive file pages: what it would take to run it."""
    found: dict[str, float] = {}
    for name, group in groups.items():
        usage = group / "memory.current"
        usage = usage if usage.exists() else group / "memory.usage_in_bytes"
        stat = dict(one.split() for one in (group / "memory.stat").read_text().splitlines())
        inactive = stat.get("total_inactive_file", stat.get("inactive_file", "0"))
        found[name] = (int(usage.read_text()) - int(inactive)) / (1 << 20)
    return found


def memory_of(vps: Vps) -> dict[str, float]:
    """MiB that each service takes now."""
    return memory_in(memory_groups(vps))


def state_of(vps: Vps) -> dict[str, tuple[int, str]]:
    """Every file of the installation outside its data and journal, with its time and content."""
    root = vps.path(ROOT)
    skipped = ("data", "caddy", "postgres", "clickhouse-data", "releases")
    names = [path for path in sorted(root.rglob("*")) if path.relative_to(root).parts[0] not in skipped]
    files = [path for path in names if path.is_file()]
    return {str(path.relative_to(root)): (path.stat().st_mtime_ns, path.read_bytes().hex()) for path in files}


def containers_of(vps: Vps) -> list[str]:
    """Every container with the time that it was started at."""
    ids = vps.docker("ps", "--all", "--quiet").split()
    told = "{{.Id}} {{.State.StartedAt}} {{.RestartCount}}"
    return sorted(vps.docker("inspect", "--format", told, *ids).splitlines()) if ids else []


def write_result(name: str, figures: dict[str, Any]) -> None:
    """Keep what was measured, for the docs: benchmarks/results/NAME.json."""
    place = REPOSITORY / "benchmarks" / "results"
    place.mkdir(parents=True, exist_ok=True)
    (place / f"{name}.json").write_text(json.dumps(_rounded(figures), indent=2) + "\n", "utf-8")


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return round(value, 1)
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in cast("dict[str, object]", value).items()}
    return value
