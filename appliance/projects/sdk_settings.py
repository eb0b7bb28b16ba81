"""What a project sets for our SDK over the options of its pages: how much is sampled, and which errors are ignored.

Stored as JSON, published in admission.json, fetched by each page. `replay_enabled` is a column of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from appliance.model import JsonObject

RATES: Final = "sample_rates"
IGNORED: Final = "ignoreErrors"
OWN: Final = frozenset({RATES, IGNORED, "replay"})  # keys that the form sets; others are kept as they are
MAX_LINES: Final = 100  # each is tried on each error, in the page
MAX_LINE: Final = 300
# In the order of the form: the wire's name, what people call it, and what it means.
KINDS: Final = (
    ("error", "Errors", "And messages, white screens, failed resources."),
    ("measurement", "Measurements", "Web vitals, long tasks, slow requests."),
    ("page_view", "Page views", "Below 100 % gaps cannot be told from what was not sampled."),
    ("span", "Spans", ""),
    ("replay", "Replays of whole visits", "Of all visits, from their beginning."),
    ("replay_on_error", "Replays around errors", "Of visits with an error, from a minute before it."),
)


def rate_fields() -> list[str]:
    """The form's names of the rates."""
    return [f"rate_{kind}" for kind, _, _ in KINDS]


def as_typed(settings: JsonObject) -> tuple[dict[str, str], str]:
    """What the form shows: percentages by kind, "" where the page decides, and the patterns one a line."""
    found, ignored = settings.get(RATES), settings.get(IGNORED)
    rates = {name: rate for name, rate in found.items() if _is_rate(rate)} if isinstance(found, dict) else {}
    lines = [line for line in ignored if isinstance(line, str)] if isinstance(ignored, list) else []
    return {kind: _percent(rates.get(kind)) for kind, _, _ in KINDS}, "\n".join(lines)


def others(settings: JsonObject) -> JsonObject:
    """Options that the form has no field for."""
    return {name: value for name, value in settings.items() if name not in OWN}


def read_form(rates: Mapping[str, str], ignored: str) -> tuple[JsonObject, dict[str, str]]:
    """Read what a person typed.

    Args:
        rates: percentages by kind; an empty one leaves it to the page.
        ignored: one pattern a line.

    Returns:
        The options, and what is wrong by field.
    """
    errors: dict[str, str] = {}
    found: JsonObject = {}
    for kind, _, _ in KINDS:
        typed = rates.get(kind, "").strip().removesuffix("%").strip().replace(",", ".")
        if not typed:
            continue
        rate = _number(typed)
        if rate is None or not 0 <= rate <= 100:
            errors[f"rate_{kind}"] = "Enter a percentage from 0 to 100, or leave it empty."
        else:
            found[kind] = round(rate / 100, 6)
    lines = list(dict.fromkeys(line.strip() for line in ignored.splitlines() if line.strip()))
    if len(lines) > MAX_LINES:
        errors["ignore_errors"] = f"At most {MAX_LINES} lines: each is tried on every error in the visitor's browser."
    elif any(len(line) > MAX_LINE for line in lines):
        errors["ignore_errors"] = f"A line has at most {MAX_LINE} characters: any part of the message is enough."
    options: JsonObject = {}
    if found:
        options[RATES] = found
    if lines:
        options[IGNORED] = [*lines]
    return options, errors


def _number(typed: str) -> float | None:
    try:
        found = float(typed)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def _is_rate(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _percent(rate: object) -> str:
    return f"{rate * 100:.4f}".rstrip("0").rstrip(".") if isinstance(rate, int | float) else ""
