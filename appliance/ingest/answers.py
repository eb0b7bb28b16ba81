"""Sending answers: CORS on every status, lengths, and the few answers that no protocol words."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final, TypeAlias

from appliance.hookspecs import Answer, Protocol

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Headers: TypeAlias = list[tuple[bytes, bytes]]

PREFLIGHT_SECONDS: Final = 7_200  # the longest that Chromium remembers; a preflight doubles a request's latency
MAX_REQUESTED_HEADERS: Final = 1_024  # characters; the longest list that a recorded SDK asks for has 60
_HEADER_LIST: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~, \t-]*")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")

# "*" and no credentials: ingest reads no cookie, and the SDKs' requests are cors with same-origin credentials, or
# beacons, whose answer nobody reads.
_CORS: Final[Headers] = [(b"access-control-allow-origin", b"*")]


def cors_headers(protocol: Protocol) -> Headers:
    """What every answer of a protocol carries."""
    if not protocol.exposed_headers:
        return list(_CORS)
    return [*_CORS, (b"access-control-expose-headers", ", ".join(protocol.exposed_headers).encode("latin-1"))]


async def send_answer(send: Send, answer: Answer, cors: Headers, *, close: bool = False) -> None:
    """Send an answer.

    Args:
        send: the ASGI callable.
        answer: what a protocol said.
        cors: from `cors_headers`.
        close: end the connection: more of a body may come that nobody wants.
    """
    body = answer.body
    headers = [
        (b"content-type", answer.content_type.encode("latin-1", "replace")),
        (b"content-length", b"%d" % len(body)),
        *cors,
    ]
    for name, value in answer.headers:
        headers.append((name.encode("latin-1", "replace"), _CONTROL.sub(" ", value).encode("latin-1", "replace")))
    if close:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def send_preflight(send: Send, methods: Mapping[str, object], requested_headers: str) -> None:
    """Allow what the browser asks for: the route's methods, and the headers it named."""
    headers: Headers = [
        *_CORS,
        (b"access-control-allow-methods", ", ".join(sorted({*methods, "OPTIONS"})).encode()),
        (b"access-control-max-age", b"%d" % PREFLIGHT_SECONDS),
        (b"vary", b"access-control-request-headers"),
        (b"content-length", b"0"),
    ]
    if 0 < len(requested_headers) <= MAX_REQUESTED_HEADERS and _HEADER_LIST.fullmatch(requested_headers):
        headers.append((b"access-control-allow-headers", requested_headers.encode()))
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def plain_answer(status: int, text: str, **headers: str) -> Answer:
    """An answer that no protocol words."""
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Answer(status=status, body=json.dumps({"error": text}).encode(), headers=named)


def fault_answer(retry_after: int) -> Answer:
    """For faults of ours or of a plugin: SDKs drop what got a 500, and come back after a 429."""
    return plain_answer(429, "The appliance could not take this now; try again.", retry_after=str(retry_after))
