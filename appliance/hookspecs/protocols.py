"""Wire formats: what ingest asks of one before it accepts a request, and the decode worker after."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from enum import StrEnum

from msgspec import Struct, field

from appliance.model import Category, Item, JsonObject, Record


class Route(Struct, frozen=True, kw_only=True):
    """A path that a protocol answers on. `{project_id}` matches digits, any other `{name}` one segment.

    Repeated slashes are collapsed and a trailing slash is optional before matching.
    """

    path: str
    methods: tuple[str, ...]
    name: str
    takes_body: bool = True  # False: `inform` answers at once, nothing is spooled


class IngestRequest(Struct, frozen=True, kw_only=True):
    """What a protocol sees of a request before it is accepted."""

    route: str
    method: str
    params: Mapping[str, str]  # from the path
    query: str
    headers: Mapping[str, str]  # lower-case names, the first of duplicates
    head: bytes  # the first 4 KiB of the decompressed body
    address: str
    received_at: int


class Peek(Struct, frozen=True, kw_only=True):
    """What `peek` found out: enough to admit the request, nothing more."""

    key: str  # the ingest key; "" when there is none
    project_id: int | None = None  # when the address names one; must then be the key's
    event_id: str = ""
    category: Category = Category.ERROR  # the most important thing in the body
    keep_headers: tuple[str, ...] = ()  # which request headers decode will need


class VerdictKind(StrEnum):
    """How a request ended."""

    ACCEPTED = "accepted"
    UNKNOWN_KEY = "unknown_key"  # no such key, a disabled key, or the key of another project
    FORBIDDEN_ORIGIN = "forbidden_origin"
    MALFORMED = "malformed"  # cannot even be peeked, or cannot be decompressed
    TOO_LARGE = "too_large"
    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"  # spool watermark, body bytes in flight, disk: answered as a rate limit
    TIMED_OUT = "timed_out"  # the body did not arrive within its deadline
    GONE = "gone"  # the project does not want this (replay switched off)


class Verdict(Struct, frozen=True, kw_only=True):
    """The core's decision, which the protocol words in its own way."""

    kind: VerdictKind
    route: str
    event_id: str = ""
    category: Category = Category.OTHER
    retry_after: int = 0  # seconds
    detail: str = ""  # one sentence for the person who reads the network tab
    max_bytes: int = 0
    now: int = 0  # µs, for protocols that answer with absolute times


class Answer(Struct, frozen=True, kw_only=True):
    """An HTTP answer. The core adds CORS headers and Content-Length."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


class ProjectSettings(Struct, frozen=True, kw_only=True):
    """What ingest knows of a project: published by the core in admission.json."""

    project_id: int
    replay_enabled: bool = True
    sdk: JsonObject = field(default_factory=dict)  # options that the server may override in our SDK


class DecodeError(Exception):
    """The record cannot be read at all. It becomes a dead letter with this text as the reason."""


class Decoded(Struct, kw_only=True):
    """What a record holds. `Outcome` items tell what was there and not kept (unsupported item types, broken ones)."""

    items: list[Item] = field(default_factory=list)


class Protocol(ABC):
    """A wire format. `peek` and `answer` run on the ingest loop and must be quick; `decode` runs in the decode worker.

    `decode` must not read a clock or draw random numbers: the same record must give the same items, with the same ids.
    """

    name: str
    routes: Sequence[Route]
    exposed_headers: tuple[str, ...] = ()  # Access-Control-Expose-Headers

    @abstractmethod
    def peek(self, request: IngestRequest) -> Peek:
        """Find the key, the event id and the category. Raise `DecodeError` when the head makes no sense."""

    @abstractmethod
    def decode(self, record: Record) -> Decoded:
        """Turn an accepted body into items. One broken item must not cost its neighbours: report it as an `Outcome`."""

    @abstractmethod
    def answer(self, verdict: Verdict) -> Answer:
        """Word the verdict as this protocol's clients expect it."""

    def encoding_of(self, query: str, headers: Mapping[str, str]) -> str:
        """How a body is compressed: gzip, deflate, br, zstd; "" = it is not. Asked before anything of it is read.

        By default what Content-Encoding says. For formats that say it elsewhere, since that header costs a browser a
        preflight. The bounds on compressed bodies hold whatever is said here; what cannot be is answered as malformed.

        Args:
            query: of the address, as it came.
            headers: lower-case names, the first of duplicates.
        """
        return headers.get("content-encoding", "")

    def inform(self, request: IngestRequest, settings: ProjectSettings | None) -> Answer:
        """Answer a route that takes no body; `settings` is None when the key is unknown."""
        raise NotImplementedError(f"{self.name} has a route without a body but no inform()")

    def key_of(self, request: IngestRequest) -> str:
        """The ingest key of a request to a route that takes no body."""
        return ""
