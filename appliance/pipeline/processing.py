"""Runs the processors over items in the decode worker, and keeps each item's place.

A processor may change items in place, replace them or leave some out. When one raises, what it has half done to its
items is unknown, so the caller decodes the records again and runs them with `careful=True`: item by item, on copies.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import cast

from msgspec import Struct, field

from appliance.hookspecs import Processor
from appliance.model import Event, Item, Measurement, Outcome, PageView, ReplaySegment, Session, Span
from appliance.pipeline.wire import ProcessorFailure

_ITEMS = (Event, Measurement, PageView, Session, Span, ReplaySegment, Outcome)


class Placed(Struct):
    """An item and its ordinal in the batch."""

    ordinal: int
    item: Item


class Processed(Struct, kw_only=True):
    """What the processors made of some items."""

    kept: list[Placed]
    dropped: list[tuple[Placed, str]] = field(default_factory=list)  # with the processor's name
    dead: dict[int, str] = field(default_factory=dict)  # ordinal → why its record becomes a dead letter
    failures: dict[str, ProcessorFailure] = field(default_factory=dict)


class ProcessorFailedError(Exception):
    """A processor raised, or gave back what cannot be matched with what it was given."""


def run_processors(processors: Sequence[Processor], placed: list[Placed], *, careful: bool) -> Processed:
    """Run all processors in order.

    Args:
        processors: in the order in which they run.
        placed: the items of some records; the processors may change them.
        careful: item by item on copies; never raises.

    Raises:
        ProcessorFailedError: one failed; decode the items again, they may be half changed.
    """
    done = Processed(kept=placed)
    for processor in processors:
        if not done.kept:
            break
        if careful:
            _run_one_by_one(processor, done)
        else:
            _run_batch(processor, done)
    return done


def _run_batch(processor: Processor, done: Processed) -> None:
    given = [placed.item for placed in done.kept]
    try:
        result = processor.process_batch(list(given))
    except Exception as error:
        raise ProcessorFailedError(processor.name) from error
    if not isinstance(cast("object", result), list):
        raise ProcessorFailedError(f"{processor.name} gave back no list")
    if len(result) == len(given) and all(map(lambda new, old: new is old, result, given)):
        return
    done.kept, left_out = _matched(processor, done.kept, result)
    done.dropped += [(placed, processor.name) for placed in left_out]


def _matched(processor: Processor, before: list[Placed], result: list[Item]) -> tuple[list[Placed], list[Placed]]:
    """Give what came back its ordinals: by identity, or by position when nothing was left out."""
    if len(result) == len(before) and all(isinstance(cast("object", item), _ITEMS) for item in result):
        by_position = [Placed(placed.ordinal, item) for placed, item in zip(before, result, strict=True)]
        known = {id(placed.item): placed.ordinal for placed in before}
        if all(known.get(id(new.item), new.ordinal) == new.ordinal for new in by_position):
            return by_position, []
    places = {id(placed.item): placed for placed in before}
    kept: list[Placed] = []
    for item in result:
        placed = places.pop(id(item), None)
        if placed is None:
            raise ProcessorFailedError(f"{processor.name} replaced some items and left out others")
        kept.append(placed)
    kept.sort(key=lambda placed: placed.ordinal)
    return kept, list(places.values())


def _run_one_by_one(processor: Processor, done: Processed) -> None:
    kept: list[Placed] = []
    for placed in done.kept:
        try:
            item = _processed_alone(processor, copy.deepcopy(placed.item))
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything; it is counted and shown
            detail = f"{processor.name}: {type(error).__name__}: {error}"[:500]
            failure = done.failures.setdefault(processor.name, ProcessorFailure(processor.name, 0, ""))
            failure.times, failure.detail = failure.times + 1, detail
            if processor.on_failure == "dead_letter":
                done.dead.setdefault(placed.ordinal, detail)
            else:
                kept.append(placed)
            continue
        if item is None:
            done.dropped.append((placed, processor.name))
        else:
            kept.append(Placed(placed.ordinal, item))
    done.kept = kept


def _processed_alone(processor: Processor, item: Item) -> Item | None:
    result = processor.process_batch([item])
    if len(result) > 1:
        raise ValueError(f"gave back {len(result)} items for one")
    if result and not isinstance(cast("object", result[0]), _ITEMS):
        raise TypeError(f"gave back {type(result[0]).__name__}, which is not an item")
    return result[0] if result else None
