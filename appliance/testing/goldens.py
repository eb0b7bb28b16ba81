"""Golden pairs of a protocol: a recorded request beside the items it decodes to, as readable JSON.

`CONDEV_REGENERATE_GOLDENS=1 pytest …` writes the items anew; the diff is then read by a person and committed.
"""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any, Final

import msgspec

from appliance.hookspecs import Protocol
from appliance.model import Item, Json, JsonObject, Record, ReplaySegment

REGENERATE: Final = "CONDEV_REGENERATE_GOLDENS"


def golden_files(directory: Path) -> list[Path]:
    """The goldens of a folder, in order; never none, so that a moved folder is noticed."""
    found = sorted(directory.glob("*.json"))
    assert found, f"no goldens in {directory}"
    return found


def record_of(path: Path, protocol: Protocol) -> Record:
    """The recorded request of a golden.

    A body is text (a list of its lines, or one string) in `body`, JSON in `body_json`, or `body_base64`.
    """
    golden: dict[str, Any] = json.loads(path.read_text())
    if "body_base64" in golden:
        body = base64.b64decode(golden["body_base64"])
    elif "body_json" in golden:
        body = json.dumps(golden["body_json"], ensure_ascii=False, separators=(",", ":")).encode()
    else:
        text = golden["body"]
        body = (text if isinstance(text, str) else "\n".join(text)).encode()
    return Record(
        protocol=protocol.name,
        route=golden["route"],
        project_id=golden.get("project_id", 7),
        received_at=golden["received_at"],
        body=body,
        query=golden.get("query", ""),
        headers=golden.get("headers", {}),
        address=golden.get("address", ""),
    )


def check_golden(path: Path, protocol: Protocol) -> None:
    """Decode a golden's request and compare; with `CONDEV_REGENERATE_GOLDENS=1`, write what came out instead."""
    golden: dict[str, Any] = json.loads(path.read_text())
    decoded = [readable(item) for item in protocol.decode(record_of(path, protocol)).items]
    if os.environ.get(REGENERATE) == "1":
        golden["items"] = decoded
        path.write_text(json.dumps(golden, indent=2, ensure_ascii=False) + "\n")
    assert decoded == golden["items"], f"{path.name}: see {REGENERATE} in {__name__}"


def readable(item: Item) -> JsonObject:
    """An item as JSON that a person can read: without defaults, a replay's events as JSON and not base64."""
    found: JsonObject = msgspec.to_builtins(item)
    if isinstance(item, ReplaySegment):
        events: Json = json.loads(item.body)
        found["body"] = events
    return {name: value for name, value in found.items() if value not in ({}, [], "")}
