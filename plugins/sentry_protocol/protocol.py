"""The Sentry protocol: where it listens, and how an accepted body becomes items.

Item types that the product has no use for yet, and those nobody knows, are counted and dropped; they never cost
their neighbours anything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from appliance.decoding import MAX_ITEMS, Unkept, UnreadableError, whole
from appliance.hookspecs import Answer, Decoded, DecodeError, IngestRequest, Peek, Protocol, Route, Verdict
from appliance.model import Item, Record

from . import answers, peeking
from .envelope import EnvelopeItem, read_envelope
from .events import event_from, read_wire
from .replays import TooLargeError, decode_replay
from .reports import decode_security, decode_user_report
from .sender import Sender
from .sessions import decode_aggregates, decode_client_report, decode_session
from .spans import decode_spans, decode_transaction

_MAX_QUANTITY: Final = 100_000  # an item_count that says more is not believed


def decode_any_event(payload: bytes, sender: Sender) -> list[Item]:
    """An event, which may be a transaction by its own word (browser 5 sends those to /store/ at times).

    Raises:
        UnreadableError: the payload is not a JSON object.
    """
    wire, notes = read_wire(payload)
    if wire.type == "transaction":
        return decode_transaction(payload, sender)
    return [event_from(wire, notes, payload, sender)]


def _decode_feedback(payload: bytes, sender: Sender) -> list[Item]:
    wire, notes = read_wire(payload)
    wire.type = "feedback"
    return [event_from(wire, notes, payload, sender)]


_DECODERS: Final[dict[str, Callable[[bytes, Sender], list[Item]]]] = {
    "event": decode_any_event,
    "feedback": _decode_feedback,
    "user_report": decode_user_report,
    "transaction": decode_transaction,
    "span": decode_spans,
    "session": decode_session,
    "sessions": decode_aggregates,
    "client_report": decode_client_report,
}


class SentryProtocol(Protocol):
    """Accepts what Sentry's SDKs from browser 5 to 11, Python, Node, raven-js and the CLI send, and CSP reports."""

    name = "sentry"
    routes = (
        Route(path="/api/{project_id}/envelope", methods=("POST",), name="envelope"),
        Route(path="/api/{project_id}/store", methods=("POST",), name="store"),
        Route(path="/api/{project_id}/security", methods=("POST",), name="security"),
    )
    exposed_headers = ("X-Sentry-Rate-Limits", "Retry-After", "X-Sentry-Error")

    def peek(self, request: IngestRequest) -> Peek:
        """See `peeking.peek`."""
        return peeking.peek(request)

    def answer(self, verdict: Verdict) -> Answer:
        """See `answers.answer`."""
        return answers.answer(verdict)

    def decode(self, record: Record) -> Decoded:
        """Turn an accepted body into items.

        Raises:
            DecodeError: nothing in it can be read.
        """
        try:
            match record.route:
                case "store":
                    return Decoded(items=decode_any_event(record.body, Sender.of(record, {})))
                case "security":
                    return Decoded(items=decode_security(record.body, record.query, Sender.of(record, {})))
                case _:
                    return Decoded(items=_decode_envelope(record))
        except UnreadableError as error:
            raise DecodeError(f"{record.route}: {error}") from None


def _decode_envelope(record: Record) -> list[Item]:
    envelope = read_envelope(record.body)
    sender = Sender.of(record, envelope.header)
    items: list[Item] = []
    unkept = Unkept()
    reasons = [envelope.broken] if envelope.broken else []
    if envelope.broken:
        unkept.add("unreadable_item", "unknown")
    for found in _with_replays_joined(envelope.items):
        try:
            if isinstance(found, EnvelopeItem):
                decoder = _DECODERS.get(found.type)
                if decoder is None:
                    unkept.add("unsupported_item", found.type or "unknown", _quantity(found))
                else:
                    items += decoder(found.payload, sender)
            else:
                items += decode_replay(*found, sender)
        except TooLargeError:
            unkept.add("too_large", "replay")
        except UnreadableError as error:
            category = found.type if isinstance(found, EnvelopeItem) else "replay"
            unkept.add("unreadable_item", category)
            reasons.append(f"{category}: {error}")
    if reasons and not items and len(reasons) >= len(envelope.items):
        raise DecodeError("no item of the envelope can be read: " + "; ".join(reasons)[:500])
    if len(items) > MAX_ITEMS:
        unkept.add("too_many_items", "default", len(items) - MAX_ITEMS)
        del items[MAX_ITEMS:]
    return items + unkept.outcomes(record.received_at)


def _with_replays_joined(
    items: list[EnvelopeItem],
) -> list[EnvelopeItem | tuple[bytes | None, bytes | None]]:
    """The items, with a replay_event and its replay_recording as one pair in the place of the first of them."""
    event = next((item.payload for item in items if item.type == "replay_event"), None)
    recordings = [item.payload for item in items if item.type == "replay_recording"]
    if event is None and not recordings:
        return list(items)
    joined: list[EnvelopeItem | tuple[bytes | None, bytes | None]] = [
        item for item in items if item.type not in {"replay_event", "replay_recording"}
    ]
    joined.append((event, recordings[0] if recordings else None))
    return joined


def _quantity(item: EnvelopeItem) -> int:
    """How many things an item of an unsupported type holds: logs and metrics come many at once."""
    count = whole(item.header.get("item_count"))
    if count is not None and 0 < count <= _MAX_QUANTITY:
        return count
    return 1
