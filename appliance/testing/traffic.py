"""Clients under load: events over keep-alive connections, what was acknowledged, and what the appliance then has.

For tests that break something meanwhile. Not a load generator: benchmarks have their own.
"""

from __future__ import annotations

import contextlib
import http.client
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from typing import Any, Final

from msgspec import Struct, field

from appliance.system.service import FRESH_SECONDS
from appliance.testing.running import Owner, RunningAppliance

SOCKET_SECONDS: Final = 60.0  # an answer may wait for a slow disk; a killed server resets the connection at once
AGAIN_SHARE: Final = 0.05  # of acknowledged events, sent once more: answers get lost on their way to browsers
DRAIN_SECONDS: Final = 120.0
EVENTS_A_PAGE: Final = 200
ISSUES_A_PAGE: Final = 100


class Sent(Struct, frozen=True):
    """One request, and the event that it carries."""

    event_id: str
    body: bytes


class Traffic:
    """Threads that send until they are told to stop. What gets no 2xx is kept and sent again, as SDKs do."""

    def __init__(
        self, target: RunningAppliance, path: str, requests: Iterator[Sent], *, per_second: float, senders: int = 4
    ) -> None:
        """Nothing is sent yet: use it as a context manager.

        Args:
            target: may be killed and started again meanwhile.
            path: with the query, where the requests go.
            requests: each event with an id of its own; as many as are wanted.
            per_second: how many are sent at most, by all senders together.
            senders: connections.
        """
        self.acknowledged: set[str] = set()
        self.attempted: set[str] = set()
        self.statuses: Counter[int] = Counter()
        self.broken = 0  # connections that ended before an answer
        self.oddities: list[str] = []  # answers that no SDK may get: neither a 2xx nor a 429 with Retry-After
        self._target = target
        self._path = path
        self._requests = requests
        self._waiting: deque[Sent] = deque()
        self._pause = senders / per_second
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._send_all, args=(n,), daemon=True) for n in range(senders)]

    def __enter__(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, more: int, seconds: float = 60.0) -> None:
        """Wait until so many more events are acknowledged."""
        wanted = len(self.acknowledged) + more
        deadline = time.monotonic() + seconds
        while len(self.acknowledged) < wanted:
            if time.monotonic() > deadline:
                raise AssertionError(f"no {more} events were acknowledged within {seconds:g} s: {self.statuses}")
            time.sleep(0.02)

    def _send_all(self, number: int) -> None:
        chance = random.Random(number)  # noqa: S311 - no secret
        connection = self._connect()
        while not self._stop.wait(self._pause * chance.uniform(0.5, 1.5)):
            sent = self._next()
            if sent is None:
                return
            try:
                connection.request("POST", self._path, sent.body, {"content-type": "text/plain"})
                answer = connection.getresponse()
                body = answer.read()
            except (OSError, http.client.HTTPException):
                connection.close()
                connection = self._connect()
                with self._lock:
                    self.broken += 1
                    self._waiting.append(sent)
                continue
            self._note(sent, answer, body, again=chance.random() < AGAIN_SHARE)
        connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self._target.port, timeout=SOCKET_SECONDS)

    def _next(self) -> Sent | None:
        with self._lock:
            sent = self._waiting.popleft() if self._waiting else next(self._requests, None)
            if sent is not None:
                self.attempted.add(sent.event_id)
            return sent

    def _note(self, sent: Sent, answer: http.client.HTTPResponse, body: bytes, *, again: bool) -> None:
        with self._lock:
            self.statuses[answer.status] += 1
            if 200 <= answer.status < 300:
                self.acknowledged.add(sent.event_id)
                if again:
                    self._waiting.append(sent)
                return
            self._waiting.append(sent)
            if answer.status != 429 or not answer.headers.get("retry-after", "").isdecimal():
                self.oddities.append(f"{answer.status} {body[:200]!r}")


class Books(Struct):
    """What the appliance has of one project, by its own API."""

    project_events: int
    ids: Counter[str] = field(default_factory=Counter[str])  # of all events that the issues list
    wrong_issues: list[str] = field(default_factory=list[str])  # whose counter is not what they list
    duplicates: int = 0
    dead_letters: int = 0


def system_of(appliance: RunningAppliance, owner: Owner) -> dict[str, Any]:
    """`GET /api/v1/system`."""
    return appliance.get("/api/v1/system", owner.token)


def wait_until_drained(appliance: RunningAppliance, owner: Owner, seconds: float = DRAIN_SECONDS) -> dict[str, Any]:
    """Wait until everything accepted is applied; the state of the system then."""
    states: list[dict[str, Any]] = []
    time.sleep(FRESH_SECONDS)  # an answer may be so old, and know nothing of what was sent since

    def drained() -> bool:
        with contextlib.suppress(OSError):
            states.append(system_of(appliance, owner))
        if not states:
            return False
        pipeline = states[-1]["pipeline"]
        # Before the first worker starts the pipeline has not looked into the spool yet.
        return states[-1]["spool"]["records"] == 0 and pipeline["worker_starts"] > 0 and not pipeline["waiting_for"]

    appliance.wait_until(drained, "the spool to be empty", seconds)
    return states[-1]


def read_books(appliance: RunningAppliance, owner: Owner) -> Books:
    """Add up what the API says: every event of every issue, and the counters beside them.

    An issue's counter and its list are two answers. A request that its sender gave up on may be applied between them,
    so books that disagree are read once more: a counter that is wrong stays wrong.
    """
    books = _read_once(appliance, owner)
    return _read_once(appliance, owner) if books.wrong_issues else books


def _read_once(appliance: RunningAppliance, owner: Owner) -> Books:
    system = wait_until_drained(appliance, owner)
    project = appliance.get(f"/api/v1/projects/{owner.project_id}", owner.token)
    books = Books(
        project_events=project["event_count"],
        duplicates=system["totals"].get("duplicates", 0),
        dead_letters=system["dead_letters"],
    )
    listing = f"/api/v1/projects/{owner.project_id}/issues?state=all&limit={ISSUES_A_PAGE}"
    for issue in _all_pages(appliance, owner, listing):
        listed = [e["id"] for e in _all_pages(appliance, owner, f"/api/v1/issues/{issue['id']}/events?limit=200")]
        books.ids.update(listed)
        if len(listed) != issue["event_count"]:
            books.wrong_issues.append(f"{issue['title']}: counts {issue['event_count']}, lists {len(listed)}")
    return books


def check_books(books: Books, traffic: Traffic) -> None:
    """Everything acknowledged is there once, nothing is there that was not sent, and all counters agree."""
    twice = [event_id for event_id, times in books.ids.items() if times > 1]
    assert not twice, f"{len(twice)} events are stored twice, e.g. {twice[:3]}"
    lost = traffic.acknowledged - books.ids.keys()
    assert not lost, f"{len(lost)} of {len(traffic.acknowledged)} acknowledged events are lost, e.g. {sorted(lost)[:3]}"
    assert books.ids.keys() <= traffic.attempted
    assert books.wrong_issues == []
    assert books.project_events == len(books.ids)


def _all_pages(appliance: RunningAppliance, owner: Owner, path: str) -> Iterator[dict[str, Any]]:
    cursor: str | None = ""
    while cursor is not None:
        page = appliance.get(f"{path}&cursor={cursor}" if cursor else path, owner.token)
        yield from page["items"]
        cursor = page["next"]
