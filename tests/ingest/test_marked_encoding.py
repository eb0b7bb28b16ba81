"""A protocol may say how a body is compressed: the same bounds hold as for Content-Encoding."""

from __future__ import annotations

import gzip
import json
import zlib

import pytest

from appliance.config import Ingest
from appliance.hookspecs import VerdictKind
from condev_plugins.condev_protocol import CondevProtocol, CondevProtocolV2

from .conftest import Plain

HEADER = {"v": 2, "id": "1" * 32, "sent_at": 1_800_000_000_000}


@pytest.fixture
def protocols():
    return [CondevProtocol(), CondevProtocolV2("collect"), Plain()]


def envelope(*has: str, size: int = 10) -> bytes:
    lines = [{**HEADER, "has": list(has)}, {"type": "event", "kind": "message", "message": "x" * size}]
    return "\n".join(map(json.dumps, lines)).encode()


async def test_a_marked_body_is_spooled_as_it_came_with_its_encoding(serve):
    running = await serve()
    body = gzip.compress(envelope("event", size=100_000))
    answer = await running.post(body, "/v2/k1?enc=gzip", content_type="text/plain;charset=UTF-8", referer="https://a/")
    assert (answer.status_code, answer.json()) == (200, {"ok": True})
    (record,) = running.records()
    assert (record.protocol, record.body, record.event_id) == ("condev_v2", body, "1" * 32)
    assert record.headers["content-encoding"] == "gzip"
    assert record.headers["referer"] == "https://a/"
    assert record.category == "error"


@pytest.mark.parametrize("path", ["/v2/k1", "/collect/k1/", "//dsn-api//collect/k1", "/dsn-api/v2/k1"])
async def test_the_endpoint_is_answered_under_each_of_its_names(serve, path):
    running = await serve()
    assert (await running.post(envelope("event"), path)).status_code == 200


async def test_a_marked_bomb_costs_bounded_memory_and_gets_413(serve):
    running = await serve(
        Ingest(requests_per_second=0, requests_per_second_per_address=0, max_body=1 << 20)  # type: ignore[arg-type]
    )
    bomb = zlib.compressobj(9, zlib.DEFLATED, 31)
    body = bomb.compress(envelope("event") + b"\n" + b"0" * (64 << 20)) + bomb.flush()
    answer = await running.post(body, "/v2/k1?enc=gzip")
    assert (answer.status_code, answer.json()["reason"]) == (413, "too_large")
    assert running.records() == []


@pytest.mark.parametrize(
    ("body", "query"),
    [(b"plain", "enc=gzip"), (gzip.compress(envelope("event"))[:-20], "enc=gzip"), (envelope("event"), "enc=rot13")],
    ids=["no gzip", "cut gzip", "an unknown mark"],  # not the bytes: a gzip has its time in it
)
async def test_a_body_that_is_not_what_its_mark_says_is_malformed(serve, body, query):
    running = await serve()
    answer = await running.post(body, f"/v2/k1?{query}")
    assert (answer.status_code, answer.json()["reason"]) == (400, "malformed")
    assert answer.headers["access-control-allow-origin"] == "*"


async def test_replays_are_refused_alone_and_left_out_of_what_else_comes(serve):
    running = await serve()
    alone = await running.post(envelope("replay_segment"), "/v2/k2", origin="https://shop.example.com")
    assert (alone.status_code, alone.json()) == (200, {"ok": True, "skipped": True})
    mixed = await running.post(envelope("event", "replay_segment"), "/v2/k2", origin="https://shop.example.com")
    assert mixed.status_code == 200
    (record,) = running.records()
    assert record.refused == ["replay"]
    assert running.app.counters.drops == {"replay_disabled": 1}


async def test_the_settings_of_a_project_are_asked_for_by_key(serve):
    running = await serve()
    answer = await running.client.get("/app-config?appId=k2&v=2", headers={"origin": "https://shop.example.com"})
    assert answer.headers["cache-control"] == "public, max-age=300"
    assert answer.json()["data"] == {"appId": "k2", "replayEnabled": False, "sdk": {"sample": 0.5, "replay": False}}
    first = await running.client.get("/app-config?appId=k2", headers={"origin": "https://shop.example.com"})
    assert first.json()["data"] == {"appId": "k2", "replayEnabled": False}


async def test_a_protocol_whose_encoding_raises_is_a_fault_and_not_a_500(serve, monkeypatch):
    def raises(*_: object) -> str:
        raise RuntimeError("a plugin's fault")

    monkeypatch.setattr(CondevProtocolV2, "encoding_of", raises)
    running = await serve()
    answer = await running.post(envelope("event"), "/v2/k1")
    assert answer.status_code == 429
    assert running.app.counters.faults == 1
    assert VerdictKind.ACCEPTED not in running.app.counters.drops
