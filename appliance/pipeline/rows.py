"""Items to rows: the flat form in which an event store takes them. Pure; runs in the decode worker.

Not for reading wire formats (protocols do that) nor for grouping (`appliance.issues.grouping`).
"""

from __future__ import annotations

import hashlib
import math
import re
import zlib
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias, TypeVar, cast

import msgspec
from msgspec import Struct

from appliance.issues.grouping.result import Grouping
from appliance.model import (
    ISSUE_KINDS,
    MAX_LABEL,
    MAX_TITLE,
    MICROSECONDS,
    Batch,
    Category,
    Client,
    Event,
    EventRow,
    Item,
    Measurement,
    MeasurementRow,
    Outcome,
    OutcomeRow,
    PageView,
    PageViewRow,
    ReplaySegment,
    ReplaySegmentRow,
    Session,
    SessionRow,
    Span,
    SpanRow,
    User,
)
from appliance.pipeline.payload import payload_of

T = TypeVar("T")
Row: TypeAlias = EventRow | MeasurementRow | PageViewRow | SessionRow | SpanRow | ReplaySegmentRow | OutcomeRow
_BLOB_NAME: Final = re.compile(r"^[a-z0-9][a-z0-9._-]{0,99}$")  # what a blob key's segment may be
_GZIP: Final = 31  # zlib's wbits for a gzip header; it writes no time, so the bytes are the same at every attempt


class Place(Struct, frozen=True):
    """Where an item stands, and when its record was received."""

    ordinal: int
    project_id: int
    received_at: int


class Blob(Struct, frozen=True):
    """A body for the blob store, put there before the row that names it is written."""

    key: str
    body: bytes


class UnstorableError(Exception):
    """The item has a value that no column can hold; the text is the reason of its `Outcome`."""


def category_of(item: Item) -> Category:
    """Under which category an item is counted when it is dropped."""
    match item:
        case Event():
            return Category.ERROR
        case Measurement():
            return Category.MEASUREMENT
        case Session() | PageView():
            return Category.SESSION
        case Span():
            return Category.TRANSACTION
        case ReplaySegment():
            return Category.REPLAY
        case Outcome():
            return Category.OTHER


def time_of(item: Item) -> int:
    """When it happened, in µs."""
    return item.end if isinstance(item, Span) else item.timestamp


def hash_text(text: str) -> int:
    """64 bits that stand for a user; never 0, which means "no user"."""
    if not text:
        return 0
    digest = hashlib.blake2b(text.encode(errors="replace"), digest_size=8).digest()
    return int.from_bytes(digest, "little") or 1


def user_id_of(user: User | None) -> str:
    """What identifies a user for counting: id, else e-mail, else user name, else address."""
    if user is None:
        return ""
    return (user.id or user.email or user.username or user.ip_address)[:MAX_LABEL]


def event_row(event: Event, place: Place, grouping: Grouping) -> EventRow:
    """One row of `events`; the payload is the event as the processors left it."""
    opens_issue = event.kind in ISSUE_KINDS
    user_id = user_id_of(event.user)
    return EventRow(
        ordinal=place.ordinal,
        project_id=place.project_id,
        event_id=event.id,
        kind=event.kind,
        level=event.level,
        timestamp=event.timestamp,
        received_at=place.received_at,
        group_hash=grouping.hash if opens_issue else 0,
        grouping_version=grouping.version if opens_issue else 0,
        title=grouping.title[:MAX_TITLE],
        culprit=grouping.culprit[:MAX_TITLE],
        type=grouping.type[:MAX_LABEL],
        message=event.message,
        platform=event.platform,
        release=event.release,
        dist=event.dist,
        environment=event.environment,
        transaction=event.transaction,
        url=event.url,
        user_id=user_id,
        user_hash=hash_text(user_id),
        browser=event.client.browser,
        browser_version=event.client.browser_version,
        os=event.client.os,
        os_version=event.client.os_version,
        device=event.client.device,
        sdk=event.sdk_name,
        sdk_version=event.sdk_version,
        handled=not event.unhandled,
        trace_id=event.trace_id,
        session_id=event.session_id,
        page_view_id=event.page_view_id,
        replay_id=event.replay_id,
        tags=event.tags,
        payload=payload_of(event),
    )


def add_row(batch: Batch, row: Row) -> None:
    """Put a row into its table."""
    match row:
        case EventRow():
            batch.events.append(row)
        case MeasurementRow():
            batch.measurements.append(row)
        case PageViewRow():
            batch.page_views.append(row)
        case SessionRow():
            batch.sessions.append(row)
        case SpanRow():
            batch.spans.append(row)
        case ReplaySegmentRow():
            batch.replay_segments.append(row)
        case OutcomeRow():
            batch.outcomes.append(row)


def other_row(item: Measurement | PageView | Session | Span | Outcome, place: Place) -> Row:
    """The row of an item that is neither an event nor a replay segment.

    Raises:
        UnstorableError: a value that no column can hold.
    """
    match item:
        case Measurement():
            return _measurement_row(item, place)
        case PageView():
            return _page_view_row(item, place)
        case Session():
            return _session_row(item, place)
        case Span():
            return _span_row(item, place)
        case Outcome():
            return OutcomeRow(
                ordinal=place.ordinal,
                project_id=place.project_id,
                timestamp=item.timestamp,
                received_at=place.received_at,
                source=item.source,
                reason=item.reason,
                category=item.category,
                quantity=item.quantity,
            )


def _measurement_row(item: Measurement, place: Place) -> MeasurementRow:
    if not math.isfinite(item.value):  # one NaN would make every percentile of its page NaN
        raise UnstorableError("invalid_value")
    return MeasurementRow(
        ordinal=place.ordinal,
        project_id=place.project_id,
        measurement_id=item.id,
        metric=item.metric,
        value=item.value,
        unit=item.unit,
        rating=item.rating,
        timestamp=item.timestamp,
        received_at=place.received_at,
        url=item.url,
        route=item.route,
        release=item.release,
        environment=item.environment,
        element=item.element,
        user_hash=hash_text(item.user_id),
        session_id=item.session_id,
        page_view_id=item.page_view_id,
        trace_id=item.trace_id,
        attributes=msgspec.json.encode(item.attributes),
        revision=item.revision,
        **_machine(item.client),
    )


def _page_view_row(item: PageView, place: Place) -> PageViewRow:
    return PageViewRow(
        ordinal=place.ordinal,
        project_id=place.project_id,
        page_view_id=item.id,
        timestamp=item.timestamp,
        received_at=place.received_at,
        url=item.url,
        route=item.route,
        referrer=item.referrer,
        release=item.release,
        environment=item.environment,
        user_hash=hash_text(item.user_id),
        session_id=item.session_id,
        last_sequence=item.last_sequence,
        envelope_id=item.envelope_id,
        title=item.title,
        sequences=item.sequences,
        **_machine(item.client),
    )


def _session_row(item: Session, place: Place) -> SessionRow:
    duration = item.duration if item.duration is not None else (item.timestamp - item.started) / MICROSECONDS
    if not math.isfinite(duration):
        raise UnstorableError("invalid_value")
    return SessionRow(
        ordinal=place.ordinal,
        project_id=place.project_id,
        session_id=item.id,
        started=item.started,
        timestamp=item.timestamp,
        received_at=place.received_at,
        status=item.status,
        errors=item.errors,
        duration=max(duration, 0.0),
        user_hash=hash_text(item.user_id),
        release=item.release,
        environment=item.environment,
        quantity=item.quantity,
        user_id=item.user_id,
        **_machine(item.client),
    )


def _span_row(item: Span, place: Place) -> SpanRow:
    return SpanRow(
        ordinal=place.ordinal,
        project_id=place.project_id,
        trace_id=item.trace_id,
        span_id=item.span_id,
        parent_span_id=item.parent_span_id,
        event_id=item.event_id,
        start=item.start,
        end=item.end,
        received_at=place.received_at,
        op=item.op,
        name=item.name,
        status=item.status,
        is_segment=item.is_segment,
        release=item.release,
        environment=item.environment,
        url=item.url,
        user_hash=hash_text(item.user_id),
        attributes=msgspec.json.encode(item.attributes),
        **_machine(item.client),
    )


def replay_row(item: ReplaySegment, place: Place) -> tuple[ReplaySegmentRow, Blob]:
    """The index row of a replay segment, and its body compressed for the blob store.

    The key names the content, so that two bodies under one segment number cannot overwrite each other, and the day
    it was received, so that retention finds it.
    """
    body = _gzip(item.body)
    sha256 = hashlib.sha256(body).hexdigest()
    day = datetime.fromtimestamp(place.received_at / MICROSECONDS, UTC).strftime("%Y-%m-%d")
    named = item.replay_id if _BLOB_NAME.match(item.replay_id) else f"{hash_text(item.replay_id):016x}"
    blob = Blob(f"replays/{place.project_id}/{day}/{named}-{item.segment}-{sha256[:16]}.json.gz", body)
    row = ReplaySegmentRow(
        ordinal=place.ordinal,
        project_id=place.project_id,
        replay_id=item.replay_id,
        segment=item.segment,
        timestamp=item.timestamp,
        received_at=place.received_at,
        started=item.started,
        replay_type=item.replay_type,
        blob_key=blob.key,
        blob_bytes=len(body),
        blob_sha256=sha256,
        error_ids=item.error_ids,
        trace_ids=item.trace_ids,
        urls=item.urls,
        release=item.release,
        environment=item.environment,
        user_hash=hash_text(item.user_id),
        session_id=item.session_id,
        **_machine(item.client),
    )
    return row, blob


def _gzip(body: bytes) -> bytes:
    compressor = zlib.compressobj(level=1, wbits=_GZIP)  # level 1: rrweb JSON still shrinks to a seventh
    return compressor.compress(body) + compressor.flush()


def _machine(client: Client) -> dict[str, Any]:
    return {"browser": client.browser, "os": client.os, "device": client.device}


def made_encodable(item: T) -> T:
    """A copy without what neither JSON nor a column can carry: lone surrogates, NUL, integers beyond 64 bits."""
    return msgspec.convert(_encodable(msgspec.to_builtins(item, builtin_types=(bytes,))), type(item))


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode(errors="replace").decode().replace("\0", "\ufffd")
    if isinstance(value, dict):
        return {_encodable(key): _encodable(inner) for key, inner in cast("dict[Any, Any]", value).items()}
    if isinstance(value, list):
        return [_encodable(inner) for inner in cast("list[Any]", value)]
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        return str(value)
    return value
