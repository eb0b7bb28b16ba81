"""The decoder against docs/protocol-v2.schema.json: what it allows is kept whole, what it forbids breaks nothing."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.hookspecs import ProjectSettings
from appliance.model import (
    Event,
    Item,
    Measurement,
    Outcome,
    PageView,
    Record,
    ReplaySegment,
    Session,
    Span,
)
from appliance.testing.protocols import check_items, refusal
from condev_plugins.condev_protocol import CondevProtocolV2
from condev_plugins.condev_protocol.v2.settings import settings_answer

from .from_schema import anything, examples

SCHEMA: dict[str, Any] = json.loads((Path(__file__).parents[4] / "docs" / "protocol-v2.schema.json").read_text())
VALID = jsonschema_rs.validator_for(SCHEMA)
GOLDENS = sorted((Path(__file__).parent / "golden").glob("*.json"))
NOW = 1_800_000_000_000_000
BECOMES = {
    "event": Event, "measurement": Measurement, "span": Span, "replay_segment": ReplaySegment, "outcome": Outcome,
}  # fmt: skip
headers = examples({"$ref": "#/$defs/header"}, SCHEMA)
items = examples({"$ref": "#/$defs/item"}, SCHEMA)
quick = settings(deadline=None, suppress_health_check=list(HealthCheck))


def decoded(lines: list[Any]) -> list[Item]:
    body = "\n".join(line if isinstance(line, str) else json.dumps(line, ensure_ascii=False) for line in lines)
    record = Record(
        protocol="condev_v2",
        route="envelope",
        project_id=7,
        received_at=NOW,
        body=body.encode("utf-8", "surrogatepass"),
    )
    found = CondevProtocolV2().decode(record)
    check_items(found, record)
    return found.items


@quick
@given(headers, st.lists(items, max_size=4))
def test_what_the_schema_allows_is_kept_whole(header: dict[str, Any], sent: list[dict[str, Any]]) -> None:
    for line in (header, *sent):
        VALID.validate(line)
    found = decoded([header, *sent])
    assert not any(isinstance(item, Outcome) and item.source == "server" for item in found)
    ids = {(line["type"], line.get("id") or n, line.get("metric")) for n, line in enumerate(sent)}
    for kind, becomes in BECOMES.items():
        own = [item for item in found if isinstance(item, becomes)]
        assert len(own) == len([one for one in ids if one[0] == kind]), kind
    views = [item for item in found if isinstance(item, PageView)]
    assert len(views) == ("page_view" in header)
    assert len([item for item in found if isinstance(item, Session)]) == ("session" in header)
    if views:
        numbers = {line["n"] for line in sent if "n" in line}
        numbers |= {number for line in sent for number in line.get("numbers", ())}
        assert set(views[0].sequences) == numbers
        assert views[0].last_sequence == max([header.get("last", 0), *numbers])


@quick
@given(headers, items, st.data())
def test_what_the_schema_forbids_never_raises(
    header: dict[str, Any], item: dict[str, Any], data: st.DataObject
) -> None:
    broken = json.loads(json.dumps([header, item]))
    for line in broken:
        for name in data.draw(st.lists(st.sampled_from(sorted(line)), max_size=3, unique=True)):
            line[name] = data.draw(anything)
        if data.draw(st.booleans()):
            line.pop(data.draw(st.sampled_from(sorted(line))), None)
    found = decoded(broken)
    if broken[1].get("type") != "page_view":  # which tells nothing when the header names no page view
        assert found, "a line that is none of ours is said in an outcome"


@quick
@given(st.lists(st.binary(max_size=60) | anything.map(lambda value: json.dumps(value).encode()), max_size=6))
def test_any_bytes_are_read_in_part_or_refused_in_words(lines: list[bytes]) -> None:
    record = Record(protocol="condev_v2", route="envelope", project_id=7, received_at=NOW, body=b"\n".join(lines))
    if refusal(lambda: CondevProtocolV2().decode(record)) is None:
        check_items(CondevProtocolV2().decode(record), record)


def test_the_longest_that_the_schema_allows_is_within_the_models_bounds() -> None:
    header = {"v": 2, "id": "1" * 32, "sent_at": NOW // 1000, "tags": {f"k{n}": "v" * 200 for n in range(60)}}
    stack = "Error: x\n" + "    at f (https://shop.example/app.js:1:2)\n" * 6_000
    event = {
        "type": "event", "kind": "error", "message": "m" * 8_192, "url": "https://x/" + "u" * 2_038,
        "exceptions": [{"type": "T" * 200, "value": "v" * 8_192, "stack": stack[:262_144]}] * 20,
        "breadcrumbs": [{"message": "b" * 8_192}] * 200,
        "debug_ids": {f"https://x/{n}.js": "d" * 200 for n in range(250)},
    }  # fmt: skip
    VALID.validate(header)
    VALID.validate(event)
    found = decoded([header, event])
    assert [type(item) for item in found] == [Event]


@pytest.mark.parametrize("path", GOLDENS, ids=lambda path: path.stem)
def test_goldens_are_as_the_schema_says_but_for_those_that_show_what_is_not(path: Path) -> None:
    lines = [line for line in json.loads(path.read_text())["body"] if line]
    allowed = [_is_valid(line) for line in lines]
    assert all(allowed) == (path.stem not in {"lines-that-cannot-be-read", "without-a-header"})


def _is_valid(line: str) -> bool:
    try:
        return VALID.is_valid(json.loads(line))
    except ValueError:
        return False


def test_a_recording_that_unpacks_to_too_much_is_left_out_and_said() -> None:
    bomb = gzip.compress(b"[" + b"0," * (8 << 20) + b"0]", mtime=0)
    import base64

    line = {
        "type": "replay_segment", "replay_id": "1" * 32, "segment": 0, "started": 1, "ended": 2,
        "data": base64.b64encode(bomb).decode(),
    }  # fmt: skip
    found = decoded([{"v": 2, "id": "1" * 32, "sent_at": NOW // 1000}, line])
    assert [(item.reason, item.category) for item in found if isinstance(item, Outcome)] == [("too_large", "replay")]
    assert len(found) == 1


def test_the_examples_of_the_docs_are_as_the_schema_and_the_code_have_them() -> None:
    text = (Path(__file__).parents[4] / "docs" / "protocol.md").read_text()
    envelope, settings_shown = (block.partition("\n```")[0] for block in text.split("```json\n")[1:])
    for line in envelope.splitlines():
        VALID.validate(json.loads(line))
    kinds = [type(item) for item in decoded([*envelope.splitlines()])]
    assert kinds == [Event, Measurement, PageView, Session]
    shown = json.loads(settings_shown)
    chosen = {name: value for name, value in shown["data"]["sdk"].items() if name != "replay"}
    answer = settings_answer("KEY", ProjectSettings(project_id=1, sdk=chosen))
    assert json.loads(answer.body) == shown
