"""The ingest role on a real server and real sockets, with a wire format of a few lines."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import httpx
import pytest
import uvicorn

from appliance.clock import SystemClock
from appliance.config import Ingest
from appliance.hookspecs import (
    Answer,
    Clock,
    Decoded,
    DecodeError,
    IngestRequest,
    Peek,
    ProjectSettings,
    Protocol,
    Route,
    Verdict,
    VerdictKind,
)
from appliance.ingest.admission import AdmissionFile, AdmissionTable, AdmittedProject, hash_key, publish
from appliance.ingest.asgi import IngestApp
from appliance.model import Category, Record
from appliance.spool import Spooled, SpooledRecord, SpoolReader, SpoolWriter, decode_record, read_records
from appliance.spool.files import DISK, Files

STATUSES = {
    VerdictKind.ACCEPTED: 200,
    VerdictKind.UNKNOWN_KEY: 403,
    VerdictKind.FORBIDDEN_ORIGIN: 403,
    VerdictKind.MALFORMED: 400,
    VerdictKind.TOO_LARGE: 413,
    VerdictKind.RATE_LIMITED: 429,
    VerdictKind.OVERLOADED: 429,
    VerdictKind.TIMED_OUT: 408,
    VerdictKind.GONE: 202,
}


class Plain(Protocol):
    """A line of JSON first: {"key", "id", "category"}; then anything."""

    name = "plain"
    routes = (
        Route(path="/in/{project_id}/", methods=("POST",), name="in"),
        Route(path="/settings/{key}", methods=("GET", "HEAD"), name="settings", takes_body=False),
    )
    exposed_headers = ("Retry-After", "X-Limits")

    def peek(self, request: IngestRequest) -> Peek:
        if request.head.startswith(b"raise"):
            raise RuntimeError("a plugin's fault")
        try:
            first = json.loads(request.head.split(b"\n", 1)[0])
        except ValueError as error:
            raise DecodeError("The first line is no JSON.") from error
        return Peek(
            key=first.get("key", ""),
            project_id=int(request.params["project_id"]),
            event_id=first.get("id", ""),
            category=Category(first.get("category", "error")),
            keep_headers=("user-agent", "x-kept"),
        )

    def decode(self, record: Record) -> Decoded:
        return Decoded()

    def answer(self, verdict: Verdict) -> Answer:
        if verdict.event_id == "answer-raises":
            raise RuntimeError("a plugin's fault")
        headers = (("Retry-After", str(verdict.retry_after)),) if verdict.retry_after else ()
        body = json.dumps({"kind": verdict.kind, "id": verdict.event_id, "detail": verdict.detail}).encode()
        return Answer(status=STATUSES[verdict.kind], body=body, headers=headers)

    def key_of(self, request: IngestRequest) -> str:
        return request.params["key"]

    def inform(self, request: IngestRequest, settings: ProjectSettings | None) -> Answer:
        if request.query == "raise":
            raise RuntimeError("a plugin's fault")
        return Answer(status=200, body=json.dumps({"project": settings and settings.project_id}).encode())


class Running:
    """A served ingest role, and its spool."""

    def __init__(self, app: IngestApp, spool: SpoolWriter, directory: Path, files: Files, port: int) -> None:
        self.app = app
        self.spool = spool
        self.directory = directory
        self.files = files
        self.port = port
        self.client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30)

    async def post(self, body: bytes = b'{"key": "k1"}\n', path: str = "/in/1/", **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.post(path, content=body, headers=named)

    def records(self) -> list[SpooledRecord]:
        """The accepted requests; counts of drops may stand between them."""
        return [record for record in self.spooled() if isinstance(record, SpooledRecord)]

    def spooled(self) -> list[Spooled]:
        reader, after, found = SpoolReader.open(self.directory / "spool", files=self.files), None, []
        while (spool_range := reader.next_range(after, 100, 1 << 26)) is not None:
            records = read_records(self.directory / "spool", spool_range, files=self.files)
            found += [decode_record(payload) for _, payload in records]
            after = spool_range.after
        reader.close()
        return found

    async def raw(self, data: bytes) -> bytes:
        """Send bytes on a socket of their own and read until the server closes or says no more for a moment."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(data)
        answer = b""
        with contextlib.suppress(TimeoutError):
            while part := await asyncio.wait_for(reader.read(65_536), 1.5):
                answer += part
        writer.close()
        return answer


PROJECTS = [
    AdmittedProject(id=1, key_hashes=[hash_key("k1"), hash_key("second")]),
    AdmittedProject(
        id=2,
        key_hashes=[hash_key("k2")],
        origins=["https://shop.example.com", "https://*.wild.example"],
        replay_enabled=False,
        sdk={"sample": 0.5},
    ),
    AdmittedProject(id=3, key_hashes=[hash_key("k3")], requests_per_second=1.0),
]


@pytest.fixture
def publish_projects(tmp_path: Path) -> Callable[[], None]:
    return lambda: publish(tmp_path / "admission.json", AdmissionTable(projects=PROJECTS))


@pytest.fixture
def protocols() -> list[Protocol]:
    """What the served role speaks; a file of tests may say otherwise."""
    return [Plain()]


@pytest.fixture
async def serve(tmp_path: Path, publish_projects: Callable[[], None], protocols: list[Protocol]):
    """Start the role with a config of one's own; everything is stopped at the end."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(
            config: Ingest | None = None,
            *,
            files: Files = DISK,
            clock: Clock | None = None,
            admitted: bool = True,
            proxies: tuple[str, ...] = (),
            max_bytes: int = 1 << 28,
            min_free_bytes: int = 0,
            directory: Path = tmp_path,
            conditions: Callable[[], Awaitable[Sequence[str]]] | None = None,
        ) -> Running:
            if admitted:
                publish_projects()
            clock = clock or SystemClock()
            spool = SpoolWriter.open(
                directory / "spool", max_bytes=max_bytes, min_free_bytes=min_free_bytes, files=files
            )
            stack.push_async_callback(spool.close)
            app = IngestApp(
                protocols=protocols,
                admission=AdmissionFile(tmp_path / "admission.json", clock),
                spool=spool,
                config=config or Ingest(requests_per_second=0, requests_per_second_per_address=0),
                trusted_proxies=proxies,
                clock=clock,
                conditions=conditions,
            )
            running = Running(app, spool, directory, files, await stack.enter_async_context(server(app)))
            stack.push_async_callback(running.client.aclose)
            return running

        yield start


@contextlib.asynccontextmanager
async def server(app: IngestApp) -> AsyncIterator[int]:
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    config = uvicorn.Config(
        app, log_level="error", access_log=False, proxy_headers=False, http="httptools", loop="none", lifespan="on"
    )
    uvicorn_server = uvicorn.Server(config)
    task = asyncio.create_task(uvicorn_server.serve(sockets=[listening]))
    while not uvicorn_server.started:
        assert not task.done()
        await asyncio.sleep(0.005)
    try:
        yield listening.getsockname()[1]
    finally:
        uvicorn_server.should_exit = True
        await task
        listening.close()
