"""The same built-in error in the words of three engines."""

from __future__ import annotations

import pytest

from appliance.issues.grouping.wording import MAX_LOOKED_AT, without_prefix, wording_of

SAME = {
    "access to undefined": (
        "TypeError",
        "Cannot read properties of undefined (reading 'x')",
        "Cannot read property 'x' of undefined",
        "Cannot set properties of undefined (setting 'x')",
        "undefined is not an object (evaluating 'a.x')",
        "undefined is not an object (evaluating 'a[\"x\"] = 1')",
        'can\'t access property "x", a is undefined',
        "a is undefined",
        "this.rows[0] is undefined",
        "Cannot destructure property 'x' of 'a.b' as it is undefined.",
    ),
    "access to null": (
        "TypeError",
        "Cannot read properties of null (reading 'x')",
        "null is not an object (evaluating 'a.x')",
        'can\'t access property "x", a is null',
        "a.b is null",
        "null has no properties",
    ),
    "not a function": (
        "TypeError",
        "a.total is not a function",
        "e.total is not a function. (In 'e.total(1)', 'e.total' is undefined)",
        "(intermediate value).total is not a function",
        "a(...).b.total is not a function",
    ),
    "not defined": ("ReferenceError", "gtag is not defined", "Can't find variable: gtag"),
    "not initialized": (
        "ReferenceError",
        "Cannot access 'x' before initialization",
        "can't access lexical declaration 'x' before initialization",
        "Cannot access uninitialized variable.",
    ),
    "constant": (
        "TypeError",
        "Assignment to constant variable.",
        "invalid assignment to const 'x'",
        "Attempted to assign to readonly property.",
    ),
    "fetch": (
        "TypeError",
        "Failed to fetch",
        "Failed to fetch (api.example.org)",
        "NetworkError when attempting to fetch resource.",
        "Load failed",
        "Load failed (api.example.org)",
    ),
    "json": (
        "SyntaxError",
        "Unexpected token '<', \"<!DOCTYPE \"... is not valid JSON",
        "Unexpected token < in JSON at position 0",
        "Unexpected end of JSON input",
        "JSON.parse: unexpected character at line 1 column 1 of the JSON data",
        "JSON Parse error: Unrecognized token '<'",
        "Expected property name or '}' in JSON at position 1 (line 1 column 2)",
    ),
    "chunk": (
        "TypeError",
        "Failed to fetch dynamically imported module: https://x.org/cart-DiwrgTda.js",
        "error loading dynamically imported module: https://x.org/cart-DiwrgTda.js",
        "Importing a module script failed.",
    ),
    "resize": (
        "Error",
        "ResizeObserver loop limit exceeded",
        "ResizeObserver loop completed with undelivered notifications.",
    ),
    "quota": (
        "QuotaExceededError",
        "Failed to execute 'setItem' on 'Storage': Setting the value of 'a' exceeded the quota.",
        "The quota has been exceeded.",
    ),
    "cycle": (
        "TypeError",
        "Converting circular structure to JSON\n    --> starting at object with constructor 'a'",
        "cyclic object value",
        "JSON.stringify cannot serialize cyclic structures.",
    ),
    "rejection": (
        "UnhandledRejection",
        "Non-Error promise rejection captured with keys: a, b",
        "Object captured as promise rejection with keys: a, b",
    ),
}


@pytest.mark.parametrize("name", SAME)
def test_engines_say_the_same_thing_in_different_words(name: str) -> None:
    kind, *messages = SAME[name]
    found = [wording_of(kind, message) for message in messages]
    assert None not in found
    assert len({wording.text for wording in found if wording}) == 1


def test_each_line_of_the_table_is_another_error() -> None:
    texts = {wording_of(kind, messages[0]) for kind, *messages in SAME.values()}
    assert len(texts) == len(SAME)


def test_stack_overflow_is_one_type_in_all_engines() -> None:
    chrome, firefox = (
        wording_of("RangeError", "Maximum call stack size exceeded"),
        wording_of("InternalError", "too much recursion"),
    )
    assert chrome is not None
    assert chrome == firefox


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("Error", "user is undefined"),  # somebody's own words
        ("PaymentError", "Failed to fetch"),
        ("Error", "Failed to fetch"),
        ("TypeError", "The order is null"),
        ("Error", "cancelled"),
        ("TypeError", ""),
    ],
)
def test_what_an_application_says_is_left_alone(kind: str, message: str) -> None:
    assert wording_of(kind, message) is None


def test_what_it_was_about_is_found_in_every_engines_words() -> None:
    members = [
        wording_of("TypeError", message)
        for message in (
            "Cannot read properties of undefined (reading 'address')",
            "undefined is not an object (evaluating 't.customer.address')",
            'can\'t access property "address", t.customer is undefined',
        )
    ]
    assert {wording.member for wording in members if wording} == {"address"}


def test_numbered_errors_keep_their_number() -> None:
    first = wording_of("Error", "Minified React error #418; visit https://react.dev/errors/418")
    second = wording_of("Error", "Minified React error #423; visit https://react.dev/errors/423")
    assert first is not None
    assert second is not None
    assert first != second


@pytest.mark.parametrize(
    ("kind", "message", "expected"),
    [
        ("", "Uncaught TypeError: x is null", ("TypeError", "x is null")),
        ("TypeError", "Uncaught TypeError: x is null", ("TypeError", "x is null")),
        ("", "Uncaught (in promise) RangeError: no", ("RangeError", "no")),
        ("Error", "Uncaught boom", ("Error", "boom")),
        ("Error", "TypeError: of another", ("Error", "TypeError: of another")),
        ("", "boom", ("", "boom")),
    ],
)
def test_uncaught_is_no_part_of_a_message(kind: str, message: str, expected: tuple[str, str]) -> None:
    assert without_prefix(kind, message) == expected


@pytest.mark.parametrize(
    "unit", ["a", "'", "is null ", "a.b ", "[x", "(", '"', "undefined is not an object (evaluating '"]
)
def test_no_text_makes_the_table_slow(unit: str) -> None:
    for _ in range(20):
        wording_of.__wrapped__("TypeError", unit * MAX_LOOKED_AT)
