"""The conformance suite of processors: subclass it, give it your processor, and pytest runs the contract against it.

::

    class TestMine(ProcessorConformance):
        @pytest.fixture
        def processor(self): return MyProcessor()
"""

from __future__ import annotations

import copy

import msgspec
import pytest

from appliance.hookspecs import Processor
from appliance.model import (
    Breadcrumb,
    Event,
    ExceptionValue,
    Frame,
    Item,
    Json,
    Kind,
    Measurement,
    Outcome,
    PageView,
    ReplaySegment,
    Request,
    Session,
    Span,
    User,
)

_TIME = 1_800_000_000_000_000
_AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/148.0.0.0 Safari/537.36"
_TYPES = (Event, Measurement, PageView, Session, Span, ReplaySegment, Outcome)


def sample_items() -> list[Item]:
    """One item of each type, with something in most fields."""
    return [
        Event(
            id="1" * 32,
            kind=Kind.ERROR,
            timestamp=_TIME,
            message="it broke",
            url="https://shop.example.com/cart?utm_source=mail",
            transaction="/cart",
            release="shop@1.2.3",
            exceptions=[
                ExceptionValue(
                    type="TypeError",
                    value="x is not a function",
                    frames=[Frame(function="total", filename="https://shop.example.com/app.js", lineno=1, colno=2)],
                )
            ],
            breadcrumbs=[Breadcrumb(timestamp=_TIME, category="fetch", data={"url": "/api", "status_code": 500})],
            user=User(id="7", email="ann@example.com", ip_address="203.0.113.9"),
            request=Request(url="https://shop.example.com/cart", headers={"User-Agent": _AGENT}),
            user_agent=_AGENT,
            tags={"team": "front"},
            contexts={"browser": {"name": "Chrome", "version": "148.0.0"}},
            extra={"cart": {"items": [1, 2, {"sku": "x"}], "total": 12.5, "coupon": None}},
        ),
        Measurement(id="2" * 32, metric="LCP", value=1234.5, timestamp=_TIME, url="/cart", user_agent=_AGENT),
        PageView(id="3" * 32, timestamp=_TIME, url="/cart", referrer="https://example.com/", user_agent=_AGENT),
        Session(id="4" * 32, started=_TIME, timestamp=_TIME, user_agent=_AGENT),
        Span(trace_id="5" * 32, span_id="6" * 16, start=_TIME, end=_TIME + 5, name="GET /api", user_agent=_AGENT),
        ReplaySegment(replay_id="7" * 32, segment=0, timestamp=_TIME, started=_TIME, body=b'[{"type":4}]'),
        Outcome(reason="before_send", category="error", timestamp=_TIME),
    ]


def hostile_items() -> list[Item]:
    """Items that a protocol may give and that no processor may stumble over."""
    deep: Json = "bottom"
    for _ in range(20):
        deep = {"a": [deep]}
    return [
        Event(id="a" * 32, kind=Kind.MESSAGE, timestamp=0),
        Event(id="b" * 32, kind=Kind.ERROR, timestamp=_TIME, extra={"deep": deep, "": "", "long": "=@:" * 20_000}),
        Event(
            id="c" * 32,
            kind=Kind.ERROR,
            timestamp=_TIME,
            user_agent="(" * 5_000,
            contexts={"browser": "no object", "os": ["neither"], "device": None},
            tags={"": "x"},
            message="\u202e\U0001f600" * 1_000,
            exceptions=[ExceptionValue()],
            request=Request(data=[1, 2.5, None, True, "x"], cookies={"a": None}),
        ),
        Span(trace_id="d" * 32, span_id="e" * 16, start=0, end=0, attributes={"n": 10**18, "x": {"y": []}}),
        ReplaySegment(replay_id="f" * 32, segment=0, timestamp=0, started=0, body=b"\xff not JSON"),
    ]


class ProcessorConformance:
    """What the decode worker relies on."""

    def test_it_says_its_name_place_and_what_its_failure_means(self, processor: Processor) -> None:
        """The host orders by `order` and shows `name`."""
        assert processor.name
        assert isinstance(processor.order, int)
        assert processor.on_failure in {"skip", "dead_letter"}

    def test_an_empty_batch_is_an_empty_batch(self, processor: Processor) -> None:
        """Nothing in, nothing out."""
        assert processor.process_batch([]) == []

    @pytest.mark.parametrize("make", [sample_items, hostile_items])
    def test_it_takes_every_item_and_invents_none(self, processor: Processor, make: type) -> None:
        """Those it leaves out are counted as dropped; more than came in cannot be placed."""
        items: list[Item] = make()
        result = processor.process_batch(list(items))
        assert len(result) <= len(items)
        assert all(isinstance(item, _TYPES) for item in result)
        msgspec.json.encode(result)

    @pytest.mark.parametrize("make", [sample_items, hostile_items])
    def test_the_same_items_give_the_same(self, processor: Processor, make: type) -> None:
        """A batch that a crash interrupted runs again; sampling is by the item's id."""
        first = processor.process_batch(make())
        second = processor.process_batch(make())
        assert msgspec.json.encode(first) == msgspec.json.encode(second)

    def test_an_item_fares_the_same_alone_and_among_others(self, processor: Processor) -> None:
        """When a batch raises, the host tries its items one by one."""
        together = processor.process_batch(sample_items() + hostile_items())
        alone = [found for item in sample_items() + hostile_items() for found in processor.process_batch([item])]
        assert msgspec.json.encode(together) == msgspec.json.encode(alone)

    def test_ids_and_places_stay(self, processor: Processor) -> None:
        """Deduplication and the ordinals of a batch hang on them."""
        before = {keys_of(item) for item in sample_items()}
        after = [keys_of(item) for item in processor.process_batch(sample_items())]
        assert len(after) == len(set(after))
        assert set(after) <= before

    def test_it_keeps_nothing_of_one_batch_for_the_next(self, processor: Processor) -> None:
        """What it gives back belongs to the host, which may change it."""
        first = processor.process_batch(sample_items())
        reference = copy.deepcopy(first)
        for item in first:
            if not isinstance(item, Outcome):
                item.client.browser = "changed by a later processor"
        assert msgspec.json.encode(processor.process_batch(sample_items())) == msgspec.json.encode(reference)


def keys_of(item: Item) -> tuple[str, ...]:
    """What an item is stored under."""
    match item:
        case Span():
            return ("span", item.trace_id, item.span_id)
        case ReplaySegment():
            return ("replay", item.replay_id, str(item.segment))
        case Outcome():
            return ("outcome", item.reason, item.category)
        case _:
            return (type(item).__name__, item.id)
