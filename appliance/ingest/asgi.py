"""HTTP in: the raw ASGI application that admits requests and answers each after it is on disk.

For everything that SDKs send, `/healthz` and `/readyz`. Not for pages or the API: the outer application asks `claims`
and sends those elsewhere. The order of admission: peek, known key, allowed origin, promised size, rates, spool
watermark, then the rest of the body and its decompressed size, then the spool. Rates come before counting a compressed
body, since counting is the one step whose cost the sender chooses: a bomb costs its sender a token.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import structlog

from appliance.config import Ingest
from appliance.hookspecs import Answer, Clock, DecodeError, IngestRequest, Peek, Protocol, Verdict, VerdictKind
from appliance.ingest.addresses import TrustedProxies
from appliance.ingest.admission import AdmissionFile
from appliance.ingest.answers import (
    Receive,
    Scope,
    Send,
    cors_headers,
    fault_answer,
    plain_answer,
    send_answer,
    send_preflight,
)
from appliance.ingest.bodies import (
    BodyReader,
    DisconnectedError,
    Intake,
    RefusalError,
    joined_header,
    kept_headers,
    read_headers,
)
from appliance.ingest.drops import Drop, DropCounter, IngestCounters
from appliance.ingest.gate import FAILED_RETRY_SECONDS, FULL_RETRY_SECONDS, Gate, overloaded
from appliance.ingest.routes import Match, RouteTable
from appliance.ingest.shedding import SHED_AT
from appliance.model import Category
from appliance.spool import SpooledRecord, SpoolError, SpoolFullError, SpoolWriter, encode_record
from appliance.uninterrupted import KeptAnswer

FLUSH_SECONDS: Final = 5.0  # how old the drop counts on the System page may be
MAX_EVENT_ID: Final = 64  # a UUID has 36 characters
CONDITIONS_SECONDS: Final = 3.0  # a health check waits 5
FRESH_SECONDS: Final = 2.0  # strangers may ask for them as often as they like
HEALTH_PATHS: Final = frozenset({"/healthz", "/readyz"})

log = structlog.get_logger(__name__)


class IngestApp:
    """The ASGI callable. Alone it serves the ingest role; beside the dashboard the outer application calls it."""

    def __init__(
        self,
        *,
        protocols: Sequence[Protocol],
        admission: AdmissionFile,
        spool: SpoolWriter,
        config: Ingest,
        trusted_proxies: Sequence[str],
        clock: Clock,
        conditions: Callable[[], Awaitable[Sequence[str]]] | None = None,
    ) -> None:
        """Args:
            protocols: the wire formats, from the plugin host.
            admission: what the core published.
            spool: open; closed by whoever opened it, after `stop`.
            config: `[ingest]`.
            trusted_proxies: `[site] trusted_proxies`.
            clock: real, or a test's.
            conditions: names of what the core finds wrong with the appliance; None where no core runs beside.

        Raises:
            ValueError: two protocols claim one route, or a proxy is no network.
        """
        self.counters = IngestCounters()
        self._routes = RouteTable(protocols)
        self._cors = {protocol.name: cors_headers(protocol) for protocol in protocols}
        self._admission = admission
        self._spool = spool
        self._proxies = TrustedProxies(trusted_proxies)
        self._clock = clock
        self._drops = DropCounter(self.counters)
        self._gate = Gate(admission, spool, config, clock)
        self._bodies = BodyReader(
            self.counters,
            max_body=config.max_body,
            max_compressed=config.max_compressed_body,
            max_in_flight=config.max_bytes_in_flight,
            seconds=config.body_timeout_seconds,
        )
        self._beside = (
            KeptAnswer(conditions, fresh=FRESH_SECONDS, wait=CONDITIONS_SECONDS, monotonic=clock.monotonic)
            if conditions is not None
            else None
        )
        self._flushing: asyncio.Task[None] | None = None
        self._next_fault_line = float("-inf")

    # ── for whoever runs it ──

    def claims(self, path: str) -> bool:
        """Whether a path is ours."""
        return self._routes.find(path) is not None or path in HEALTH_PATHS

    async def start(self) -> None:
        """Begin to report drops. Call it on the event loop, before the first request."""
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._flush_for_ever(), name="ingest-drop-counts")

    async def stop(self) -> None:
        """No longer ready; what was counted goes to the spool, which must still be open."""
        self._gate.stopping = True
        task, self._flushing = self._flushing, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self.flush_drops()

    async def flush_drops(self) -> None:
        """Spool the drop counts that wait; when the spool does not take them they wait on."""
        record = self._drops.take(self._clock.now())
        if record is None:
            return
        try:
            await self._spool.append(encode_record(record))
        except SpoolError as error:
            self._drops.put_back(record)
            log.info("drop_counts_wait", reason=str(error))

    def problems(self) -> list[str]:
        """Why nothing can be accepted just now, by name: strangers read this. The words are in the log."""
        found = {
            "stopping": self._gate.stopping,
            "admission": self._admission.current() is None,  # the core did not publish it yet, or it is damaged
            "spool_full": self._spool.level() >= SHED_AT[Category.ERROR],
            "spool_failed": not self._spool.healthy,
        }
        return [name for name, holds in found.items() if holds]

    # ── the request path ──

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._other(scope, receive, send)
            return
        path: str = scope["path"]
        routes = self._routes.find(path)
        if routes is None:
            await self._own(scope, path, send)
            return
        match = routes.get(scope["method"])
        if match is None:
            await self._no_such_method(scope, routes, send)
        elif match.route.takes_body:
            await self._take(scope, receive, send, match)
        else:
            await self._inform(scope, send, match)

    async def _take(self, scope: Scope, receive: Receive, send: Send, match: Match) -> None:
        """One request with a body, from its headers to its answer."""
        counters, protocol = self.counters, match.protocol
        counters.in_flight_requests += 1
        intake = Intake(match, scope["method"], scope["query_string"].decode("latin-1"), {}, self._clock.now())
        close = False
        try:
            await self._accept(intake, scope, receive)
            answer = self._word(intake, VerdictKind.ACCEPTED)
        except RefusalError as refusal:
            self._drops.add(intake.project_id, refusal.reason, intake.category)
            close = refusal.kind is VerdictKind.TIMED_OUT
            answer = self._word(intake, refusal.kind, refusal)
        except DisconnectedError:
            self._drops.add(intake.project_id, Drop.DISCONNECTED, intake.category)
            return
        except Exception:  # noqa: BLE001 - a fault of ours: the SDK must keep its data and come back
            self._log_fault("ingest_fault", intake)
            self._drops.add(intake.project_id, Drop.INTERNAL, intake.category)
            answer = fault_answer(FAILED_RETRY_SECONDS)
        finally:
            self._bodies.release(intake)
            counters.in_flight_requests -= 1
        await send_answer(send, answer, self._cors[protocol.name], close=close)

    async def _accept(self, intake: Intake, scope: Scope, receive: Receive) -> None:
        """Admit and spool, or raise RefusalError."""
        raw: list[tuple[bytes, bytes]] = scope["headers"]
        intake.headers = read_headers(raw)
        intake.address = self._address(scope, raw, intake.headers)
        bodies = self._bodies
        bodies.expect(intake, raw)
        try:
            async with bodies.deadlines.new():
                await bodies.receive_head(intake, receive)
                peek = self._peek(intake)
                self._gate.admit(intake, peek)
                await bodies.receive_rest(intake, receive)
        except TimeoutError as error:
            detail = "The body did not arrive in time."
            raise RefusalError(VerdictKind.TIMED_OUT, Drop.TIMED_OUT, detail) from error
        if intake.encoding:
            await bodies.check_size(intake)
        await self._append(intake, peek)

    def _address(self, scope: Scope, raw: list[tuple[bytes, bytes]], headers: dict[str, str]) -> str:
        client = scope.get("client")
        peer: str = client[0] if client else ""
        if "x-forwarded-for" not in headers:
            return peer
        return self._proxies.client(peer, joined_header(raw, b"x-forwarded-for"))

    def _request(self, intake: Intake, head: bytes) -> IngestRequest:
        return IngestRequest(
            route=intake.match.route.name,
            method=intake.method,
            params=intake.match.params,
            query=intake.query,
            headers=intake.headers,
            head=head,
            address=intake.address,
            received_at=intake.received_at,
        )

    def _peek(self, intake: Intake) -> Peek:
        head = self._bodies.head(intake)
        try:
            peek = intake.match.protocol.peek(self._request(intake, head))
        except DecodeError as error:
            raise RefusalError(VerdictKind.MALFORMED, Drop.MALFORMED, str(error)) from error
        except Exception as error:  # a plugin's fault, met with this input
            self._log_fault("protocol_peek_raised", intake)
            detail = "The request could not be read."
            raise RefusalError(VerdictKind.MALFORMED, Drop.MALFORMED, detail) from error
        intake.event_id = peek.event_id[:MAX_EVENT_ID]
        intake.category = peek.category
        return peek

    async def _append(self, intake: Intake, peek: Peek) -> None:
        size = len(intake.body)
        payload = encode_record(
            SpooledRecord(
                protocol=intake.match.protocol.name,
                route=intake.match.route.name,
                project_id=intake.project_id,
                received_at=intake.received_at,
                query=intake.query,
                headers=kept_headers(intake.headers, peek.keep_headers, intake.encoding),
                address=intake.address,
                event_id=intake.event_id,
                category=intake.category,
                body=intake.body,
                refused=list(intake.refused),
            )
        )
        intake.body = b""  # the payload has it; large bodies are not held twice while the disk works
        try:
            await self._spool.append(payload)
        except SpoolFullError as error:
            raise overloaded(Drop.SPOOL_FULL, "The appliance is full.", FULL_RETRY_SECONDS) from error
        except SpoolError as error:
            detail = "The appliance cannot write to its disk."
            raise overloaded(Drop.SPOOL_FAILED, detail, FAILED_RETRY_SECONDS) from error
        self.counters.accepted += 1
        self.counters.accepted_bytes += size

    # ── answers ──

    def _word(self, intake: Intake, kind: VerdictKind, refusal: RefusalError | None = None) -> Answer:
        verdict = Verdict(
            kind=kind,
            route=intake.match.route.name,
            event_id=intake.event_id,
            category=intake.category,
            retry_after=refusal.retry_after if refusal else 0,
            detail=refusal.detail if refusal else "",
            max_bytes=refusal.max_bytes if refusal else 0,
            now=intake.received_at,
        )
        try:
            return intake.match.protocol.answer(verdict)
        except Exception:  # noqa: BLE001 - a plugin's fault; what was spooled stays, and the SDK's repetition is known
            self._log_fault("protocol_answer_raised", intake)
            return fault_answer(FAILED_RETRY_SECONDS)

    async def _inform(self, scope: Scope, send: Send, match: Match) -> None:
        """A route that takes no body."""
        raw: list[tuple[bytes, bytes]] = scope["headers"]
        query = scope["query_string"].decode("latin-1")
        intake = Intake(match, scope["method"], query, {}, self._clock.now())
        try:
            answer = self._inform_answer(intake, scope, raw)
        except RefusalError as refusal:
            self._drops.add(intake.project_id, refusal.reason, intake.category)
            answer = self._word(intake, refusal.kind, refusal)
        except Exception:  # noqa: BLE001 - a plugin's fault; never a 500
            self._log_fault("protocol_inform_raised", intake)
            answer = fault_answer(FAILED_RETRY_SECONDS)
        await send_answer(send, answer, self._cors[match.protocol.name])

    def _inform_answer(self, intake: Intake, scope: Scope, raw: list[tuple[bytes, bytes]]) -> Answer:
        intake.headers = read_headers(raw)
        intake.address = self._address(scope, raw, intake.headers)
        protocol = intake.match.protocol
        request = self._request(intake, b"")
        key = protocol.key_of(request)
        if not key:
            return protocol.inform(request, None)
        project = self._gate.ready().find(key)
        if project is None:
            self._gate.charge_address(intake.address)
            return protocol.inform(request, None)
        intake.project_id = project.id
        self._gate.check_origin(project, intake.headers)
        self._gate.charge_address(intake.address)
        return protocol.inform(request, project.settings)

    async def _own(self, scope: Scope, path: str, send: Send) -> None:
        """`/healthz` and `/readyz`, and the answer to what nobody claims."""
        if path not in HEALTH_PATHS:
            answer = plain_answer(404, "Nothing is here.")
        elif scope["method"] not in {"GET", "HEAD"}:
            answer = plain_answer(405, "GET or HEAD only.", allow="GET, HEAD")
        else:
            problems = self.problems() if path == "/readyz" else []
            said: dict[str, object] = {"ok": not problems}
            if problems:
                said["problems"] = problems
            if path == "/readyz" and (conditions := await self._conditions()):
                said["conditions"] = conditions
            body = json.dumps(said).encode()
            answer = Answer(status=503 if problems else 200, body=body, headers=(("cache-control", "no-store"),))
        await send_answer(send, answer, [])

    async def _conditions(self) -> Sequence[str]:
        """What the core beside us says; nothing when it cannot say: what is accepted here does not depend on it."""
        if self._beside is None:
            return ()
        try:
            return await self._beside.get()
        except Exception as error:  # noqa: BLE001 - of a database; ingest opens none and must answer without one
            log.warning("readyz_without_conditions", error=str(error))
            return ()

    async def _no_such_method(self, scope: Scope, routes: Mapping[str, Match], send: Send) -> None:
        """The browser's preflight, or a method that the path does not take."""
        if scope["method"] == "OPTIONS":
            names = b"access-control-request-headers"
            await send_preflight(send, routes, joined_header(scope["headers"], names))
            return
        allowed = ", ".join(sorted({*routes, "OPTIONS"}))
        protocol = next(iter(routes.values())).protocol
        answer = plain_answer(405, f"One of {allowed} only.", allow=allowed)
        await send_answer(send, answer, self._cors[protocol.name])

    async def _other(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Scopes that are no request: the server's start and stop when we are the whole application."""
        if scope["type"] != "lifespan":
            await send({"type": "websocket.close"})
            return
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await self.start()
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await self.stop()
                await send({"type": "lifespan.shutdown.complete"})
                return

    def _log_fault(self, what: str, intake: Intake) -> None:
        """For use in an exception handler. Hostile input must not fill the log: one line a second."""
        self.counters.faults += 1
        now = self._clock.monotonic()
        if now < self._next_fault_line:
            return
        self._next_fault_line = now + 1.0
        log.error(
            what, protocol=intake.match.protocol.name, route=intake.match.route.name, project=intake.project_id,
            faults=self.counters.faults, exc_info=True,  # noqa: LOG014 - we are called from handlers
        )  # fmt: skip

    async def _flush_for_ever(self) -> None:
        while True:
            await self._clock.sleep(FLUSH_SECONDS)
            await self.flush_drops()
