"""Security headers and the request id on every answer of the dashboard and API. Ingest answers do not pass here."""

from __future__ import annotations

import secrets
from typing import Final, cast

from litestar.datastructures import MutableScopeHeaders
from litestar.types import Message, Scope

# Scripts and styles from our own files alone; nothing may frame us, nothing may be framed.
CSP: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS: Final = (
    ("content-security-policy", CSP),
    ("cache-control", "no-store"),  # what somebody may see is nobody else's; static files say their own
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
)
# A year, as browsers' own lists ask for. Not for subdomains, which are not ours to speak for. A proxy may set the same
# header again; where one forgot to, people who type the name would be open to whoever is in between.
TRANSPORT_SECURITY: Final = "max-age=31536000"
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def request_id(scope: Scope) -> str:
    """The id of this request, made when first asked for: on the error page, in the header, in the log."""
    state = scope["state"]
    if "request_id" not in state:
        state["request_id"] = secrets.token_hex(8)
    return cast("str", state["request_id"])


async def add_headers(message: Message, scope: Scope) -> None:
    """Litestar's `before_send` hook. A handler that sets one of these headers itself keeps its own value."""
    if message["type"] != "http.response.start":
        return
    headers = MutableScopeHeaders.from_message(message)
    for name, value in HEADERS:
        if name not in headers:
            headers[name] = value
    headers["x-request-id"] = request_id(scope)
    if scope["type"] == "http" and scope["method"] not in SAFE and "clear-site-data" not in headers:
        # What was fetched ahead for links that were pointed at may not show how things stood before.
        headers["clear-site-data"] = '"prefetchCache"'


async def add_transport_security(message: Message, scope: Scope) -> None:
    """Litestar's `before_send` hook, where the site is reached by https."""
    if message["type"] == "http.response.start":
        MutableScopeHeaders.from_message(message)["strict-transport-security"] = TRANSPORT_SECURITY
