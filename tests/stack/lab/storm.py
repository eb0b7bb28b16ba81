"""More events than an appliance can take, over its public address, as fast as it answers."""

from __future__ import annotations

import http.client
import json
import secrets
import socket
import ssl
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Final

import httpx

from tests.stack.lab.machines import SUSTAINED
from tests.stack.lab.site import (
    AUTHORITY,
    DOMAIN,
    Site,
    containers_of,
    memory_groups,
    memory_in,
    services_well,
    wait_until,
    write_result,
)

SENDERS: Final = 32  # connections, each with one request at a time
STACK_FRAMES: Final = 30  # an event of 5 KB, as browsers send them
LOOK_SECONDS: Final = 1.0  # between two looks at the memory
STEADY_SECONDS: Final = 0.2


class Seen:
    """What was answered, and what each service took meanwhile."""

    def __init__(self, seconds: float) -> None:
        self.seconds: Final = seconds
        self.statuses: Counter[int] = Counter()
        self.accepted: list[str] = []
        self.most: dict[str, float] = {}  # MiB
        self.lock: Final = threading.Lock()

    @property
    def offered(self) -> float:
        """Events a second."""
        return sum(self.statuses.values()) / self.seconds


class _Connection(http.client.HTTPSConnection):
    """To the machine's address, by the public name."""

    def __init__(self, address: str, trust: ssl.SSLContext) -> None:
        super().__init__(DOMAIN, timeout=30.0, context=trust)
        self._address, self._trust = address, trust

    def connect(self) -> None:
        self.sock = self._trust.wrap_socket(
            socket.create_connection((self._address, 443), 30.0), server_hostname=DOMAIN
        )


def storm(site: Site, *, seconds: float) -> Seen:
    """Send for so long over `SENDERS` connections; a connection that breaks is made anew and counted as status 0."""
    trust = ssl.create_default_context(cafile=site.vps.path(AUTHORITY))
    seen, until, over = Seen(seconds), time.monotonic() + seconds, threading.Event()
    looking = threading.Thread(target=_look, args=(memory_groups(site.vps), seen, over))
    looking.start()
    threads = [threading.Thread(target=_send, args=(site, trust, seen, until, number)) for number in range(SENDERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    over.set()
    looking.join()
    return seen


def _look(groups: dict[str, Path], seen: Seen, over: threading.Event) -> None:
    while not over.wait(LOOK_SECONDS):
        for name, taken in memory_in(groups).items():
            seen.most[name] = max(taken, seen.most.get(name, 0.0))


def _send(site: Site, trust: ssl.SSLContext, seen: Seen, until: float, number: int) -> None:
    path = f"/api/{site.project['id']}/envelope/"
    headers = {"X-Sentry-Auth": f"Sentry sentry_version=7, sentry_key={site.project['key']}"}
    connection = _Connection(site.vps.address, trust)
    body = _body("EVENT-ID", number)
    while time.monotonic() < until:
        event_id = secrets.token_hex(16)
        try:
            connection.request("POST", path, body.replace("EVENT-ID", event_id), headers)
            answer = connection.getresponse()
            answer.read()
            status = answer.status
        except (OSError, http.client.HTTPException):
            connection.close()
            connection = _Connection(site.vps.address, trust)
            status = 0
        with seen.lock:
            seen.statuses[status] += 1
            if status == 200:
                seen.accepted.append(event_id)
    connection.close()


def _body(event_id: str, number: int) -> str:
    frames = [
        {
            "filename": f"https://shop.test/app-{secrets.token_hex(4)}.js",
            "function": f"step{n}",
            "lineno": n,
            "colno": n,
        }
        for n in range(STACK_FRAMES)
    ]
    value = {"type": f"Storm{number}Error", "value": f"of sender {number}", "stacktrace": {"frames": frames}}
    event = {"event_id": event_id, "platform": "javascript", "timestamp": time.time(), "exception": {"values": [value]}}
    return "\n".join(json.dumps(line) for line in ({"event_id": event_id}, {"type": "event"}, event))


class Steady:
    """Events all the time, as from a site that nobody told: what was acknowledged has to be there in the end."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._go_on)
        self.statuses: Counter[int] = Counter()
        self.accepted: list[str] = []

    def __enter__(self) -> Steady:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def wait_for(self, status: int) -> None:
        """Return when one more was answered so."""
        before = self.statuses[status]
        wait_until(lambda: self.statuses[status] > before, f"an event is answered {status}: {self.statuses}")

    def check(self) -> None:
        """Everything that was acknowledged can be read."""
        assert self.accepted
        wait_until(lambda: self._site.get("system")["spool"]["records"] == 0, "the spool is empty")
        assert [event_id for event_id in self.accepted if not self._site.has(event_id)] == []

    def _go_on(self) -> None:
        while not self._over.wait(STEADY_SECONDS):
            try:
                status, event_id = self._site.send()
            except httpx.HTTPError:
                status, event_id = 0, ""
            self.statuses[status] += 1
            if status == 200:
                self.accepted.append(event_id)


def survives_a_storm(site: Site, seconds: float, name: str) -> Seen:
    """It is refused in part, all that was accepted is there, and nothing was killed or started again.

    Args:
        site: where it goes.
        seconds: how long.
        name: of the file for its figures.
    """
    containers, kills = containers_of(site.vps), site.vps.oom_kills()
    seen = storm(site, seconds=seconds)
    assert set(seen.statuses) <= {200, 429}, seen.statuses
    assert seen.statuses[429] > 0, f"{seen.offered:.0f} a second were no storm"
    wait_until(lambda: site.get("system")["spool"]["records"] == 0, "the spool is empty", seconds=300.0)
    sample = seen.accepted[:: max(1, len(seen.accepted) // 100)]
    assert [event_id for event_id in sample if not site.has(event_id)] == []
    issues = site.get(f"projects/{site.project['id']}/issues?limit=100")["items"]
    storms = sum(issue["event_count"] for issue in issues if issue["title"].startswith("Storm"))
    assert storms == len(seen.accepted)
    assert (containers_of(site.vps), site.vps.oom_kills()) == (containers, kills)
    assert services_well(site.vps)
    write_result(
        name,
        {
            "offered_per_second": seen.offered, "sustained_per_second": SUSTAINED, "accepted": len(seen.accepted),
            "refused": seen.statuses[429], "seconds": seen.seconds, "mebibytes_at_most": seen.most,
            "sum": sum(seen.most.values()), "killed_for_memory": site.vps.oom_kills() - kills,
        },
    )  # fmt: skip
    return seen
