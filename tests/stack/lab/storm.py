"""More events than an appliance can take, over its public address: half an hour's worth in a minute."""

from __future__ import annotations

import json
import secrets
import socket
import ssl
import threading
import time
from collections import Counter
from functools import partial
from itertools import count
from pathlib import Path
from typing import Final

import httptools
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

STORM_MINUTES: Final = 30  # of what is taken, compressed into one
STORM_EVENTS: Final = STORM_MINUTES * 60 * SUSTAINED  # 72,000
STORM_RATE: Final = STORM_EVENTS / 60.0  # a second, at most: 1,200, thirty times what is taken
TIMES_TOO_MUCH: Final = 10  # at least, however busy the machine that the tests run on
DRAIN_SECONDS: Final = 300.0  # 2,500 events on one busy processor take half a minute
SENDERS: Final = 32  # connections, each with one request at a time
STACK_FRAMES: Final = 30  # an event of 5 KB, as browsers send them
LOOK_SECONDS: Final = 1.0  # between two looks at the memory
STEADY_SECONDS: Final = 0.2
READ_BYTES: Final = 1 << 14
ID: Final = "0" * 32


class Seen:
    """What was answered, and what each service took meanwhile."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.statuses: Counter[int] = Counter()  # 0: the connection broke
        self.accepted: list[str] = []
        self.most: dict[str, float] = {}  # MiB
        self.lock: Final = threading.Lock()

    @property
    def offered(self) -> float:
        """Events a second."""
        return sum(self.statuses.values()) / self.seconds


class _Connection:
    """To the machine's address, by the public name. Sends what is ready made: the sender shares the processors."""

    def __init__(self, address: str, trust: ssl.SSLContext) -> None:
        plain = socket.create_connection((address, 443), 30.0)
        self._socket = trust.wrap_socket(plain, server_hostname=DOMAIN)
        self._parser = httptools.HttpResponseParser(self)
        self._whole = False

    def on_message_complete(self) -> None:
        """For the parser."""
        self._whole = True

    def ask(self, request: bytes) -> int:
        """The status of the answer.

        Raises:
            OSError: the connection broke.
        """
        self._whole = False
        self._socket.sendall(request)
        while not self._whole:
            data = self._socket.recv(READ_BYTES)
            if not data:
                raise ConnectionResetError("closed before the answer was whole")
            self._parser.feed_data(data)
        return self._parser.get_status_code()

    def close(self) -> None:
        """Give it up."""
        self._socket.close()


def storm(site: Site) -> Seen:
    """Send `STORM_EVENTS` over `SENDERS` connections, `STORM_RATE` a second or as fast as they are answered."""
    trust = ssl.create_default_context(cafile=site.vps.path(AUTHORITY))
    seen, over = Seen(), threading.Event()
    looking = threading.Thread(target=_look, args=(memory_groups(site.vps), seen, over))
    looking.start()
    began, turns = time.monotonic(), count()
    threads = [
        threading.Thread(target=_send, args=(site, trust, seen, began, turns, number)) for number in range(SENDERS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seen.seconds = time.monotonic() - began
    over.set()
    looking.join()
    return seen


def _look(groups: dict[str, Path], seen: Seen, over: threading.Event) -> None:
    while not over.wait(LOOK_SECONDS):
        for name, taken in memory_in(groups).items():
            seen.most[name] = max(taken, seen.most.get(name, 0.0))


def _send(site: Site, trust: ssl.SSLContext, seen: Seen, began: float, turns: count[int], number: int) -> None:
    request = _request(site, number)
    connection: _Connection | None = None
    while (turn := next(turns)) < STORM_EVENTS:
        time.sleep(max(0.0, began + turn / STORM_RATE - time.monotonic()))
        event_id = secrets.token_hex(16)
        try:
            connection = connection or _Connection(site.vps.address, trust)
            status = connection.ask(request.replace(ID.encode(), event_id.encode()))
        except OSError:  # counted; the next one is on a connection of its own
            if connection is not None:
                connection.close()
            connection, status = None, 0
        with seen.lock:
            seen.statuses[status] += 1
            if status == 200:
                seen.accepted.append(event_id)
    if connection is not None:
        connection.close()


def _request(site: Site, number: int) -> bytes:
    """A whole request whose event has the id `ID`."""
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
    event = {"event_id": ID, "platform": "javascript", "timestamp": time.time(), "exception": {"values": [value]}}
    body = "\n".join(json.dumps(line) for line in ({"event_id": ID}, {"type": "event"}, event)).encode()
    head = (
        f"POST /api/{site.project['id']}/envelope/ HTTP/1.1\r\nHost: {DOMAIN}\r\nContent-Length: {len(body)}\r\n"
        f"X-Sentry-Auth: Sentry sentry_version=7, sentry_key={site.project['key']}\r\n\r\n"
    )
    return head.encode() + body


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
        """Everything that was acknowledged can be read, the last of it as soon as it is stored.

        The API is asked through the service that was just killed: an answer that is neither yes nor no is asked for
        again, and what is still missing in the end is named.
        """
        assert self.accepted
        wait_until(lambda: self._site.get("system")["spool"]["records"] == 0, "the spool is empty")
        for number, event_id in enumerate(self.accepted, 1):
            what = f"event {event_id}, {number} of {len(self.accepted)} acknowledged"
            wait_until(partial(self._site.has, event_id), what)

    def _go_on(self) -> None:
        while not self._over.wait(STEADY_SECONDS):
            try:
                status, event_id = self._site.send()
            except httpx.HTTPError:
                status, event_id = 0, ""
            self.statuses[status] += 1
            if status == 200:
                self.accepted.append(event_id)


def survives_a_storm(site: Site, name: str) -> Seen:
    """It is refused in part, all that was accepted is there, and nothing was killed or started again.

    Thirty minutes' worth of load in one: `SUSTAINED` is 40 events a second, which in 30 minutes are 72,000; all of
    these are offered at 1,200 a second, 30 times what is taken, so that they take a minute. Some 2,400 of them are
    accepted (40 a second), and all others told to wait. A machine that is busy with other tests takes longer for the
    same 72,000; the storm has to stay 10 times what is taken, so that at least nine are refused for each accepted one.

    Args:
        site: where it goes.
        name: of the file for its figures.
    """
    containers, kills = containers_of(site.vps), site.vps.oom_kills()
    seen = storm(site)
    assert set(seen.statuses) == {200, 429}, seen.statuses
    assert sum(seen.statuses.values()) == STORM_EVENTS
    assert seen.statuses[429] > (TIMES_TOO_MUCH - 1) * seen.statuses[200], f"{seen.offered:.0f} a second were no storm"
    wait_until(lambda: site.get("system")["spool"]["records"] == 0, "the spool is empty", seconds=DRAIN_SECONDS)
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
