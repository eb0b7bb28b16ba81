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
from typing import Final

from tests.stack.lab.site import AUTHORITY, DOMAIN, Site

SENDERS: Final = 32  # connections, each with one request at a time
STACK_FRAMES: Final = 30  # an event of 5 KB, as browsers send them


class Seen:
    """What was answered."""

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.accepted: list[str] = []
        self.lock: Final = threading.Lock()


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
    seen, until = Seen(), time.monotonic() + seconds
    threads = [threading.Thread(target=_send, args=(site, trust, seen, until, number)) for number in range(SENDERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return seen


def _send(site: Site, trust: ssl.SSLContext, seen: Seen, until: float, number: int) -> None:
    path = f"/api/{site.project['id']}/envelope/"
    headers = {"X-Sentry-Auth": f"Sentry sentry_version=7, sentry_key={site.project['key']}"}
    connection = _Connection(site.vps.address, trust)
    while time.monotonic() < until:
        event_id = secrets.token_hex(16)
        try:
            connection.request("POST", path, _body(event_id, number), headers)
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
