"""The recorded traffic of real clients, where a checkout has it beside it; tests skip with the reason where not.

Users' machines do not have it: what every test run needs is copied into the repository as goldens.
"""

from __future__ import annotations

import json
import tarfile
import zlib
from collections.abc import Iterator
from datetime import datetime
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

import pytest
from msgspec import Struct

from appliance.model import Record

CORPUS: Final = Path(__file__).resolve().parents[3] / "shared" / "corpus"
SENTRY_KINDS: Final = {"sentry-envelope": "envelope", "sentry-store": "store", "csp-report": "security"}


class Recording(Struct, frozen=True, kw_only=True):
    """One recorded request, decompressed as ingest does it."""

    id: str
    path: str
    record: Record
    item_types: tuple[str, ...] = ()  # of an envelope


class SentRequest(Struct, frozen=True, kw_only=True):
    """One recorded request, byte for byte."""

    id: str
    kind: str  # sentry-envelope, sentry-store, csp-report, cors-preflight
    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


def sentry_requests() -> Iterator[SentRequest]:
    """Every recorded Sentry ingest and CSP request and the preflights before them, in the order of their times."""
    found = [
        (meta["ts"], meta, body)
        for meta, body in _recorded()
        if meta["kind"] in SENTRY_KINDS or (meta["kind"] == "cors-preflight" and meta["path"].startswith("/api/1001/"))
    ]
    for _, meta, body in sorted(found, key=itemgetter(0)):
        yield SentRequest(
            id=meta["id"],
            kind=meta["kind"],
            method=meta["method"],
            path=meta["path"],
            query=meta["query"],
            headers={name: value for name, value in meta["headers"].items() if isinstance(value, str)},
            body=body,
        )


def sentry_recordings() -> Iterator[Recording]:
    """Every recorded Sentry ingest and CSP request."""
    for meta, body in _recorded():
        if meta["kind"] in SENTRY_KINDS:
            yield _recording(meta, body)


def _recorded() -> Iterator[tuple[dict[str, Any], bytes]]:
    """What the archive knows of each request, and its body."""
    archive = CORPUS / "real-clients.tar.xz"
    if not archive.exists():
        pytest.skip(f"no recorded clients at {archive}")
    metas: dict[str, dict[str, Any]] = {}
    bodies: dict[str, bytes] = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            found = tar.extractfile(member) if member.isfile() else None
            if found is None:
                continue
            name = member.name
            if name.endswith(".bin"):
                bodies[name.removesuffix(".bin")] = found.read()
            elif name.endswith(".json"):
                meta: dict[str, Any] | list[Any] = json.load(found)
                if isinstance(meta, dict) and "kind" in meta:
                    metas[name.removesuffix(".json")] = meta
    for name, meta in sorted(metas.items()):
        yield meta, bodies.get(name, b"")


def condev_requests() -> Iterator[dict[str, Any]]:
    """Every recorded condev request: `at` (ms), `method`, `url`, `headers`, `body` (text)."""
    capture = CORPUS / "condev" / "wire-capture.json"
    if not capture.exists():
        pytest.skip(f"no recorded condev traffic at {capture}")
    yield from (entry for entry in json.loads(capture.read_text()) if "method" in entry)


def _recording(meta: dict[str, Any], body: bytes) -> Recording:
    headers = {name: value for name, value in meta["headers"].items() if isinstance(value, str)}
    return Recording(
        id=meta["id"],
        path=meta["path"],
        record=Record(
            protocol="sentry",
            route=SENTRY_KINDS[meta["kind"]],
            project_id=1001,
            received_at=int(datetime.fromisoformat(meta["ts"]).timestamp() * 1_000_000),
            body=_plain(body, meta.get("content_encoding")),
            query=meta["query"],
            headers=headers,
            address="203.0.113.7",
        ),
        item_types=tuple(item["type"] for item in meta.get("items") or ()),
    )


def _plain(body: bytes, encoding: str | None) -> bytes:
    match encoding:
        case "gzip":
            return zlib.decompress(body, 31)
        case "br":
            import brotli

            return brotli.decompress(body)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        case _:
            return body
