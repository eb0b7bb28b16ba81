"""What nobody should send: events, bodies and requests that are broken on purpose, each under its name.

For tests of protocols and of the whole appliance. They say what is wrong, not what must come of it.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from typing import Any, Final, cast

MIB: Final = 1 << 20
GIB: Final = 1 << 30
DEEP: Final = 10_000  # levels: ten times what Python's parser survives


class _Events:
    """Makes events that tell a secret beside what is wrong with them."""

    def __init__(self, event_id: Callable[[], str], secret: str) -> None:
        self.id = event_id
        self.secret = secret
        self.words = f"password={secret}"
        self.told = {"extra": {"password": secret, "note": f"token={secret}"}, "message": self.words}

    def __call__(self, **changes: Any) -> bytes:
        return json.dumps({"event_id": self.id(), **self.told, **changes}).encode()


def odd_events(event_id: Callable[[], str], secret: str) -> dict[str, bytes]:
    """Sentry events that are no good, by what is wrong with them.

    Args:
        event_id: makes an id for each that has one.
        secret: stands in each that has room for it, where any scrubber must find it.
    """
    event = _Events(event_id, secret)
    return {**_odd_texts(event), **_odd_shapes(event), **_odd_numbers(event)}


def _odd_texts(event: _Events) -> dict[str, bytes]:
    many = {f"k{n}": "v" for n in range(10_000)}
    return {
        "truncated": event()[:-20],
        "truncated in a key": b'{"event_id":"' + event.id().encode() + b'","mess',
        "not UTF-8": event(release="RELEASE").replace(b"RELEASE", b"\xff\xfe\xed\xa0\x80\xc3"),
        "not UTF-8 in a key": event(tags={"KEY": "v"}).replace(b"KEY", b"\xc3\x28"),
        "deep arrays": event(extra="DEEP").replace(b'"DEEP"', b"[" * DEEP + b"]" * DEEP),
        "deep objects": event(contexts="DEEP").replace(b'"DEEP"', b'{"password":' * DEEP + b"1" + b"}" * DEEP),
        "deep and never closed": event()[:-1] + b',"x":' + b"[" * DEEP,
        "deep exceptions": event(exception="DEEP").replace(b'"DEEP"', b'{"values":[' * DEEP + b"]}" * DEEP),
        "nothing": b"",
        "null": b"null",
        "a list": json.dumps([event.told]).encode(),
        "a text": json.dumps(event.words).encode(),
        "a number": b"5",
        "only brackets": b"]}" * 100,
        "the same key twice": event()[:-1] + b',"event_id":"' + event.id().encode() + b'","message":{"a":1}}',
        "NUL": event(transaction="a\0b", tags={"k\0": "v\0"}, user={"id": "\0"}),
        "a raw NUL": event(environment="RAW").replace(b"RAW", b"a\x00b"),
        "lone surrogates": event(transaction="SUR").replace(b"SUR", b"\\ud800 \\udfff"),
        "control characters": event(release="RAW").replace(b"RAW", b"\x01\x02\n\x7f"),
        "a huge integer": event(extra={"n": 0}, level=0).replace(b": 0", b": " + b"9" * 5_000),
        "65 bits": event(timestamp=2**65, extra={"n": -(2**63) - 1, "m": 2**64}),
        "a megabyte of text": event(transaction="x" * MIB, extra={"a": "y" * MIB, "password": event.secret}),
        "ten thousand keys": event(extra=many, tags=many),
        "ten thousand entries": event(breadcrumbs=[{"message": event.words}] * 10_000),
        "a bad id": json.dumps({**event.told, "event_id": "../../etc/passwd\0"}).encode(),
        "an id that is no text": json.dumps({**event.told, "event_id": {"password": event.secret}}).encode(),
    }


def _odd_shapes(event: _Events) -> dict[str, bytes]:
    """Texts, numbers and lists where objects belong, and the other way round."""
    words, found = event.words, dict[str, bytes]()
    for name in (
        "exception", "user", "contexts", "tags", "breadcrumbs", "request", "sdk", "extra", "threads", "logentry",
        "debug_meta", "modules", "stacktrace", "measurements", "spans",
    ):  # fmt: skip
        anything = {"values": words, "data": 5, "headers": [None, words], "a": []}
        found[f"{name} is a text"] = event(**{name: words})
        found[f"{name} is a number"] = event(**{name: 5})
        found[f"{name} is a list of anything"] = event(**{name: [None, 5, words, [words], {"values": words}]})
        found[f"{name} holds anything"] = event(**{name: anything})
    for name in ("message", "release", "environment", "platform", "level", "logger", "transaction", "dist", "type"):
        found[f"{name} is an object"] = event(**{name: {"password": event.secret}})
        found[f"{name} is a list"] = event(**{name: [words, None]})
        found[f"{name} tells"] = event(**{name: words})
    frames = {"stacktrace": {"frames": [None, 5, words, {"lineno": words, "function": words, "vars": 5}]}}
    odd = {"type": {"password": event.secret}, "value": [words], "stacktrace": words, "mechanism": 5}
    values: list[Any] = [None, 5, words, [], odd, {"type": words, "stacktrace": {"frames": words}}, frames]
    found["an exception of anything"] = event(exception={"values": values})
    return found


def _odd_numbers(event: _Events) -> dict[str, bytes]:
    """Numbers that JSON does not know, and times of other centuries."""
    found = dict[str, bytes]()
    for number in (b"NaN", b"-Infinity", b"1e999", b"-0", b"1E+400", b"0x10", b"01"):
        places = {"timestamp": "N", "extra": {"n": "N"}, "exception": {"values": [{"type": "N", "value": "N"}]}}
        found[f"the number {number.decode()}"] = event(**places).replace(b'"N"', number)
    texts = ("1970-01-01T00:00:00Z", "2099-12-31T23:59:59Z", event.words, "")
    for when in (0, 1, -1, 4_070_908_800, 1e300, -1e18, True, *texts):
        found[f"the time {when}"] = event(timestamp=when, breadcrumbs=[{"timestamp": when, "message": "x"}])
    return found


def bombs() -> dict[str, bytes]:
    """A gigabyte of zeros in each encoding; what is sent is at most a few megabytes."""
    import brotli
    from backports import zstd

    block = bytes(MIB)
    wrapped = zlib.compressobj(9, zlib.DEFLATED, 31)
    raw = zlib.compressobj(9, zlib.DEFLATED, -15)
    # After a full flush the same input gives the same output: one block of it stands for all.
    wrapped_start, raw_start = ((c.compress(block) + c.flush(zlib.Z_FULL_FLUSH)) for c in (wrapped, raw))
    wrapped_more, raw_more = ((c.compress(block) + c.flush(zlib.Z_FULL_FLUSH)) for c in (wrapped, raw))
    compressor = cast("Any", brotli).Compressor(quality=1)  # it has no types
    by_brotli = b"".join(compressor.process(block) for _ in range(GIB // MIB)) + compressor.finish()
    frame = zstd.ZstdCompressor()
    by_zstd = b"".join(frame.compress(block) for _ in range(GIB // MIB)) + frame.flush()
    return {
        "gzip": wrapped_start + wrapped_more * (GIB // MIB - 1),
        "deflate": raw_start + raw_more * (GIB // MIB - 1),
        "br": by_brotli,
        "zstd": by_zstd,
        "zstd of many frames": zstd.compress(block) * (GIB // MIB),
    }


def raw_requests(path: str, body: bytes) -> dict[str, bytes]:
    """Requests that no HTTP library would send: bytes for a socket, the path's answer being a POST's."""
    return {**_odd_lengths(path, body), **_odd_heads(path, body), **_odd_protocols(path, body)}


def _odd_lengths(path: str, body: bytes) -> dict[str, bytes]:
    post = f"POST {path} HTTP/1.1\r\nHost: x\r\n".encode()
    length = b"Content-Length: %d\r\n" % len(body)
    chunked = b"Transfer-Encoding: chunked\r\n"
    return {
        "a length too short": post + b"Content-Length: 10\r\n\r\n" + body,
        "a length too long, then the end": post + b"Content-Length: 99999\r\n\r\n" + body,
        "a negative length": post + b"Content-Length: -5\r\n\r\n" + body,
        "a length that is no number": post + b"Content-Length: many\r\n\r\n" + body,
        "a length beyond 64 bits": post + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n" + body,
        "a length beyond the limit": post + b"Content-Length: 99999999999\r\n\r\n" + body,
        "two equal lengths": post + length + length + b"\r\n" + body,
        "two different lengths": post + length + b"Content-Length: 3\r\n\r\n" + body,
        "a length and chunks": post + length + chunked + b"\r\n" + b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n",
        "chunks cut off": post + chunked + b"\r\n" + b"fff\r\n" + body,
        "a chunk size that is no number": post + chunked + b"\r\nzz\r\n" + body,
        "a chunk size beyond 64 bits": post + chunked + b"\r\n" + b"f" * 40 + b"\r\n" + body,
        "a chunk longer than it says": post + chunked + b"\r\n3\r\n" + body + b"\r\n0\r\n\r\n",
        "an unknown transfer encoding": post + b"Transfer-Encoding: nobody's\r\n\r\n" + body,
    }


def _odd_heads(path: str, body: bytes) -> dict[str, bytes]:
    post = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n".encode()
    return {
        "two encodings": post + b"Content-Encoding: gzip\r\nContent-Encoding: br\r\n\r\n" + body,
        "two auth headers": post + b"X-Sentry-Auth: Sentry sentry_key=x\r\nX-Sentry-Auth: y\r\n\r\n" + body,
        "two hosts and origins": post + b"Host: y\r\nOrigin: a\r\nOrigin: b\r\n\r\n" + body,
        "two types": post + b"Content-Type: text/plain\r\nContent-Type: application/json\r\n\r\n" + body,
        "the same header 500 times": post + b"X-A: b\r\n" * 500 + b"\r\n" + body,
        "a header of 60 KB": post + b"X-A: " + b"b" * 60_000 + b"\r\n\r\n" + body,
        "a header of 1 MB": post + b"X-A: " + b"b" * MIB + b"\r\n\r\n" + body,
        "a NUL in a header": post + b"User-Agent: a\x00b\r\n\r\n" + body,
        "bytes in a header": post + b"User-Agent: \xff\xfe\r\nOrigin: \xc3\x28\r\n\r\n" + body,
        "a folded header": post + b"X-A: b\r\n c\r\n\r\n" + body,
        "a header without a colon": post + b"nothing\r\n\r\n" + body,
    }


def _odd_protocols(path: str, body: bytes) -> dict[str, bytes]:
    """First lines that are none, addresses that lead nowhere, other protocols."""
    post = f"POST {path} HTTP/1.1\r\nHost: x\r\n".encode()
    length = b"Content-Length: %d\r\n" % len(body)
    return {
        "no host": post.split(b"\r\n", maxsplit=1)[0] + b"\r\n" + length + b"\r\n" + body,
        "HTTP/1.0": post.replace(b"1.1", b"1.0") + length + b"\r\n" + body,
        "HTTP/9.9": post.replace(b"1.1", b"9.9") + length + b"\r\n" + body,
        "no version": f"POST {path}\r\n\r\n".encode(),
        "an unknown method": post.replace(b"POST", b"FETCH") + length + b"\r\n" + body,
        "a NUL in the path": post.replace(b"/envelope", b"/%00envelope") + length + b"\r\n" + body,
        "a bad escape in the path": post.replace(b"/envelope", b"/%zz%ff") + length + b"\r\n" + body,
        "bytes in the path": post.replace(b"/envelope", b"/\xff\xfe") + length + b"\r\n" + body,
        "dots in the path": post.replace(b"/envelope", b"/../../envelope") + length + b"\r\n" + body,
        "a project beyond 64 bits": post.replace(b"/api/1/", b"/api/" + b"9" * 40 + b"/") + length + b"\r\n" + body,
        "a bad query": post.replace(b"?", b"?%ff=%zz&&&=&sentry_key=%00&") + length + b"\r\n" + body,
        "a query of 50 KB": post.replace(b"?", b"?" + b"a=b&" * 12_000) + length + b"\r\n" + body,
        "an absolute address": post.replace(b"POST /", b"POST http://elsewhere.example/") + length + b"\r\n" + body,
        "a wait for 100": post + length + b"Expect: 100-continue\r\n\r\n" + body,
        "an upgrade": post + length + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n" + body,
        "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
        "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(100),
        "noise": bytes(range(256)) * 20,
        "nothing": b"",
    }
