"""The data that every figure is measured on: 10 KB Sentry envelopes, no two alike, of a set number of issues.

The twenty envelopes in `payloads/` are browser errors as SDKs send them. From each, issues are made by renaming its
exception and functions, and events by giving every id, token, message, URL and breadcrumb of it a value of its own:
a template is the bytes between those places, so that making an event is joining them again.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

PAYLOADS: Final = Path(__file__).parent / "payloads"
HEX: Final = re.compile(rb"(?<![0-9a-zA-Z])(?=[0-9]*[a-f])[0-9a-f]{6,}(?![0-9a-zA-Z])")  # a letter in it: no timestamp
PLACE: Final = "e" * 32  # stands for the event id until the template is cut
SLOT: Final = b"\x00"  # in a template file: SLOT, then one byte: how many hex digits go here
EVENT_ID: Final = b"\xff"  # in place of the count: the event id, the same wherever it stands
_LETTERS: Final = "abcdefghijklmnop"


def _word(number: int) -> str:
    """A number as letters: digits would be normalised away when grouping."""
    return "".join(_LETTERS[int(digit, 16)] for digit in f"{number:03x}")


def _renamed(event: dict[str, Any], issue: int) -> None:
    """Make another issue of the same event: another exception, other functions."""
    word = _word(issue)
    for value in event["exception"]["values"]:
        value["type"] = f"{value.get('type', 'Error')}{word.capitalize()}"
        for frame in value.get("stacktrace", {}).get("frames", [])[-3:]:
            frame["function"] = f"{frame.get('function', 'anonymous')}_{word}"


def _marked(event: dict[str, Any]) -> None:
    """Put a token wherever two events of one issue differ in life."""
    token = "abcdef012345"
    for value in event["exception"]["values"]:
        value["value"] = f"{value.get('value', '')} (request {token}{token})"
    event["request"]["url"] += f"&visit={token}"
    event["user"]["id"] = f"user-{token[:6]}"
    event["user"]["email"] = f"{token[:6]}@mail.example.com"
    for crumb in event["breadcrumbs"]:
        if "message" in crumb:
            crumb["message"] += f" #{token[:8]}"
        if "url" in crumb.get("data", {}):
            crumb["data"]["url"] += f"&r={token[:8]}" if "?" in crumb["data"]["url"] else f"?r={token[:8]}"


def _cut(body: bytes, keep: frozenset[bytes]) -> list[bytes | int]:
    """Bytes and slots (a number of hex digits; 0 for the event id) in turn."""
    parts: list[bytes | int] = []
    at = 0
    for match in HEX.finditer(body):
        if match[0] in keep:
            continue
        parts.append(body[at : match.start()])
        parts.append(0 if match[0] == PLACE.encode() else len(match[0]))
        at = match.end()
    return [*parts, body[at:]]


def templates(issues: int = 2_000, key: str = "0" * 32, now: float = 1_795_400_000.0) -> list[list[bytes | int]]:
    """One template an issue.

    Args:
        issues: how many.
        key: the ingest key, for the envelope's trace header.
        now: seconds since the epoch; the events' times are moved there.
    """
    bases = [path.read_bytes().split(b"\n", 2) for path in sorted(PAYLOADS.glob("*.envelope"))]
    made: list[list[bytes | int]] = []
    for issue in range(issues):
        head, _, body = bases[issue % len(bases)]
        header, event = json.loads(head), json.loads(body)
        shift = now - event["timestamp"]
        event["timestamp"] = round(now, 3)
        for crumb in event["breadcrumbs"]:
            crumb["timestamp"] = round(crumb["timestamp"] + shift, 3)
        header["trace"]["public_key"] = key
        header.pop("sent_at")
        header["event_id"] = event["event_id"] = PLACE
        _renamed(event, issue // len(bases))
        _marked(event)
        frozen = json.dumps(
            [[value.get("stacktrace") for value in event["exception"]["values"]], event.get("debug_meta")]
        ).encode()
        keep = frozenset(HEX.findall(frozen)) | {key.encode()}
        compact = [json.dumps(part, separators=(",", ":")).encode() for part in (header, {"type": "event"}, event)]
        made.append(_cut(b"\n".join(compact), keep))
    return made


def events(made: list[list[bytes | int]], count: int, seed: int = 1) -> Iterator[bytes]:
    """`count` envelopes, each of its own, issues in turn."""
    draw = random.Random(seed)
    for index in range(count):
        digits = f"{draw.getrandbits(4096):01024x}".encode()
        event_id = f"{draw.getrandbits(128):032x}".encode()
        parts: list[bytes] = []
        at = 0
        for part in made[index % len(made)]:
            if isinstance(part, bytes):
                parts.append(part)
            elif part == 0:
                parts.append(event_id)
            else:
                at = at + part if at + 2 * part <= len(digits) else 0
                parts.append(digits[at : at + part])
        yield b"".join(parts)


def write_templates(made: list[list[bytes | int]], path: Path) -> None:
    """For the load generator: each template on a line of its own length, slots as SLOT and a byte."""
    with path.open("wb") as file:
        for parts in made:
            body = b"".join(
                part if isinstance(part, bytes) else SLOT + (EVENT_ID if part == 0 else bytes([part])) for part in parts
            )
            file.write(len(body).to_bytes(4, "little") + body)
