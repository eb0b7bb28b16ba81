"""A deadline for the bodies of forms and API calls: one that trickles in holds a handler and its memory no longer.

Ingest has its own (`appliance.ingest.bodies`); what nobody reads any more ends in `appliance.ingest.http`.
"""

from __future__ import annotations

import asyncio
from typing import Final, cast

from litestar.exceptions import HTTPException
from litestar.types import ASGIApp, HTTPReceiveMessage, Receive, Scope, Send

BODY_SECONDS: Final = 30.0  # for at most a mebibyte; a phone on a bad line takes a few


class SlowBodyError(HTTPException):
    """The body did not arrive in time."""

    status_code = 408
    detail = "What was sent did not arrive in time. Try again, on a better line."

    def __init__(self) -> None:
        # A client that goes on sending would hold the connection: it is asked to open another.
        super().__init__(detail=self.detail, status_code=408, headers={"Connection": "close"})


class BodyDeadline:
    """An ASGI middleware around the dashboard and the API."""

    def __init__(self, app: ASGIApp, seconds: float = BODY_SECONDS) -> None:
        """Args:
        app: what answers.
        seconds: from the head to the last byte of the body.
        """
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request whose body has so much time."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        due = asyncio.get_running_loop().time() + self._seconds
        is_whole = False

        async def timed() -> HTTPReceiveMessage:
            nonlocal is_whole
            if is_whole:  # what is waited for now is that the client leaves: pages with live streams do that for hours
                return cast("HTTPReceiveMessage", await receive())
            try:
                async with asyncio.timeout_at(due):
                    message = cast("HTTPReceiveMessage", await receive())
            except TimeoutError:
                raise SlowBodyError from None
            is_whole = message["type"] != "http.request" or not message["more_body"]
            return message

        await self._app(scope, cast("Receive", timed), send)
