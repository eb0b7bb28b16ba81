"""Which events are one issue: recorded ones, and the same error in three browsers, two builds and several SDKs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from appliance.issues.grouping import VERSION, Grouping, group, read_explanation
from appliance.model import Event, ExceptionValue, Frame, Kind

RECORDED = Path(__file__).parent / "recorded_events.json"
BENCH = Path(__file__).resolve().parents[4] / "shared" / "lab" / "bench" / "payloads"


def error(kind: str, message: str, frames: list[Frame] | None = None, **values: Any) -> Event:
    """An error with one exception; frames oldest first."""
    exception = ExceptionValue(type=kind, value=message, frames=frames or [])
    return Event(id="0" * 32, kind=Kind.ERROR, timestamp=0, exceptions=[exception], **values)


def frames(*functions: str, file: str = "https://x.org/assets/main.c2bd8183.js", line: int = 2) -> list[Frame]:
    return [
        Frame(function=function, filename=file, lineno=line, colno=100 + line * number, in_app=True)
        for number, function in enumerate(functions)
    ]


def method(grouping: Grouping) -> str:
    return read_explanation(grouping.explanation).method


def decoded(recorded: dict[str, Any]) -> Event:
    """An event as recorded on the wire; enough of it for grouping."""
    values = [
        ExceptionValue(
            type=value["type"] or "",
            value=value["value"] or "",
            frames=[Frame(**frame) for frame in value["stacktrace"]["frames"]],
        )
        for value in (recorded.get("exception") or {}).get("values", [])
    ]
    entry = recorded.get("logentry") or {}
    typed = any(value.type for value in values)
    return Event(
        id="0" * 32,
        kind=Kind.ERROR if typed else Kind.MESSAGE,
        timestamp=0,
        platform=recorded.get("platform", "javascript"),
        message=recorded.get("message") or entry.get("formatted") or entry.get("message") or "",
        message_template=entry.get("message", ""),
        message_params=entry.get("params", []),
        exceptions=values,
        logger=recorded.get("logger", ""),
    )


# ── recorded ──


def test_recorded_events_are_grouped_as_a_person_would() -> None:
    """One hash for each client and label; the clients' bundles have names of their own."""
    by_label: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
    for recorded in json.loads(RECORDED.read_text()):
        by_label[recorded["client"], recorded["group"]].add(group(decoded(recorded["event"])).hash)
    assert {label: len(hashes) for label, hashes in by_label.items()} == dict.fromkeys(by_label, 1)
    by_client: defaultdict[str, list[int]] = defaultdict(list)
    for (client, _), hashes in by_label.items():
        by_client[client] += hashes
    assert all(len(set(hashes)) == len(hashes) for hashes in by_client.values())


def test_what_sdks_word_differently_from_version_to_version_is_one_group() -> None:
    hashes = {
        recorded["group"]: group(decoded(recorded["event"])).hash
        for recorded in json.loads(RECORDED.read_text())
        if recorded["group"] in {"rejection", "template"}
    }
    for recorded in json.loads(RECORDED.read_text()):
        if recorded["group"] in hashes:
            assert group(decoded(recorded["event"])).hash == hashes[recorded["group"]]


@pytest.mark.skipif(not BENCH.exists(), reason=f"no recorded payloads at {BENCH}")
def test_twenty_kinds_of_error_are_twenty_groups() -> None:
    found: set[int] = set()
    for file in sorted(BENCH.glob("*.envelope")):
        body = json.loads(file.read_bytes().split(b"\n")[2])
        for value in body["exception"]["values"]:
            value["stacktrace"]["frames"] = [
                {name: frame[name] for name in ("function", "filename", "in_app", "colno") if name in frame}
                for frame in value["stacktrace"]["frames"]
            ]
        found.add(group(decoded(body)).hash)
    assert len(found) == 20


# ── the same error ──

CHROME = error(
    "TypeError",
    "Cannot read properties of undefined (reading 'total')",
    [
        Frame(function="HTMLButtonElement.<anonymous>", filename="https://x.org/assets/main.c2bd8183.js", in_app=True),
        Frame(function="async Checkout.submit", filename="https://x.org/assets/main.c2bd8183.js", in_app=True),
        Frame(function="Array.map", filename="<anonymous>", in_app=True),
        Frame(function="Object.lineTotal [as price]", filename="https://x.org/assets/main.c2bd8183.js", in_app=True),
    ],
)
FIREFOX = error(
    "TypeError",
    'can\'t access property "total", t is undefined',
    [
        Frame(function="init/<", filename="https://x.org/assets/main.c2bd8183.js", in_app=True),
        Frame(function="async*submit", filename="https://x.org/assets/main.c2bd8183.js", in_app=True),
        Frame(function="lineTotal", filename="https://x.org/assets/main.c2bd8183.js", in_app=True),
    ],
)
SAFARI = error(
    "TypeError",
    "undefined is not an object (evaluating 't.total')",
    [
        Frame(function="?", filename="https://x.org/assets/main.c2bd8183.js", in_app=True),
        Frame(function="submit", filename="https://x.org/assets/main.c2bd8183.js", in_app=True),
        Frame(function="map", filename="[native code]", in_app=True),
        Frame(function="lineTotal", filename="https://x.org/assets/main.c2bd8183.js", in_app=True),
    ],
)


def test_one_error_in_three_browsers_is_one_group() -> None:
    assert group(CHROME).hash == group(FIREFOX).hash == group(SAFARI).hash


def test_one_error_without_any_stack_is_one_group_in_three_browsers() -> None:
    bare = [error("TypeError", event.exceptions[0].value) for event in (CHROME, FIREFOX, SAFARI)]
    assert len({group(event).hash for event in bare}) == 1


def test_one_error_in_unnamed_functions_is_one_group_in_three_browsers() -> None:
    unnamed = [
        error("TypeError", event.exceptions[0].value, frames(name))
        for event, name in ((CHROME, "Object.<anonymous>"), (FIREFOX, "init/<"), (SAFARI, ""))
    ]
    assert len({group(event).hash for event in unnamed}) == 1
    other = error("TypeError", "Cannot read properties of undefined (reading 'price')", frames("?"))
    assert group(other).hash != group(unnamed[0]).hash


def test_a_rebuild_of_the_same_code_is_the_same_group() -> None:
    old = error("TypeError", "no", frames("start", "total", file="https://x.org/assets/main.c2bd8183.js", line=2))
    new = error("TypeError", "no", frames("start", "total", file="https://cdn.org/assets/main.89a58f3a.js?v=2", line=9))
    assert group(old).hash == group(new).hash


def test_minified_names_that_a_build_hands_out_anew_do_not_matter() -> None:
    def built(*names: str) -> Event:
        minified = [
            Frame(function=name, filename="https://x.org/a.js", lineno=1, colno=40_000, in_app=True) for name in names
        ]
        return error("RangeError", "cart 7 is empty", minified)

    assert group(built("r", "Kd.checkout", "e")).hash == group(built("t", "Xc.checkout", "n")).hash


def test_how_deep_a_recursion_went_does_not_matter() -> None:
    deep = error("RangeError", "Maximum call stack size exceeded", frames("start", *["walk", "visit"] * 40))
    deeper = error("InternalError", "too much recursion", frames("start", *["walk", "visit"] * 90))
    assert group(deep).hash == group(deeper).hash


def test_frames_of_the_trackers_own_wrapper_do_not_matter() -> None:
    wrapped = frames("HTMLButtonElement.sentryWrapped", "submit")
    assert group(error("Error", "x", wrapped)).hash == group(error("Error", "x", frames("submit"))).hash


def test_library_frames_do_not_matter_while_there_are_others() -> None:
    react = Frame(function="performWork", filename="webpack:///./node_modules/react-dom/index.js", in_app=True)
    with_it = error("Error", "x", [react, *frames("submit"), react])
    assert group(with_it).hash == group(error("Error", "x", frames("submit"))).hash


def test_the_message_does_not_matter_while_functions_are_named() -> None:
    first, second = (error("Error", f"order {n} of {who}", frames("submit")) for n, who in ((1, "ada"), (2, "bo")))
    assert group(first).hash == group(second).hash


# ── different errors ──


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (error("TypeError", "x", frames("a_function")), error("TypeError", "x", frames("b_function"))),
        (error("TypeError", "x", frames("total")), error("RangeError", "x", frames("total"))),
        (error("Error", "x", frames("total", file="/cart.js")), error("Error", "x", frames("total", file="/pay.js"))),
        (error("Error", "first", frames("?")), error("Error", "second", frames("?"))),
        (error("Error", "first"), error("Error", "second")),
        (error("Error", "dup", frames("start", "?")), error("Error", "boom", frames("start", "?"))),
        (error("ReferenceError", "gtag is not defined"), error("ReferenceError", "fbq is not defined")),
        (error("TypeError", "a.map is not a function"), error("TypeError", "a.trim is not a function")),
        (error("Error", "", frames("one", "two")), error("Error", "", frames("two", "one"))),
        (error("Error", "x", platform="python"), error("ValueError", "x", platform="python")),
    ],
)  # fmt: skip
def test_different_errors_are_different_groups(one: Event, other: Event) -> None:
    assert group(one).hash != group(other).hash


def test_a_custom_type_thrown_without_a_name_needs_no_message() -> None:
    first, second = (error("PaymentError", f"declined for {who}", frames("start", "?")) for who in ("ada", "bo"))
    assert group(first).hash == group(second).hash


# ── chains ──


def chain(*exceptions: ExceptionValue) -> Event:
    return Event(id="0" * 32, kind=Kind.ERROR, timestamp=0, exceptions=list(exceptions))


def test_the_cause_of_an_error_counts() -> None:
    thrown = ExceptionValue(type="PaymentError", value="declined", frames=frames("pay"))
    http = ExceptionValue(type="HttpError", value="402", frames=frames("request"))
    parse = ExceptionValue(type="SyntaxError", value="no JSON", frames=frames("read"))
    assert len({group(chain(thrown)).hash, group(chain(http, thrown)).hash, group(chain(parse, thrown)).hash}) == 3
    assert group(chain(http, thrown)).title == "PaymentError: declined"


def test_the_order_and_number_of_like_errors_in_an_aggregate_do_not_matter() -> None:
    outer = ExceptionValue(type="AggregateError", value="All promises were rejected", frames=frames("load"))
    one, two = (
        ExceptionValue(type="Error", value=value, frames=frames(value)) for value in ("one_source", "two_source")
    )
    assert group(chain(one, two, outer)).hash == group(chain(two, one, two, outer)).hash


# ── fingerprints ──


def test_a_fingerprint_decides_alone() -> None:
    first = error("TypeError", "a", frames("one"), fingerprint=["checkout", "v2"])
    second = error("Error", "b", fingerprint=["checkout", "v2"])
    assert group(first).hash == group(second).hash
    assert group(first).hash != group(error("TypeError", "a", fingerprint=["checkout"])).hash
    assert method(group(first)) == "fingerprint"


@pytest.mark.parametrize("default", ["{{ default }}", "{{default}}"])
def test_default_in_a_fingerprint_stands_for_the_grouping_without_one(default: str) -> None:
    plain = error("TypeError", "a", frames("one"))
    assert group(structs.replace(plain, fingerprint=[default])).hash == group(plain).hash
    refined = [
        group(error("TypeError", "a", frames(name), fingerprint=[default, tenant])).hash
        for name in ("one", "two")
        for tenant in ("acme", "globex")
    ]
    assert len({*refined, group(plain).hash}) == 5


# ── other kinds ──


def of_kind(kind: Kind, **values: Any) -> Event:
    return Event(id="0" * 32, kind=kind, timestamp=0, **values)


def test_messages_group_by_their_template() -> None:
    def logged(text: str, *params: str) -> Event:
        return of_kind(Kind.MESSAGE, message=text, message_template="User %s left", message_params=list(params))

    assert group(logged("User ada left", "ada")).hash == group(logged("User bo left", "bo")).hash
    plain = [of_kind(Kind.MESSAGE, message=f"user {n} left") for n in (17, 4711)]
    assert group(plain[0]).hash == group(plain[1]).hash
    assert group(plain[0]).hash != group(of_kind(Kind.MESSAGE, message="user 17 joined")).hash
    assert group(logged("User ada left", "ada")).title == "User ada left"


def test_white_screens_group_by_page() -> None:
    first, second, other = (
        of_kind(Kind.WHITE_SCREEN, url=f"https://x.org/{path}") for path in ("orders/17", "orders/4711?a=1", "cart")
    )
    assert group(first).hash == group(second).hash != group(other).hash
    assert group(first).title == "White screen on /orders/*"


def test_failed_resources_group_by_tag_host_and_path() -> None:
    def failed(tag: str, url: str) -> Event:
        return of_kind(Kind.RESOURCE_ERROR, url="https://x.org/", contexts={"resource": {"tag": tag, "url": url}})

    first = failed("script", "https://x.org/assets/main.c2bd8183.js")
    assert group(first).hash == group(failed("SCRIPT", "https://x.org/assets/main.89a58f3a.js?x=1")).hash
    assert group(first).hash != group(failed("img", "https://x.org/assets/main.c2bd8183.js")).hash
    assert group(first).hash != group(failed("script", "https://ads.net/assets/main.c2bd8183.js")).hash
    assert group(first).title == "Failed to load script: /assets/main.*.js"


def test_csp_reports_group_by_directive_and_what_was_blocked() -> None:
    def blocked(directive: str, uri: str) -> Event:
        return of_kind(Kind.CSP, contexts={"csp": {"effective-directive": directive, "blocked-uri": uri}})

    first = blocked("script-src-elem", "https://evil.example/a.js?x=1")
    assert group(first).hash == group(blocked("script-src-elem", "https://evil.example/b.js")).hash
    hashes = {
        group(event).hash
        for event in (first, blocked("img-src", "https://evil.example/a.js"), blocked("script-src-elem", "inline"))
    }
    assert len(hashes) == 3
    assert group(first).title == "Blocked by script-src-elem: evil.example"


# ── words and reasons ──


def test_title_culprit_and_type_say_what_and_where() -> None:
    grouping = group(error("TypeError", "Uncaught TypeError: x\nis null", frames("start", "Cart.total")))
    assert (grouping.title, grouping.culprit, grouping.type) == (
        "TypeError: x",
        "assets/main.*.js in total",
        "TypeError",
    )
    assert group(error("", "")).title == "(no message)"


def test_the_explanation_tells_what_was_hashed_and_what_it_was_made_from() -> None:
    why = read_explanation(group(CHROME).explanation)
    assert why.method == "stack"
    assert [(part.name, part.value) for part in why.parts] == [
        ("type", "TypeError"),
        ("frame", "lineTotal assets/main.*.js"),
        ("frame", "submit assets/main.*.js"),
    ]
    assert why.parts[1].raw == "Object.lineTotal [as price] (https://x.org/assets/main.c2bd8183.js)"


def test_an_explanation_of_an_unknown_form_is_shown_as_unknown() -> None:
    for stored in ("{}", "not json", b"\xff", '{"method": 7}'):
        assert read_explanation(stored).summary != ""


# ── whatever comes ──

names = st.text(max_size=60)
stack = st.lists(
    st.builds(
        Frame, function=names, filename=names, abs_path=names, module=names, in_app=st.sampled_from([None, True, False])
    ),
    max_size=5,
)


@given(
    kind=st.sampled_from(Kind),
    message=st.text(max_size=200),
    exceptions=st.lists(st.builds(ExceptionValue, type=names, value=names, frames=stack), max_size=3),
    fingerprint=st.lists(names, max_size=3),
    url=names,
)
def test_whatever_an_event_holds_it_is_grouped_and_always_the_same(
    kind: Kind, message: str, exceptions: list[ExceptionValue], fingerprint: list[str], url: str
) -> None:
    event = of_kind(kind, message=message, exceptions=exceptions, fingerprint=fingerprint, url=url)
    first = group(event)
    assert 0 < first.hash < 1 << 64
    assert first.version == VERSION
    assert "\n" not in first.title
    assert group(event) == first
    assert read_explanation(first.explanation).method != ""


def test_hashes_are_the_same_in_every_process() -> None:
    """Python's own hashes differ from process to process; group hashes are stored for life."""
    code = (
        "from appliance.issues.grouping import group\n"
        "from appliance.model import Event, Kind\n"
        "print(group(Event(id='0' * 32, kind=Kind.MESSAGE, timestamp=0, message='order 17 failed')).hash)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert int(found) == group(of_kind(Kind.MESSAGE, message="order 17 failed")).hash


def test_version_1_gives_the_hashes_it_always_gave() -> None:
    """Hashes lead to issues for life. If this fails, make version 2 beside version 1; do not change these numbers."""
    assert {
        "stack": group(CHROME).hash,
        "unnamed": group(error("TypeError", "undefined is not an object (evaluating 't.total')", frames("?"))).hash,
        "message": group(error("Error", "order 17 failed")).hash,
        "fingerprint": group(error("Error", "x", fingerprint=["a", "{{ default }}"])).hash,
        "white screen": group(of_kind(Kind.WHITE_SCREEN, url="https://x.org/orders/17")).hash,
    } == {
        "stack": 14690792538143232903,
        "unnamed": 8577252616837677170,
        "message": 16492584978042086433,
        "fingerprint": 12007179046037077483,
        "white screen": 13672785876309393504,
    }


def test_grouping_loads_nothing_heavy() -> None:
    code = (
        "import sys, appliance.issues.grouping\n"
        "print([name for name in ('sqlalchemy', 'litestar', 'chdb', 'emails', 'asyncio') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.strip() == "[]"
