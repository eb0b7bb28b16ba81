"""The request path over real sockets: what is accepted, what is refused, and how each is answered."""

from __future__ import annotations

import asyncio
import errno
import gzip

import pytest

from appliance.config import Ingest
from appliance.spool import DropCount, SpooledDrops
from appliance.testing.clock import FakeClock
from appliance.testing.files import PowerCutFiles


async def test_an_accepted_body_is_on_disk_as_received_with_what_decode_needs(serve):
    running = await serve()
    body = gzip.compress(b'{"key": "k1", "id": "abc", "category": "transaction"}\n' + b"x" * 10_000)
    answer = await running.post(body, "/in/1/?a=b", content_encoding="gzip", x_kept="yes", x_other="no")
    assert (answer.status_code, answer.json()["id"]) == (200, "abc")
    (record,) = running.records()
    assert (record.protocol, record.route, record.project_id) == ("plain", "in", 1)
    assert (record.query, record.event_id, record.category) == ("a=b", "abc", "transaction")
    assert record.body == body
    assert record.headers["content-encoding"] == "gzip"
    assert record.headers["x-kept"] == "yes"
    assert "x-other" not in record.headers
    assert record.address == "127.0.0.1"


@pytest.mark.parametrize("path", ["/in/1/", "/in/1", "//in//1//", "/in/1///"])
async def test_slashes_are_collapsed_and_the_last_is_optional(serve, path):
    running = await serve()
    answer = await running.raw(
        b"POST "
        + path.encode()
        + b' HTTP/1.1\r\nHost: x\r\nContent-Length: 13\r\nConnection: close\r\n\r\n{"key": "k1"}'
    )
    assert answer.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("body", "path", "status", "reason"),
    [
        (b'{"key": "nobody"}', "/in/1/", 403, "unknown_key"),
        (b"{}", "/in/1/", 403, "unknown_key"),
        (b'{"key": "k1"}', "/in/2/", 403, "unknown_key"),
        (b"not json", "/in/1/", 400, "malformed"),
        (b"", "/in/1/", 400, "malformed"),
        (b'{"key": "k2", "category": "replay"}', "/in/2/", 202, "replay_disabled"),
    ],
)
async def test_a_refusal_is_worded_by_the_protocol_and_counted(serve, body, path, status, reason):
    running = await serve()
    answer = await running.post(body, path)
    assert answer.status_code == status
    assert running.app.counters.drops == {reason: 1}
    assert running.records() == []


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://shop.example.com", 200),
        ("https://a.wild.example", 200),
        ("https://a.b.wild.example", 200),
        ("https://wild.example", 403),
        ("https://evil-wild.example", 403),
        ("http://a.wild.example", 403),
        ("https://shop.example.com.evil.example", 403),
        ("null", 403),
        (None, 200),
    ],
)
async def test_only_allowed_origins_may_send_and_clients_without_one(serve, origin, status):
    running = await serve()
    headers = {"origin": origin} if origin else {}
    assert (await running.post(b'{"key": "k2"}', "/in/2/", **headers)).status_code == status


async def test_every_status_carries_cors_headers(serve):
    running = await serve(Ingest(max_body=100, requests_per_second=0, requests_per_second_per_address=0))
    answers = [
        await running.post(),
        await running.post(b"not json"),
        await running.post(b'{"key": "no"}'),
        await running.post(b"x" * 200),
        await running.post(b"raise"),
        await running.client.put("/in/1/"),
        await running.client.get("/settings/k1"),
        await running.client.get("/settings/k1?raise"),
    ]
    assert [answer.status_code for answer in answers] == [200, 400, 403, 413, 400, 405, 200, 429]
    for answer in answers:
        assert answer.headers["access-control-allow-origin"] == "*"
        assert answer.headers["access-control-expose-headers"] == "Retry-After, X-Limits"


async def test_a_preflight_allows_what_the_browser_asks_for(serve):
    running = await serve()
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "content-type,x-custom"}
    answer = await running.client.options("/in/1/", headers=asked)
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert answer.headers["access-control-allow-headers"] == "content-type,x-custom"
    assert int(answer.headers["access-control-max-age"]) > 0


async def test_a_preflight_does_not_reflect_what_is_no_header_list(serve):
    running = await serve()
    answer = await running.client.options("/in/1/", headers={"access-control-request-headers": "a;b=<script>"})
    assert answer.status_code == 204
    assert "access-control-allow-headers" not in answer.headers


async def test_a_route_without_a_body_informs_and_answers_head(serve):
    running = await serve()
    assert (await running.client.get("/settings/k2")).json() == {"project": 2}
    assert (await running.client.get("/settings/nobody")).json() == {"project": None}
    head = await running.client.head("/settings/k2")
    assert (head.status_code, head.content) == (200, b"")
    assert (await running.client.get("/settings/k2", headers={"origin": "https://evil.example"})).status_code == 403


async def test_a_plugin_that_raises_never_makes_a_500(serve):
    running = await serve()
    assert (await running.post(b"raise")).status_code == 400
    answer = await running.post(b'{"key": "k1", "id": "answer-raises"}')
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 0
    assert running.app.counters.faults == 2
    assert running.app.counters.drops == {"malformed": 1}


async def test_a_fault_of_ours_is_answered_as_overload_and_the_next_request_works(serve, monkeypatch):
    running = await serve()

    async def broken(payload: bytes) -> None:
        raise ValueError("unforeseen")

    with monkeypatch.context() as patch:
        patch.setattr(running.spool, "append", broken)
        assert (await running.post()).status_code == 429
    assert running.app.counters.drops == {"internal": 1}
    assert (await running.post()).status_code == 200


async def test_a_project_that_sends_too_much_is_told_when_to_come_back(serve):
    clock = FakeClock()
    running = await serve(Ingest(burst_seconds=2, requests_per_second_per_address=0), clock=clock)
    statuses = [(await running.post(b'{"key": "k3"}', "/in/3/")).status_code for _ in range(6)]
    assert statuses == [200, 200, 200, 200, 429, 429]  # two at once, and two more in debt
    refused = await running.post(b'{"key": "k3"}', "/in/3/")
    wait = int(refused.headers["retry-after"])
    assert wait == 3
    assert (await running.post()).status_code == 200  # another project is not concerned
    clock.advance(wait)
    assert (await running.post(b'{"key": "k3"}', "/in/3/")).status_code == 200
    assert running.app.counters.drops == {"rate_limited_project": 3}


async def test_addresses_are_limited_by_what_a_trusted_proxy_says(serve):
    config = Ingest(requests_per_second=0, requests_per_second_per_address=1, burst_seconds=1)
    running = await serve(config, clock=FakeClock(), proxies=("127.0.0.0/8",))
    first = [(await running.post(x_forwarded_for="203.0.113.9")).status_code for _ in range(3)]
    assert first == [200, 200, 429]
    assert (await running.post(x_forwarded_for="203.0.113.10")).status_code == 200
    # What the client wrote itself stands to the left of what our proxy saw.
    assert (await running.post(x_forwarded_for="1.2.3.4, 203.0.113.9")).status_code == 429
    assert running.app.counters.drops == {"rate_limited_address": 2}


async def test_without_trusted_proxies_nobody_chooses_his_address(serve):
    config = Ingest(requests_per_second=0, requests_per_second_per_address=1, burst_seconds=1)
    running = await serve(config, clock=FakeClock())
    statuses = [(await running.post(x_forwarded_for=f"203.0.113.{number}")).status_code for number in range(3)]
    assert statuses == [200, 200, 429]


async def test_before_there_is_an_admission_table_clients_are_told_to_wait(serve, publish_projects):
    clock = FakeClock()
    running = await serve(admitted=False, clock=clock)
    answer = await running.post()
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) >= 10
    ready = await running.client.get("/readyz")
    assert ready.status_code == 503
    assert ready.json() == {"ok": False, "problems": ["admission"]}  # strangers ask this: no path, no words
    publish_projects()
    clock.advance(1)
    assert (await running.post()).status_code == 200
    assert (await running.client.get("/readyz")).json() == {"ok": True}


async def test_strangers_who_ask_for_readiness_cost_the_core_one_query_every_few_seconds(serve):
    clock, asked = FakeClock(), []

    async def conditions():
        asked.append(1)
        return ["disk_low"]

    running = await serve(clock=clock, conditions=conditions)
    for _ in range(5):
        assert (await running.client.get("/readyz")).json() == {"ok": True, "conditions": ["disk_low"]}
    assert len(asked) == 1
    clock.advance(3)
    await running.client.get("/readyz")
    assert len(asked) == 2


async def test_alive_and_ready(serve):
    running = await serve()
    for path in ("/healthz", "/readyz"):
        assert (await running.client.get(path)).json() == {"ok": True}
        assert (await running.client.head(path)).status_code == 200
        assert (await running.client.post(path)).status_code == 405
    assert (await running.client.get("/elsewhere")).status_code == 404
    assert running.app.claims("/in/1")
    assert running.app.claims("/healthz")
    assert not running.app.claims("/issues")


async def test_a_failing_disk_is_answered_as_overload_and_recovers(serve):
    files = PowerCutFiles()
    running = await serve(files=files)
    assert (await running.post()).status_code == 200
    files.fail_next("sync", errno.EIO)
    refused = await running.post()
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 10
    assert (await running.post()).status_code == 200
    assert running.app.counters.drops == {"spool_failed": 1}
    assert len(running.records()) == 2


async def test_a_filling_spool_sheds_replays_first_and_errors_last(serve):
    running = await serve(max_bytes=100_000)

    async def send(category: str) -> int:
        return (await running.post(b'{"key": "k1", "category": "%s"}\n' % category.encode() + b"x" * 900)).status_code

    accepted: dict[str, float] = {}
    for _ in range(120):
        for category in ("error", "session", "transaction", "measurement", "replay"):
            level = running.spool.level()
            if await send(category) == 200:
                accepted[category] = level
    order = sorted(accepted, key=accepted.__getitem__)
    assert order == ["replay", "measurement", "transaction", "session", "error"]
    assert accepted["replay"] < 0.5 < accepted["measurement"]
    assert accepted["error"] > 0.95
    assert set(running.app.counters.drops) <= {"shed", "spool_full"}
    assert (await running.client.get("/readyz")).status_code == 503


async def test_drops_reach_the_spool_by_project_reason_and_category(serve):
    clock = FakeClock()
    running = await serve(clock=clock)
    for _ in range(3):
        await running.post(b'{"key": "nobody"}')
    await running.post(b'{"key": "k2", "category": "replay"}', "/in/2/")
    await asyncio.sleep(0)
    clock.advance(10)
    for _ in range(100):
        await asyncio.sleep(0.01)
        if running.spooled():
            break
    (record,) = running.spooled()
    assert isinstance(record, SpooledDrops)
    assert sorted(record.drops, key=lambda drop: drop.project_id) == [
        DropCount(0, "unknown_key", "error", 3),
        DropCount(2, "replay_disabled", "replay", 1),
    ]


async def test_drop_counts_wait_while_the_spool_does_not_take_them_and_go_at_shutdown(serve):
    files = PowerCutFiles()
    running = await serve(files=files, clock=FakeClock())
    await running.post(b"not json")
    files.fail_next("create", errno.ENOSPC)
    await running.app.flush_drops()
    await running.post(b"not json")
    await running.app.stop()
    (record,) = running.spooled()
    assert isinstance(record, SpooledDrops)
    assert record.drops == [DropCount(0, "malformed", "other", 2)]
    assert (await running.post()).status_code == 429
