"""The pages about traces: the list, the waterfall, what it does with broken trees; who may see them."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest
from litestar.testing import AsyncTestClient
from msgspec.structs import replace

from appliance.accounts.access import Actor, NotFoundError, Role
from appliance.hookspecs import EventFilter, Page, SpanSummary
from appliance.model import Batch
from appliance.testing.clock import FakeClock
from appliance.testing.dashboard import MadeUpIssues
from appliance.testing.reference_store import MemoryStore
from appliance.testing.rows import HOUR, NOW, event_row, hex_id, span_row
from appliance.traces.service import TraceService
from appliance.traces.views import in_order, trace_page

BASE = "/projects/shop-web/traces"
STRANGER = Actor(user_id=9, email="elsewhere@example.com", role=Role.MEMBER, project_ids=frozenset({2}))
SPAN = SpanSummary(
    project_id=1, trace_id=hex_id(1), span_id="r", parent_span_id="", event_id="", start=0, end=1_000_000,
    op="pageload", name="/", status="ok", is_segment=True, release="", environment="", url="", browser="",
    os="", device="", user_hash=0, attributes={},
)  # fmt: skip

Client = AsyncTestClient[Any]


async def text(client: Client, path: str) -> str:
    answer = await client.get(path)
    assert answer.status_code == 200, answer.text
    return html.unescape(answer.text)


async def test_the_list_has_one_row_for_each_root_span(client: Client) -> None:
    shown = await text(client, BASE)
    assert len(re.findall("<tr data-row>", shown)) > 5
    assert "http.client" not in shown
    assert "2.30\u202fs" in shown
    assert "No trace matches" in await text(client, f"{BASE}?browser=none")


async def test_a_trace_is_a_waterfall_with_its_errors(client: Client, store: MemoryStore) -> None:
    await store.write(
        Batch(batch_id=9, events=[event_row(4_000, trace_id=hex_id(403), title="Boom", timestamp=NOW - HOUR)])
    )
    spans = [row for row in store.tables["spans"].values() if row.trace_id == hex_id(403)]  # type: ignore[union-attr]
    at = min(row.start for row in spans)  # type: ignore[union-attr]
    await store.write(
        Batch(batch_id=10, events=[event_row(4_001, trace_id=hex_id(403), title="Boom in it", timestamp=at + 1)])
    )
    shown = await text(client, f"{BASE}/{hex_id(403)}")
    assert shown.count('<svg class="beam"') == 5
    assert "internal_error" in shown
    assert "http.response.status_code" in shown
    assert "Boom in it" in shown
    assert "/issues/1/events/" in shown
    assert 'class="what d-2"' in shown


async def test_a_trace_without_spans_shows_its_events_and_an_unknown_one_is_not_found(
    client: Client, store: MemoryStore
) -> None:
    await store.write(Batch(batch_id=9, events=[event_row(4_000, trace_id=hex_id(8_888), title="Alone")]))
    shown = await text(client, f"{BASE}/{hex_id(8_888)}")
    assert "Alone" in shown
    assert "No span of this trace" in shown
    assert (await client.get(f"{BASE}/{hex_id(8_889)}")).status_code == 404
    assert (await client.get(f"/projects/docs/traces/{hex_id(403)}")).status_code == 404


async def test_the_api_lists_root_spans_or_those_of_a_trace(client: Client) -> None:
    since = "since=2027-01-01T00:00:00Z"
    roots = (await client.get(f"/api/v1/projects/1/spans?{since}&limit=3")).json()
    assert all(span["is_segment"] and span["duration"] == 2_300 for span in roots["items"])
    assert roots["next"]
    one = (await client.get(f"/api/v1/projects/1/spans?{since}&trace={hex_id(403)}")).json()
    assert len(one["items"]) == 5
    assert {span["trace_id"] for span in one["items"]} == {hex_id(403)}


def test_every_span_comes_once_also_where_parents_lead_in_a_circle() -> None:
    spans = [
        SPAN,
        replace(SPAN, span_id="a", parent_span_id="r", start=10),
        replace(SPAN, span_id="b", parent_span_id="c", start=20),
        replace(SPAN, span_id="c", parent_span_id="b", start=30),
        replace(SPAN, span_id="self", parent_span_id="self", start=40),
        replace(SPAN, span_id="orphan", parent_span_id="not here", start=50),
    ]
    ordered = [(span.span_id, depth) for span, depth in in_order(spans)]
    assert sorted(name for name, _ in ordered) == ["a", "b", "c", "orphan", "r", "self"]
    assert ordered[:2] == [("r", 0), ("a", 1)]
    assert ("c", 1) in ordered


def test_bars_stay_inside_whatever_the_clocks_said() -> None:
    spans = [SPAN, replace(SPAN, span_id="a", start=999_999, end=5, parent_span_id="r")]
    spans += [replace(SPAN, span_id=str(n), parent_span_id=str(n - 1) if n else "r") for n in range(40)]
    shown = trace_page("t", spans, [], {}, cut=False)
    assert all(0 <= row.x <= 100 and row.width > 0 and row.depth <= 12 for row in shown.rows)
    assert shown.rows[0].span.span_id == "r"


async def test_a_thousand_deep_trace_is_no_trouble(client: Client, store: MemoryStore) -> None:
    rows = [
        span_row(50_000 + n, trace_id=hex_id(77), span_id=f"{n:016x}", parent_span_id=f"{n - 1:016x}" if n else "")
        for n in range(1_200)
    ]
    await store.write(Batch(batch_id=11, spans=rows))
    shown = await text(client, f"{BASE}/{hex_id(77)}")
    assert "Only the first 1,000 spans" in shown


async def test_nobody_reads_the_traces_of_a_foreign_project(store: MemoryStore) -> None:
    service = TraceService(store, MadeUpIssues(NOW), FakeClock(NOW))
    where = EventFilter(project_ids=(1,), start=NOW - HOUR)
    for call in (
        service.list(STRANGER, where, Page()),
        service.trace(STRANGER, 1, hex_id(403)),
        service.values(STRANGER, where, "op"),
    ):
        with pytest.raises(NotFoundError):
            await call
