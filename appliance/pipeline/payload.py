"""The stored payload of an event: its JSON, cut to the bound in the order in which its parts can be spared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from appliance.model import MAX_PAYLOAD_BYTES, MAX_TITLE, Event

_encoder: Final = msgspec.json.Encoder()
_buffer: Final = bytearray(64 * 1024)
MAX_KEPT_FRAMES: Final = 40  # of each exception, when an event is over MAX_PAYLOAD_BYTES for its stacks alone


def payload_of(event: Event) -> bytes:
    """The event's JSON, at most `MAX_PAYLOAD_BYTES`: what can be spared goes first, and the event says so."""
    # One buffer for all: growing a new one for each event is a third of what encoding it costs.
    _encoder.encode_into(event, _buffer)
    if len(_buffer) <= MAX_PAYLOAD_BYTES:
        return bytes(_buffer)
    _buffer.clear()
    for name, cut in _CUTS:
        cut(event)
        event.truncated.append(f"{name}: left out, the event was larger than {MAX_PAYLOAD_BYTES // 1024} KiB")
        payload = msgspec.json.encode(event)
        if len(payload) <= MAX_PAYLOAD_BYTES:
            return payload
    return msgspec.json.encode(
        Event(
            id=event.id,
            kind=event.kind,
            timestamp=event.timestamp,
            level=event.level,
            message=event.message[:MAX_TITLE],
            truncated=["everything but the message: the event could not be made small enough"],
        )
    )


def _cut_extra(event: Event) -> None:
    event.extra = {}


def _cut_context_lines(event: Event) -> None:
    for stack in [event.stack, *(value.frames for value in event.exceptions)]:
        for frame in stack:
            frame.pre_context, frame.post_context, frame.vars = [], [], {}


def _cut_breadcrumb_data(event: Event) -> None:
    for crumb in event.breadcrumbs:
        crumb.data = {}


def _cut_contexts(event: Event) -> None:
    event.contexts, event.modules = {}, {}
    if event.user is not None:
        event.user.data = {}
    if event.request is not None:
        event.request.data, event.request.cookies, event.request.env = None, {}, {}


def _cut_frames(event: Event) -> None:
    event.breadcrumbs = event.breadcrumbs[-20:]
    event.message_params = []
    event.stack = event.stack[-MAX_KEPT_FRAMES:]
    for value in event.exceptions:
        value.frames = value.frames[-MAX_KEPT_FRAMES:]


# In this order: what helps least to understand an error goes first.
_CUTS: Final[tuple[tuple[str, Callable[[Event], None]], ...]] = (
    ("extra", _cut_extra),
    ("source lines and variables", _cut_context_lines),
    ("breadcrumb data", _cut_breadcrumb_data),
    ("contexts, modules and request data", _cut_contexts),
    ("older frames and breadcrumbs", _cut_frames),
)
