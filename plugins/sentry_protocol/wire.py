"""A Sentry event as nearly all SDKs send it, as types: decoding into them checks and reads at once.

Whatever does not fit (a string where an object belongs, nesting beyond what SDKs produce, numbers beyond 64 bits) is
refused here and read by `lenient` instead, into the same structs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

from msgspec import Meta, Struct, field

from appliance.decoding.bounds import MAX_CONTEXT_LINES, MAX_FUNCTION, MAX_SOURCE_LINE
from appliance.model import MAX_MESSAGE, MAX_URL, Breadcrumb, Frame, Json, JsonObject

_LEVELS: Final = (
    7  # of nesting in extra and contexts; SDKs cut at 3, state libraries at 5; the type grows by two each level
)

if TYPE_CHECKING:
    Value: TypeAlias = Json
    Object: TypeAlias = JsonObject
else:
    # The bounds of `appliance.decoding.json_value`, so that both ways of reading give the same; but for the length of
    # keys. A bound on that would keep msgspec from handing out each key once, a tenth of decoding and scrubbing, and
    # `scrub` cuts them shorter, when it judges what it has not met before.
    Scalar = bool | Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | float | str | None
    Value = Scalar
    for _ in range(_LEVELS):
        Value = (
            Scalar
            | Annotated[list[Value], Meta(max_length=1_000)]
            | Annotated[dict[str, Value], Meta(max_length=1_000)]
        )
    Object = Annotated[dict[str, Value], Meta(max_length=1_000)]

Integer: TypeAlias = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
SourceLines: TypeAlias = Annotated[
    list[Annotated[str, Meta(max_length=MAX_SOURCE_LINE)]], Meta(max_length=MAX_CONTEXT_LINES)
]
CrumbLabel: TypeAlias = Annotated[str, Meta(max_length=64)]  # three of them are within the model's bound on their sum
Text: TypeAlias = str | None
Time: TypeAlias = float | int | str | None


class WireMechanism(Struct):
    """How an exception was caught."""

    type: Text = None
    handled: bool | None = None


# Frames and breadcrumbs are most of an event, so they are read straight into the model: their types are the model's,
# narrowed to its bounds, which are checked as they are read. What is longer is for `lenient`, and is cut.


class WireFrame(Frame):
    """A frame. It has the model's own names."""

    if not TYPE_CHECKING:
        function: Annotated[str, Meta(max_length=MAX_FUNCTION)] = ""
        filename: Annotated[str, Meta(max_length=MAX_URL)] = ""
        abs_path: Annotated[str, Meta(max_length=MAX_URL)] = ""
        module: Annotated[str, Meta(max_length=MAX_FUNCTION)] = ""
        lineno: Annotated[int, Meta(le=2**63 - 1)] | None = None
        colno: Annotated[int, Meta(le=2**63 - 1)] | None = None
        context_line: Annotated[str, Meta(max_length=MAX_SOURCE_LINE)] | None = None
        pre_context: SourceLines = field(default_factory=list)
        post_context: SourceLines = field(default_factory=list)
        vars: Object = field(default_factory=dict)


class WireStacktrace(Struct):
    """Frames, oldest first."""

    frames: list[WireFrame] | None = None


class WireException(Struct):
    """One exception of a chain."""

    type: Text = None
    value: Text = None
    module: Text = None
    mechanism: WireMechanism | None = None
    stacktrace: WireStacktrace | None = None


class WireExceptions(Struct):
    """The chain, innermost cause first. One exception without the list around it is for `lenient`."""

    values: list[WireException] | None
    mechanism: WireMechanism | None = None  # browser 5 puts it here


class WireCrumb(Breadcrumb):
    """One breadcrumb, its time as it was sent; `events` moves that and the event id to where the model has them."""

    event_id: str = ""
    if not TYPE_CHECKING:
        timestamp: Time = None
        type: CrumbLabel = ""
        category: CrumbLabel = ""
        level: CrumbLabel = ""
        message: Annotated[str, Meta(max_length=MAX_MESSAGE)] | Integer | float | bool | None = ""  # console.log(1)
        data: Object = field(default_factory=dict)


class WireCrumbs(Struct):
    """Breadcrumbs as Python and raven-js wrap them."""

    values: list[WireCrumb] | None


class WireThread(Struct):
    """A thread, of which the browser has one."""

    crashed: bool | None = None
    current: bool | None = None
    stacktrace: WireStacktrace | None = None


class WireThreads(Struct):
    """All threads."""

    values: list[WireThread] | None


class WireMessage(Struct):
    """`logentry`: a template and its parameters."""

    message: Text = None
    formatted: Text = None
    params: list[Value] | None = None


class WireRequest(Struct):
    """The page, or the request of a server."""

    url: Text = None
    method: Text = None
    query_string: Text = None
    headers: dict[str, str] | None = None
    data: Value = None
    cookies: dict[str, str] | None = None
    env: Object | None = None


class WireImage(Struct):
    """An entry of `debug_meta`; source maps have both."""

    code_file: Text = None
    debug_id: Text = None


class WireDebugMeta(Struct):
    """Bundles with their debug ids."""

    images: list[WireImage] | None = None


class WireSettings(Struct):
    """What the SDK asks of the server."""

    infer_ip: Text = None


class WireSdk(Struct):
    """Who sends."""

    name: Text = None
    version: Text = None
    settings: WireSettings | None = None


class WireEvent(Struct):
    """An event item, or the body of /store/."""

    event_id: Text = None
    type: Text = None
    timestamp: Time = None
    platform: Text = None
    level: Text = None
    logger: Text = None
    message: Text = None
    logentry: WireMessage | None = None
    transaction: Text = None
    release: Text = None
    dist: Text = None
    environment: Text = None
    server_name: Text = None
    culprit: Text = None
    fingerprint: list[str] | None = None
    exception: WireExceptions | None = None
    stacktrace: WireStacktrace | None = None
    threads: WireThreads | None = None
    breadcrumbs: list[WireCrumb] | WireCrumbs | None = None
    user: Object | None = None
    request: WireRequest | None = None
    tags: dict[str, Integer | str | float | bool | None] | None = None
    contexts: Object | None = None
    extra: Object | None = None
    modules: dict[str, str] | None = None
    debug_meta: WireDebugMeta | None = None
    sdk: WireSdk | None = None


class MendedEvent(WireEvent):
    """An event as `lenient` put it together: its frames and breadcrumbs may be longer than the model allows."""
