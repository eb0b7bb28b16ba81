"""Receiving one request: its headers, its body within bounds, and its size once decompressed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from appliance.hookspecs import VerdictKind
from appliance.ingest.answers import Message, Receive
from appliance.ingest.deadlines import Deadlines
from appliance.ingest.decompress import IDENTITY, BadEncodingError, blocks, head
from appliance.ingest.drops import Drop, IngestCounters
from appliance.ingest.routes import Match
from appliance.model import Category

HEAD_BYTES: Final = 4_096  # what a protocol's peek gets
HEAD_COMPRESSED_BYTES: Final = 16 * 1024  # enough of any honest compressed body to give that much
YIELD_BYTES: Final = 512 * 1024  # of output: about half a millisecond, then other requests get their turn
COUNTING_AT_ONCE: Final = 2  # large bodies: a decoder may hold 16 MiB
MAX_HEADERS: Final = 128  # browsers send 20
MAX_HEADER_BYTES: Final = 32 * 1024  # names and values together; Node's limit is 16 KiB, Caddy's 1 MiB


class RefusalError(Exception):
    """The request is not accepted."""

    def __init__(
        self, kind: VerdictKind, reason: Drop, detail: str, *, retry_after: int = 0, max_bytes: int = 0
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.reason = reason
        self.detail = detail
        self.retry_after = retry_after
        self.max_bytes = max_bytes


class DisconnectedError(Exception):
    """The client went away before its body was whole."""


class Intake:
    """One request on its way in. Plain and slotted: one is made for each."""

    __slots__ = (
        "address", "body", "category", "encoding", "event_id", "headers", "held", "match", "method", "more",
        "project_id", "query", "received_at", "refused",
    )  # fmt: skip

    def __init__(self, match: Match, method: str, query: str, headers: dict[str, str], received_at: int) -> None:
        self.match = match
        self.method = method
        self.query = query
        self.headers = headers
        self.received_at = received_at
        self.address = ""
        self.encoding = ""
        self.body = b""
        self.more = True
        self.held = 0  # bytes counted as in flight
        self.project_id = 0
        self.event_id = ""
        self.category = Category.OTHER
        self.refused: tuple[str, ...] = ()  # categories that the project does not want, beside what it is taken for


def read_headers(raw: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """Header names in lower case; of duplicates the first, since what a proxy adds comes last.

    Raises:
        RefusalError: there are too many.
    """
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(raw)}
    if len(raw) > MAX_HEADERS or sum(map(len, headers)) + sum(map(len, headers.values())) > MAX_HEADER_BYTES:
        detail = f"More than {MAX_HEADERS} headers, or {MAX_HEADER_BYTES} bytes of them."
        raise RefusalError(VerdictKind.TOO_LARGE, Drop.TOO_LARGE, detail, max_bytes=MAX_HEADER_BYTES)
    return headers


def joined_header(raw: list[tuple[bytes, bytes]], name: bytes) -> str:
    """All values of a header in their order, for those where each hop adds one."""
    return ",".join(value.decode("latin-1") for key, value in raw if key == name)


class BodyReader:
    """Receives bodies: capped each and together, each within its deadline."""

    def __init__(
        self, counters: IngestCounters, *, max_body: int, max_compressed: int, max_in_flight: int, seconds: float
    ) -> None:
        """Args:
        counters: `in_flight_bytes` is the process-wide count.
        max_body: bytes of one body, decompressed.
        max_compressed: bytes of one compressed body, as received.
        max_in_flight: bytes of all bodies together, as received.
        seconds: for one body to arrive.
        """
        self._counters = counters
        self._max_body = max_body
        self._max_compressed = max_compressed
        self._max_in_flight = max_in_flight
        self.deadlines = Deadlines(seconds)
        self._counting = asyncio.Semaphore(COUNTING_AT_ONCE)

    def expect(self, intake: Intake, raw: list[tuple[bytes, bytes]]) -> None:
        """Look at what the headers promise. Raises RefusalError for one that is too large or contradicts itself."""
        headers = intake.headers
        encoding = intake.match.protocol.encoding_of(intake.query, headers).strip().lower()
        if encoding and joined_header(raw, b"content-encoding").count(","):
            raise _malformed("More than one Content-Encoding; send the body compressed once.")
        intake.encoding = "" if encoding in IDENTITY else encoding
        declared = headers.get("content-length")
        if declared is not None and declared.isdecimal() and int(declared[:20]) > self.limit(intake):
            raise self._too_large(intake)

    def limit(self, intake: Intake) -> int:
        """Bytes that may be received."""
        return self._max_compressed if intake.encoding else self._max_body

    async def receive_head(self, intake: Intake, receive: Receive) -> None:
        """Receive until `peek` has enough, or all is there."""
        enough = HEAD_COMPRESSED_BYTES if intake.encoding else HEAD_BYTES
        message = await self._next(intake, receive)
        intake.body = message.get("body", b"")
        while intake.more and len(intake.body) < enough:
            message = await self._next(intake, receive)
            intake.body += message.get("body", b"")

    async def receive_rest(self, intake: Intake, receive: Receive) -> None:
        """Receive what is left."""
        if not intake.more:
            return
        parts = [intake.body]
        while intake.more:
            message = await self._next(intake, receive)
            parts.append(message.get("body", b""))
        intake.body = b""
        intake.body = b"".join(parts)

    async def _next(self, intake: Intake, receive: Receive) -> Message:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise DisconnectedError
        intake.more = message.get("more_body", False)
        size = len(message.get("body", b""))
        if intake.held + size > self.limit(intake):
            raise self._too_large(intake)
        if self._counters.in_flight_bytes + size > self._max_in_flight:
            detail = "Too many request bodies are being received at once; try again shortly."
            raise RefusalError(VerdictKind.OVERLOADED, Drop.IN_FLIGHT, detail, retry_after=5)
        intake.held += size
        self._counters.in_flight_bytes += size
        return message

    def release(self, intake: Intake) -> None:
        """The body is gone, whatever became of it."""
        self._counters.in_flight_bytes -= intake.held
        intake.held = 0

    def head(self, intake: Intake) -> bytes:
        """The first 4 KiB, decompressed. Raises RefusalError when even they cannot be."""
        if not intake.encoding:
            return intake.body[:HEAD_BYTES]
        try:
            return head(intake.body, intake.encoding, HEAD_BYTES)
        except BadEncodingError as error:
            raise _malformed(f"{error}.") from error

    async def check_size(self, intake: Intake) -> None:
        """Count the decompressed size and throw the bytes away. Raises RefusalError for a bomb or a damaged body."""
        if not intake.encoding:
            return
        try:
            if not self._count_small(intake):
                async with self._counting:
                    await self._count_large(intake)
        except BadEncodingError as error:
            raise _malformed(f"{error}.") from error

    def _count_small(self, intake: Intake) -> bool:
        """Count without giving way; False when it is more than that should take."""
        total = 0
        for block in blocks(intake.body, intake.encoding):
            total += len(block)
            if total > self._max_body:
                raise self._too_large(intake)
            if total > YIELD_BYTES:
                return False
        return True

    async def _count_large(self, intake: Intake) -> None:
        total, pause = 0, YIELD_BYTES
        for block in blocks(intake.body, intake.encoding):
            total += len(block)
            if total > self._max_body:
                raise self._too_large(intake)
            if total > pause:
                pause = total + YIELD_BYTES
                await asyncio.sleep(0)

    def _too_large(self, intake: Intake) -> RefusalError:
        limit = self._max_body
        detail = f"The body is larger than {limit} bytes"
        if intake.encoding:
            detail += f", or than {self._max_compressed} compressed"
        return RefusalError(VerdictKind.TOO_LARGE, Drop.TOO_LARGE, f"{detail}.", max_bytes=limit)


def _malformed(detail: str) -> RefusalError:
    return RefusalError(VerdictKind.MALFORMED, Drop.MALFORMED, detail[:1].upper() + detail[1:])


def kept_headers(headers: Mapping[str, str], wanted: tuple[str, ...], encoding: str) -> dict[str, str]:
    """The headers that go into the spool: those that the protocol will need, and how the body is compressed."""
    kept = {name: headers[name] for name in wanted if name in headers}
    if encoding:
        kept["content-encoding"] = encoding
    return kept
