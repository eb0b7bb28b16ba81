"""Where the bars of a chart stand: SVG attributes, since inline styles are forbidden. Pure; reads no clock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

WIDTH: Final = 720.0  # of a chart's viewBox, which is stretched to the page
HEIGHT: Final = 96.0
FILLED: Final = 0.8  # of a bar's place; the rest is the gap to the next
LEAST: Final = 2.0  # high: one is seen beside a thousand


class Bar(Struct, frozen=True, kw_only=True):
    """One rectangle."""

    x: float
    y: float
    width: float
    height: float
    tone: str = ""  # good, warn, bad; "none": nothing there
    title: str = ""


class Line(Struct, frozen=True, kw_only=True):
    """A level across the chart."""

    y: float
    text: str
    tone: str = ""


class Part(Struct, frozen=True, kw_only=True):
    """One part of a whole, as a stretch of a bar 100 wide."""

    name: str
    tone: str
    count: int
    share: float
    x: float
    width: float


def slots(start: int, end: int, bucket: int) -> list[int]:
    """The starts of all bars from `start` to before `end`, empty ones included."""
    return list(range(start // bucket * bucket, end, bucket))


def columns(values: Sequence[tuple[float | None, str, str]], top: float = 0.0) -> tuple[Bar, ...]:
    """One bar for each (value, tone, title); None stands for nothing there.

    Args:
        values: from left to right.
        top: the value at the upper edge, when that is to be more than the largest.
    """
    highest = max([top, *(value for value, _, _ in values if value is not None)]) or 1.0
    step = WIDTH / max(len(values), 1)
    bars: list[Bar] = []
    for index, (value, tone, title) in enumerate(values):
        height = 1.0 if value is None else max(LEAST, value / highest * (HEIGHT - 2))
        bars.append(
            Bar(
                x=index * step, width=step * FILLED, y=HEIGHT - height, height=height, title=title,
                tone="none" if value is None else tone,
            )
        )  # fmt: skip
    return tuple(bars)


def stacks(values: Sequence[tuple[Sequence[tuple[int, str]], str]]) -> tuple[Bar, ...]:
    """One pile for each (its (count, tone) from below, title)."""
    highest = max((sum(count for count, _ in parts) for parts, _ in values), default=0) or 1
    step = WIDTH / max(len(values), 1)
    bars: list[Bar] = []
    for index, (parts, title) in enumerate(values):
        y = HEIGHT
        for count, tone in parts:
            height = max(LEAST, count / highest * (HEIGHT - 8)) if count else 0.0
            y -= height
            if count:
                bars.append(Bar(x=index * step, width=step * FILLED, y=y, height=height, tone=tone, title=title))
        if y == HEIGHT:
            bars.append(Bar(x=index * step, width=step * FILLED, y=HEIGHT - 1, height=1.0, tone="none", title=title))
    return tuple(bars)


def level(value: float, top: float, text: str, tone: str = "") -> Line | None:
    """A line at a value; None when that lies above the chart."""
    return Line(y=HEIGHT - value / top * (HEIGHT - 2), text=text, tone=tone) if 0 < value <= top else None


def parts(counts: Sequence[tuple[str, str, int]]) -> tuple[Part, ...]:
    """A whole from its (name, tone, count): side by side, each at least 1 wide where there is any."""
    total = sum(count for _, _, count in counts)
    if not total:
        return ()
    shares = [count / total for _, _, count in counts]
    widths = [max(1.0, share * 100) if share else 0.0 for share in shares]
    scale = 100 / sum(widths)
    made: list[Part] = []
    x = 0.0
    for (name, tone, count), share, width in zip(counts, shares, widths, strict=True):
        made.append(Part(name=name, tone=tone, count=count, share=share, x=x, width=width * scale))
        x += width * scale
    return tuple(made)
