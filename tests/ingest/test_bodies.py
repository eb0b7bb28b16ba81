"""Bodies that are too large, too slow, lying, cut off or bombs: bounded memory, the right answer, no lost neighbour."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import tracemalloc
import zlib

import brotli
import httpx
import pytest
from backports import zstd

from appliance.config import Ingest
from appliance.ingest.decompress import (
    BLOCK,
    BadEncodingError,
    BodyTooLargeError,
    blocks,
    decompress,
    head,
)

FREE = {"requests_per_second": 0.0, "requests_per_second_per_address": 0.0}
LINE = b'{"key": "k1", "id": "e1"}\n'
GIB = 1 << 30


def raw_deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(data) + compressor.flush()


ENCODERS = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "raw deflate": raw_deflate,
    "br": brotli.compress,
    "zstd": zstd.compress,
}


def header_of(encoder: str) -> str:
    return "deflate" if encoder == "raw deflate" else encoder


def bomb(encoder: str, first: bytes = LINE, size: int = GIB) -> bytes:
    """`first` and then a gigabyte of zeros, made a little at a time."""
    parts: list[bytes] = []
    zeros = bytes(1 << 20)
    if encoder == "br":
        compressor = brotli.Compressor(quality=5)
        feed, finish = compressor.process, compressor.finish
    elif encoder == "zstd":
        compressor = zstd.ZstdCompressor()
        feed, finish = compressor.compress, compressor.flush
    else:
        compressor = zlib.compressobj(9, wbits={"gzip": 31, "deflate": 15, "raw deflate": -15}[encoder])
        feed, finish = compressor.compress, compressor.flush
    parts.append(feed(first))
    parts.extend(feed(zeros) for _ in range(size >> 20))
    parts.append(finish())
    return b"".join(parts)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_encoding_comes_out_as_it_went_in(encoder):
    data = LINE + bytes(range(256)) * 1_000
    assert decompress(ENCODERS[encoder](data), header_of(encoder), 1 << 20) == data
    assert head(ENCODERS[encoder](data), header_of(encoder), 100) == data[:100]
    assert decompress(ENCODERS[encoder](b""), header_of(encoder), 10) == b""


@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_gigabyte_bomb_costs_a_bounded_amount_of_memory(encoder):
    body = bomb(encoder)
    assert len(body) < 2 << 20
    tracemalloc.start()
    with pytest.raises(BodyTooLargeError, match="larger than 1048576"):
        decompress(body, header_of(encoder), 1 << 20)
    seen = 0
    for block in blocks(body, header_of(encoder)):
        assert len(block) <= 3 * BLOCK
        seen += len(block)
        if seen > 64 << 20:
            break
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 24 << 20


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("size", [200, 300_000])
def test_a_body_cut_off_anywhere_is_refused(encoder, size):
    whole = ENCODERS[encoder](bytes(i * i % 251 for i in range(size)))
    for cut in {0, 1, len(whole) // 2, len(whole) - 1}:
        with pytest.raises(BadEncodingError):
            decompress(whole[:cut], header_of(encoder), 1 << 20)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_rubbish_behind_the_end_is_refused(encoder):
    with pytest.raises(BadEncodingError):
        decompress(ENCODERS[encoder](b"data") + b"rubbish", header_of(encoder), 100)


def test_members_of_gzip_follow_each_other_and_padding_is_tolerated():
    assert decompress(gzip.compress(b"a") + gzip.compress(b"b"), "gzip", 10) == b"ab"
    assert decompress(gzip.compress(b"a") + bytes(100), "gzip", 10) == b"a"
    with pytest.raises(BadEncodingError, match="follows"):
        decompress(gzip.compress(b"") * 1_000, "gzip", 10)


def test_a_wrong_checksum_is_refused():
    body = bytearray(gzip.compress(b"data" * 100))
    body[-6] ^= 1
    with pytest.raises(BadEncodingError):
        decompress(bytes(body), "gzip", 1_000)


def test_a_zstd_window_beyond_what_http_allows_is_refused():
    compressor = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 27})
    body = compressor.compress(b"x") + compressor.flush()
    with pytest.raises(BadEncodingError, match="memory"):
        decompress(body, "zstd", 100)


def test_an_unknown_encoding_names_those_that_are_known():
    with pytest.raises(BadEncodingError, match="gzip, deflate, br, zstd"):
        decompress(b"x", "compress", 100)


@pytest.mark.parametrize("encoder", ENCODERS)
async def test_a_bomb_gets_413_and_others_are_served_meanwhile(serve, encoder):
    running = await serve(Ingest(**FREE))
    body = bomb(encoder)
    answers = await asyncio.gather(
        running.post(body, content_encoding=header_of(encoder)), *(running.post(LINE) for _ in range(20))
    )
    assert [answer.status_code for answer in answers] == [413] + [200] * 20
    assert running.app.counters.drops == {"too_large": 1}
    assert running.app.counters.in_flight_bytes == 0
    assert len(running.records()) == 20


@pytest.mark.parametrize("encoder", ENCODERS)
async def test_a_compressed_body_is_accepted_and_a_truncated_one_is_malformed(serve, encoder):
    running = await serve(Ingest(**FREE))
    body = ENCODERS[encoder](LINE + bytes(i * i % 251 for i in range(50_000)))
    assert (await running.post(body, content_encoding=header_of(encoder))).status_code == 200
    assert (await running.post(body[:-20], content_encoding=header_of(encoder))).status_code == 400
    assert (await running.post(body, content_encoding=f"{header_of(encoder)}, gzip")).status_code == 400
    assert (await running.post(LINE, content_encoding="snappy")).status_code == 400
    assert len(running.records()) == 1


async def test_a_body_over_the_limit_gets_413_whether_it_is_declared_or_not(serve):
    running = await serve(Ingest(max_body=100_000, **FREE))
    assert (await running.post(LINE + b"x" * 100_000)).status_code == 413

    async def chunks():
        yield LINE
        for _ in range(50):
            yield b"x" * 10_000

    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{running.port}") as client:
        assert (await client.post("/in/1/", content=chunks())).status_code == 413
        assert (await client.post("/in/1/", content=LINE)).status_code == 200  # the connection is still good


async def test_chunked_bodies_are_accepted_however_they_are_cut(serve):
    running = await serve(Ingest(**FREE))
    data = LINE + bytes(range(256)) * 400

    async def chunks():
        for start in range(0, len(data), 1_777):
            yield data[start : start + 1_777]
            await asyncio.sleep(0)

    assert (await running.client.post("/in/1/", content=chunks())).status_code == 200
    assert running.records()[0].body == data


async def test_a_body_that_does_not_arrive_in_time_is_given_up(serve):
    running = await serve(Ingest(body_timeout_seconds=0.2, **FREE))
    start = b"POST /in/1/ HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"
    for sent in (start, start + LINE, start + LINE + b"x" * 50_000):
        answer = await running.raw(sent)
        assert answer.startswith(b"HTTP/1.1 408")
        assert b"connection: close" in answer.lower()
    assert running.app.counters.drops == {"timed_out": 3}
    assert running.app.counters.in_flight_bytes == 0


async def test_more_bytes_than_the_process_may_hold_are_refused_and_freed(serve):
    running = await serve(Ingest(max_bytes_in_flight=300_000, body_timeout_seconds=5, **FREE))
    start = b"POST /in/1/ HTTP/1.1\r\nHost: x\r\nContent-Length: 250000\r\n\r\n" + LINE + b"x" * 200_000
    _, slow = await asyncio.open_connection("127.0.0.1", running.port)
    slow.write(start)
    while running.app.counters.in_flight_bytes < 200_000:
        await asyncio.sleep(0.01)
    refused = await running.post(LINE + b"x" * 150_000)
    assert (refused.status_code, running.app.counters.drops) == (429, {"in_flight": 1})
    assert int(refused.headers["retry-after"]) > 0
    assert (await running.post(LINE)).status_code == 200
    slow.close()
    while running.app.counters.in_flight_bytes:
        await asyncio.sleep(0.01)
    assert (await running.post(LINE + b"x" * 150_000)).status_code == 200
    assert running.app.counters.drops["disconnected"] == 1


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 13\r\nContent-Length: 14\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length: 99999999999999999999999999\r\n",
        b"Content-Length: 13\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: x\r\n",
        b"X-A: b\r\n" * 200 + b"Content-Length: 13\r\n",
        b"X-A: " + b"b" * 40_000 + b"\r\nContent-Length: 13\r\n",
    ],
)
async def test_headers_that_lie_are_refused_and_never_a_500(serve, headers):
    running = await serve(Ingest(body_timeout_seconds=0.2, **FREE))
    answer = await running.raw(b"POST /in/1/ HTTP/1.1\r\nHost: x\r\n" + headers + b'\r\n{"key": "k1"}')
    assert answer.split(b" ")[1] in {b"400", b"408", b"413"}
    assert running.records() == []
    assert (await running.post(LINE)).status_code == 200


async def test_of_duplicate_headers_the_first_counts(serve):
    running = await serve(Ingest(**FREE))
    lines = b"X-Kept: first\r\nX-Kept: second\r\nContent-Length: 13\r\nConnection: close\r\n"
    answer = await running.raw(b"POST /in/1/ HTTP/1.1\r\nHost: x\r\n" + lines + b'\r\n{"key": "k1"}')
    assert answer.startswith(b"HTTP/1.1 200")
    assert running.records()[0].headers["x-kept"] == "first"


async def test_a_client_that_goes_away_leaves_nothing_behind(serve):
    running = await serve(Ingest(**FREE))
    for _ in range(20):
        _, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(b"POST /in/1/ HTTP/1.1\r\nHost: x\r\nContent-Length: 90000\r\n\r\n" + LINE + b"x" * 5_000)
        await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    while running.app.counters.drops.get("disconnected", 0) < 20:
        await asyncio.sleep(0.01)
    assert running.app.counters.in_flight_requests == 0
    assert running.app.counters.in_flight_bytes == 0
    assert running.records() == []
