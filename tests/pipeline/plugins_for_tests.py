"""A protocol and processors that do what an event's `do` says; loaded by the decode workers of these tests."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path
from typing import ClassVar, Literal

from appliance.hookspecs import Answer, Decoded, DecodeError, IngestRequest, Peek, Processor, Protocol, Route, Verdict
from appliance.model import (
    Event,
    ExceptionValue,
    Item,
    Kind,
    Measurement,
    Outcome,
    PageView,
    Record,
    ReplaySegment,
    Session,
    Span,
)
from appliance.pipeline.decode import PluginSet


class LinesProtocol(Protocol):
    """One JSON object a line; each is an event, or what its `kind` says."""

    name = "lines"
    routes = (Route(path="/lines/{key}", methods=("POST",), name="lines"),)

    def peek(self, request: IngestRequest) -> Peek:
        return Peek(key="k")

    def answer(self, verdict: Verdict) -> Answer:
        return Answer(status=200)

    def decode(self, record: Record) -> Decoded:
        try:
            lines = [json.loads(line) for line in record.body.splitlines()]
        except ValueError as error:
            raise DecodeError(f"not JSON: {error}") from error
        for line in lines:
            _misbehave(line.get("decode", ""))
        return Decoded(items=[_item(line, record) for line in lines])


def _item(line: dict[str, object], record: Record) -> Item:  # noqa: PLR0911 - one for each kind
    at = record.received_at
    identity = str(line["id"])
    match line.get("kind"):
        case "measurement":
            revision = int(str(line.get("revision", 0)))
            value = float(str(line.get("value", 1)))
            return Measurement(id=identity, metric="LCP", value=value, timestamp=at, revision=revision)
        case "page_view":
            return PageView(id=identity, envelope_id=str(line.get("envelope", "")), timestamp=at, sequences=[1])
        case "session":
            return Session(id=identity, started=at, timestamp=at)
        case "span":
            return Span(trace_id=identity, span_id=identity[:16], start=at, end=at)
        case "replay":
            return ReplaySegment(replay_id=identity, segment=0, timestamp=at, started=at, body=b"[1,2,3]")
        case "outcome":
            return Outcome(reason="before_send", category="error", timestamp=at, quantity=3)
        case _:
            return Event(
                id=identity,
                kind=Kind.ERROR,
                timestamp=at,
                exceptions=[
                    ExceptionValue(type=str(line.get("type", "TypeError")), value=str(line.get("message", "x")))
                ],
                message=str(line.get("message", "")),
                tags={"do": str(line.get("do", ""))},
                extra={"padding": line.get("padding", "")},  # type: ignore[dict-item]
            )


def _misbehave(how: str) -> None:
    if how == "hang":
        time.sleep(3_600)
    elif how == "abort":
        os.abort()
    elif how == "raise":
        raise ValueError("as asked")
    elif how == "slow":
        time.sleep(0.2)
    elif how.startswith("/"):  # a file that says how many more times
        left = Path(how)
        if left.exists() and (times := int(left.read_text())):
            left.write_text(str(times - 1))
            os.abort()


class ObedientProcessor(Processor):
    """Does to an event what its tag `do` says."""

    name = "obedient"
    order = 20
    on_failure: Literal["skip", "dead_letter"] = "skip"

    def process_batch(self, items: list[Item]) -> list[Item]:
        kept: list[Item] = []
        for item in items:
            do = item.tags.get("do", "") if isinstance(item, Event) else ""
            if isinstance(item, Event):
                item.tags["obeyed"] = str(int(item.tags.get("obeyed", "0")) + 1)
            _misbehave(do)
            if do == "surrogate" and isinstance(item, Event):
                item.message = "\ud800\0"
            if do != "drop":
                kept.append(item)
        return kept


class Scrubber(Processor):
    """Marks what it saw; what says `unscrubbable` makes it fail."""

    name = "scrub"
    order = 10
    on_failure: Literal["skip", "dead_letter"] = "dead_letter"
    seen: ClassVar[set[str]] = set()

    def process_batch(self, items: list[Item]) -> list[Item]:
        for item in items:
            if isinstance(item, Event):
                if "unscrubbable" in item.message:
                    raise ValueError("cannot scrub this")
                item.extra = {"scrubbed": hashlib.sha256(item.id.encode()).hexdigest(), **item.extra}
        return items


def load(options: dict[str, object]) -> tuple[PluginSet, int]:
    """For `Start.loader`."""
    if options.get("broken"):
        raise RuntimeError("a plugin is broken")
    protocols: list[Protocol] = [LinesProtocol()]
    for name in options.get("aliases", []):  # type: ignore[attr-defined]
        protocols.append(LinesProtocol())
        protocols[-1].name = name
    return PluginSet(protocols, [Scrubber(), ObedientProcessor()]), 1_000_000
