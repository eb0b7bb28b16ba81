"""How pages write figures and times. Pure functions, registered as template filters; nothing here reads a clock."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit

THIN: Final = "\u202f"  # narrow no-break space between a figure and its unit
_SECOND: Final = 1_000_000
_STEPS: Final = ((60, "s", 1), (3_600, "min", 60), (86_400, "h", 3_600), (30 * 86_400, "d", 86_400))


def number(value: float) -> str:
    """Grouped in thousands: 12,408; fractions with two digits at most."""
    if value == int(value):
        return f"{int(value):,}"
    return f"{value:,.2f}".rstrip("0").rstrip(".")


def compact(value: float) -> str:
    """Short for narrow columns: 842, 12.4k, 3.1M."""
    for size, unit in ((1_000_000_000, "B"), (1_000_000, "M"), (10_000, "k")):
        if abs(value) >= size:
            divisor = 1_000 if unit == "k" else size
            short = f"{value / divisor:.1f}".removesuffix(".0")
            return f"{short}{unit}"
    return number(value)


def percent(share: float) -> str:
    """A share of 1 as percent; what is there but tiny is not called 0."""
    if 0 < share < 0.005:
        return f"<{THIN}1{THIN}%"
    return f"{share * 100:.0f}{THIN}%"


def size(value: float) -> str:
    """Bytes: 512 B, 3.4 KiB, 1.2 GiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024:
            return f"{value:.0f}{THIN}{unit}" if unit == "B" or value >= 100 else f"{value:.1f}{THIN}{unit}"
        value /= 1024
    return f"{value:.1f}{THIN}TiB"


def duration(seconds: float) -> str:
    """A span of time in its two largest units: 240 ms, 2.31 s, 4 min 10 s, 3 h 5 min, 12 d 4 h."""
    if seconds < 1:
        return f"{seconds * 1000:.0f}{THIN}ms"
    if seconds < 60:
        return f"{seconds:.0f}{THIN}s" if seconds == int(seconds) else f"{seconds:#.3g}{THIN}s"  # 2.90 s below 2.31 s
    units = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
    whole = int(seconds)
    for index, (unit, length) in enumerate(units[:-1]):
        if whole >= length:
            smaller, small_length = units[index + 1]
            rest = whole % length // small_length
            tail = f" {rest}{THIN}{smaller}" if rest else ""
            return f"{whole // length}{THIN}{unit}{tail}"
    return f"{whole}{THIN}s"


def moment(us: int) -> datetime:
    """Microseconds since the epoch as an aware UTC time, clamped to what a calendar can write."""
    bounded = min(max(us, 0), 253_402_300_799 * _SECOND)
    return datetime.fromtimestamp(bounded / _SECOND, UTC)


def iso(us: int) -> str:
    """For <time datetime>: 2026-11-23T04:04:21.250Z."""
    return moment(us).strftime("%Y-%m-%dT%H:%M:%S.") + f"{us // 1000 % 1000:03d}Z"


def exact(us: int) -> str:
    """For people: 23 Nov 2026, 04:04:21 UTC. The script puts it in the viewer's zone."""
    return f"{moment(us):%-d %b %Y, %H:%M:%S} UTC"


def ago(us: int, now: int) -> str:
    """Relative to now: just now, 12 s ago, 3 h ago, 4 d ago; a date beyond a month; `in 2 h` for what is to come."""
    seconds = (now - us) // _SECOND
    if abs(seconds) < 5:
        return "just now"
    for limit, unit, length in _STEPS:
        if abs(seconds) < limit:
            words = f"{abs(seconds) // length}{THIN}{unit}"
            return f"{words} ago" if seconds > 0 else f"in {words}"
    return f"{moment(us):%-d %b %Y}"


def day(us: int) -> str:
    """The day alone: 23 Nov."""
    return f"{moment(us):%-d %b}"


def offset(seconds: float) -> str:
    """A breadcrumb's time against its event: −2.31 s, −4 min 10 s, 0 s."""
    if abs(seconds) < 0.0005:
        return f"0{THIN}s"
    return ("−" if seconds < 0 else "+") + duration(abs(seconds))


def clip(text: str, chars: int) -> str:
    """Cut to so many characters, with an ellipsis."""
    return text if len(text) <= chars else text[: max(chars - 1, 0)].rstrip() + "…"


def bar_heights(counts: Sequence[float], tallest: float) -> list[float]:
    """Heights of a histogram's bars; what is not zero is at least 2 high: one event is seen beside a thousand."""
    top = max(counts, default=0) or 1
    return [max(2.0, count / top * tallest) if count else 1.0 for count in counts]


def safe_url(text: str) -> str:
    """The text if it is an http or https URL that may become a link, else ""."""
    try:
        parts = urlsplit(text.strip())
    except ValueError:
        return ""
    return text.strip() if parts.scheme in ("http", "https") and parts.netloc else ""
