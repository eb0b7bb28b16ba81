"""The conformance suite of protocols: subclass it, give it your protocol and samples, and pytest runs the contract.

::

    class TestMine(ProtocolConformance):
        @pytest.fixture
        def protocol(self): return MyProtocol()

        @pytest.fixture
        def samples(self): return [Sample(record=Record(...), key="the key in it")]
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence

import msgspec
import pytest
from msgspec import Struct, field

from appliance import model
from appliance.hookspecs import Decoded, DecodeError, IngestRequest, Protocol, Verdict, VerdictKind
from appliance.model import Event, Item, Measurement, Outcome, PageView, Record, ReplaySegment, Session, Span

HEAD = 4096  # bytes that `peek` is shown
_HEX32 = re.compile(r"[0-9a-f]{32}")
_HEX16 = re.compile(r"[0-9a-f]{16}")
_CLOCKS = ("time", "time_ns", "monotonic", "perf_counter")
# What is hostile to any text format.
HOSTILE = (
    b"",
    b"\n",
    b"\x00",
    b"\xff\xfe\xfd",
    b"{",
    b"[]",
    b"{}",
    b"null",
    b"{}\n",
    b"{}\n{}\n",
    b'{"\xff":"\xff"}',
    b'{"a":NaN,"b":1e999,"c":' + b"9" * 5000 + b"}",
    b'{"a":"\\ud800","b":"\\u0000"}',
    b"[" * 10_000,
    b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    b"[" + b"1," * 20_000 + b"1]",
    b'"' + b"a" * 100_000,
)


class Sample(Struct, frozen=True, kw_only=True):
    """A real request of this protocol."""

    record: Record
    key: str = ""  # the ingest key that `peek` must find; "" when it is in `params`
    params: dict[str, str] = field(default_factory=dict[str, str])  # of the path
    event_id: str = ""  # that `peek` must find, where the head has it


class ProtocolConformance:
    """What ingest and the decode worker rely on."""

    def test_its_routes_are_distinct_and_begin_with_a_slash(self, protocol: Protocol) -> None:
        """Two that claim one path and method are an error at boot."""
        assert protocol.name
        claims = [(route.path, method) for route in protocol.routes for method in route.methods]
        assert claims
        assert len(claims) == len(set(claims))
        for route in protocol.routes:
            assert route.path.startswith("/")
            assert not route.path.endswith("/")
            assert route.name
            assert all(method == method.upper() for method in route.methods)

    def test_peek_finds_the_key_in_the_first_four_kibibytes(
        self, protocol: Protocol, samples: Sequence[Sample]
    ) -> None:
        """And the event id, where the head has it."""
        assert samples
        for sample in samples:
            peek = protocol.peek(request_of(sample))
            if sample.key:
                assert peek.key == sample.key
            if sample.event_id:
                assert peek.event_id == sample.event_id

    def test_peek_takes_any_bytes_or_says_why_not(self, protocol: Protocol, samples: Sequence[Sample]) -> None:
        """It runs on the ingest loop, before anything is known of the sender."""
        for sample in samples:
            for body in mutations(sample.record.body):
                request = request_of(sample, body)
                assert refusal(lambda request=request: protocol.peek(request)) != ""

    def test_how_a_body_is_compressed_is_said_from_any_address_and_headers(
        self, protocol: Protocol, samples: Sequence[Sample]
    ) -> None:
        """Asked before anything is known of the sender; what is said need not be true."""
        for sample in samples:
            assert protocol.encoding_of(sample.record.query, sample.record.headers).isascii()
        for query in ("", "enc", "enc=&enc=gzip", "%ff=%zz&&&=&%00", "a=b&" * 5_000, "\x00", "enc=" + "g" * 5_000):
            for encoding in ("", "gzip", "GZIP ", "\xff", "g" * 5_000):
                said = protocol.encoding_of(query, {"content-encoding": encoding} if encoding else {})
                assert len(said) <= 5_000

    def test_every_verdict_has_an_answer(self, protocol: Protocol) -> None:
        """Never a 5xx: clients take those for a fault of the network, or for nothing at all."""
        for route in protocol.routes:
            for kind in VerdictKind:
                verdict = Verdict(kind=kind, route=route.name, retry_after=7, max_bytes=1000, now=1_800_000_000_000_000)
                answer = protocol.answer(verdict)
                assert 200 <= answer.status < 500
                if kind is VerdictKind.ACCEPTED:
                    assert answer.status < 300
                if kind in {VerdictKind.RATE_LIMITED, VerdictKind.OVERLOADED}:
                    assert answer.status == 429
                    assert ("retry-after", "7") in {(name.lower(), value) for name, value in answer.headers}
                if answer.content_type == "application/json" and answer.body:
                    msgspec.json.decode(answer.body)
                for name, value in answer.headers:
                    assert (name + value).isprintable()

    def test_hostile_words_in_a_verdict_break_no_header(self, protocol: Protocol) -> None:
        """`detail` may quote the client."""
        for route in protocol.routes:
            for kind in VerdictKind:
                answer = protocol.answer(Verdict(kind=kind, route=route.name, detail="a\r\nSet-Cookie: b=c\u2028é"))
                for name, value in answer.headers:
                    assert (name + value).isascii()
                    assert (name + value).isprintable()

    def test_decoding_twice_gives_the_same(self, protocol: Protocol, samples: Sequence[Sample]) -> None:
        """A batch that a crash interrupted is decoded again, and must become the same rows."""
        for sample in samples:
            before = msgspec.msgpack.encode(sample.record)
            first, second = protocol.decode(sample.record), protocol.decode(sample.record)
            assert msgspec.msgpack.encode(first.items) == msgspec.msgpack.encode(second.items)
            assert first.items
            assert msgspec.msgpack.encode(sample.record) == before

    def test_decoding_reads_no_clock_and_draws_no_random_number(
        self, protocol: Protocol, samples: Sequence[Sample], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Rows are a function of the spooled bytes and the receive time alone."""
        import os
        import time
        import uuid

        def forbidden(*_: object, **__: object) -> object:
            raise AssertionError("decoding asked for the time or a random number")

        protocol.decode(samples[0].record)  # what is imported late is imported now
        with monkeypatch.context() as patch:
            for name in _CLOCKS:
                patch.setattr(time, name, forbidden)
            patch.setattr(random, "random", forbidden)
            patch.setattr(uuid, "uuid4", forbidden)
            patch.setattr(os, "urandom", forbidden)
            for sample in samples:
                protocol.decode(sample.record)

    def test_ids_are_well_formed_and_distinct(self, protocol: Protocol, samples: Sequence[Sample]) -> None:
        """32 hex digits, 16 for spans; two items of one record never share one."""
        for sample in samples:
            ids = [identity(item) for item in protocol.decode(sample.record).items if not isinstance(item, Outcome)]
            assert len(ids) == len(set(ids))

    def test_items_fit_the_model(self, protocol: Protocol, samples: Sequence[Sample]) -> None:
        """Its types, its bounds, and times that are not after the receive time."""
        for sample in samples:
            check_items(protocol.decode(sample.record), sample.record)

    def test_broken_bodies_are_refused_in_words_or_read_in_part(
        self, protocol: Protocol, samples: Sequence[Sample]
    ) -> None:
        """`DecodeError` is the only thing that may come out, and what is read fits the model all the same."""
        for sample in samples:
            for body in mutations(sample.record.body):
                record = msgspec.structs.replace(sample.record, body=body)
                refused = refusal(lambda record=record: protocol.decode(record))
                assert refused != ""
                if refused is None:
                    check_items(protocol.decode(record), record)

    def test_routes_without_a_body_answer_at_once(self, protocol: Protocol) -> None:
        """With an unknown key too."""
        for route in protocol.routes:
            if route.takes_body:
                continue
            for method in route.methods:
                request = IngestRequest(
                    route=route.name,
                    method=method,
                    params={},
                    query="",
                    headers={},
                    head=b"",
                    address="",
                    received_at=1,
                )
                protocol.key_of(request)
                assert 200 <= protocol.inform(request, None).status < 500


def request_of(sample: Sample, body: bytes | None = None) -> IngestRequest:
    """The request as ingest shows it to `peek`."""
    record = sample.record
    return IngestRequest(
        route=record.route,
        method="POST",
        params=sample.params,
        query=record.query,
        headers=record.headers,
        head=(record.body if body is None else body)[:HEAD],
        address=record.address,
        received_at=record.received_at,
    )


def refusal(call: Callable[[], object]) -> str | None:
    """The words of the `DecodeError` that a call raises; None when it raises none."""
    try:
        call()
    except DecodeError as error:
        return str(error)
    return None


def mutations(body: bytes, seed: int = 7) -> Iterator[bytes]:
    """A body cut, flipped, doubled and filled with nonsense, the same at every run; then `HOSTILE`."""
    rng = random.Random(seed)  # noqa: S311 - repeatable on purpose
    short = body[:20_000]
    for _ in range(12):
        yield short[: rng.randrange(len(short) + 1)]
    for _ in range(24):
        broken = bytearray(short)
        for _ in range(rng.randrange(1, 6)):
            broken[rng.randrange(len(broken))] = rng.randrange(256)
        yield bytes(broken)
    for nonsense in (b"\x00", b"\xff", b"\n", b"null", b'"', b"}", b"[[[[", b"-1e400", b'"\\ud800"'):
        place = rng.randrange(len(short) + 1)
        yield short[:place] + nonsense + short[place:]
    yield body + body
    yield from HOSTILE


def identity(item: Item) -> tuple[str, ...]:
    """What an item is stored under, checked for its form."""
    match item:
        case Span():
            assert _HEX32.fullmatch(item.trace_id)
            assert _HEX16.fullmatch(item.span_id)
            return ("span", item.trace_id, item.span_id)
        case ReplaySegment():
            assert _HEX32.fullmatch(item.replay_id)
            assert item.segment >= 0
            return ("replay", item.replay_id, str(item.segment))
        case Event() | Measurement() | PageView() | Session():
            assert _HEX32.fullmatch(item.id)
            return (type(item).__name__, item.id)
        case Outcome():
            return ("outcome", item.source, item.reason, item.category)


def check_items(decoded: Decoded, record: Record) -> None:
    """Everything that the pipeline and the event store rely on."""
    assert len(decoded.items) < model.ORDINALS_PER_RECORD
    for item in decoded.items:
        packed = msgspec.json.encode(item)  # neither NaN nor lone surrogates
        assert b"\\u0000" not in packed
        # Every field has its type. Frames and breadcrumbs may be of a protocol's own subclass, hence as builtins.
        assert msgspec.to_builtins(msgspec.json.decode(packed, type=type(item))) == msgspec.to_builtins(item)
        if isinstance(item, Outcome):
            assert item.reason
            assert item.category
            assert item.quantity > 0
            continue
        identity(item)
        at = item.end if isinstance(item, Span) else item.timestamp
        assert 0 < at <= record.received_at
        if isinstance(item, (Span, Session, ReplaySegment)):
            assert (item.start if isinstance(item, Span) else item.started) <= at
        if isinstance(item, Event):
            check_event(item, packed)


def check_event(event: Event, packed: bytes) -> None:
    """The bounds of the model."""
    assert len(packed) <= model.MAX_PAYLOAD_BYTES
    assert len(event.tags) <= model.MAX_TAGS
    assert all(
        len(key) <= model.MAX_TAG_KEY and 0 < len(value) <= model.MAX_TAG_VALUE for key, value in event.tags.items()
    )
    assert len(event.message) <= model.MAX_MESSAGE
    assert len(event.url) <= model.MAX_URL
    assert len(event.exceptions) <= model.MAX_EXCEPTIONS
    assert len(event.breadcrumbs) <= model.MAX_BREADCRUMBS
    for value in event.exceptions:
        assert len(value.frames) <= model.MAX_FRAMES
        assert len(value.value) <= model.MAX_MESSAGE
    for label in (event.release, event.dist, event.environment, event.transaction, event.server_name, event.platform):
        assert len(label) <= model.MAX_LABEL
    assert depth_of(event.extra) <= model.MAX_DEPTH
    assert depth_of(event.contexts) <= model.MAX_DEPTH


def depth_of(value: model.Json) -> int:
    """How deep JSON is nested; a scalar has depth 0."""
    match value:
        case dict():
            return 1 + max(map(depth_of, value.values()), default=0)
        case list():
            return 1 + max(map(depth_of, value), default=0)
        case _:
            return 0
