"""The same built-in error in the words of Chrome (V8), Firefox (SpiderMonkey) and Safari (JavaScriptCore).

A table of equivalents: each line gives one canonical form, and what of the message belongs to it (a variable or
member that every engine names). Not for messages that applications write: those are `parameterise`d.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from msgspec import Struct

CACHE: Final = 4_096
MAX_LOOKED_AT: Final = 400  # characters; engines' own messages are short, what follows is a quotation


# Types that one engine alone gives an error which others know by another; only then is a table look-up needed.
ENGINE_TYPES: Final = frozenset(
    {"InternalError", "NS_ERROR_DOM_QUOTA_REACHED", "NS_ERROR_STORAGE_IOERR", "QUOTA_EXCEEDED_ERR", "DOMException"}
)
# Under these an engine or a browser throws; every other type is an application's, and so are its messages.
DOM_ERRORS: Final = frozenset(
    {
        "AbortError", "ConstraintError", "DataCloneError", "DataError", "EncodingError", "HierarchyRequestError",
        "InvalidAccessError", "InvalidCharacterError", "InvalidNodeTypeError", "InvalidStateError", "NetworkError",
        "NotAllowedError", "NotFoundError", "NotReadableError", "NotSupportedError", "OperationError",
        "OverconstrainedError", "QuotaExceededError", "ReadOnlyError", "SecurityError", "TimeoutError",
        "TransactionInactiveError", "UnknownError", "VersionError", "WrongDocumentError",
    }
)  # fmt: skip
ENGINE_ERRORS: Final = (
    frozenset({"TypeError", "ReferenceError", "RangeError", "SyntaxError", "EvalError", "URIError", "ChunkLoadError"})
    | DOM_ERRORS
    | ENGINE_TYPES
)
_PLAIN: Final = " Error UnhandledRejection"  # for lines that engines throw as a plain error


class Wording(Struct, frozen=True, gc=False):
    """An engine's message in canonical form."""

    text: str  # the same for all engines
    type: str  # the error's type, the one that all engines share
    member: str = ""  # what it was about, when the engine says so; not all do


class Equivalent(Struct, frozen=True):
    """One line of the table."""

    text: str  # may hold {name}, when every engine names it
    patterns: tuple[re.Pattern[str], ...]
    type: str  # what an engine's own type of it becomes
    only: frozenset[str]  # the types under which engines throw it; an application's `Error` may use the same words


def _line(text: str, *patterns: str, kind: str = "", only: str = "") -> Equivalent:
    compiled = tuple(re.compile(pattern, re.IGNORECASE) for pattern in patterns)
    return Equivalent(text, compiled, kind, frozenset(only.split()) or ENGINE_ERRORS)


# (?P<of>…) undefined or null; (?P<quoted>…) a member as it is; (?P<name>…) an expression, whose last member counts.
_NOTHING: Final = r"(?P<of>undefined|null)"
_TABLE: Final = (
    # Reading, setting and destructuring are one line: Firefox words all three alike.
    _line(
        "access to a member of {of}",
        rf"Cannot (?:read|set) propert(?:y|ies) (?:'(?P<quoted>[^']*)' )?of {_NOTHING}"
        r"(?: \((?:reading|setting) '(?P<member>[^']*)'\))?",
        rf"can't access (?:property )?\"?(?P<quoted>[^\"]*?)\"?(?: property)?(?:,| of) .*?\b{_NOTHING}\b",
        rf"Cannot destructure (?:property )?'?(?P<quoted>[\w$]*)'?.* as it is {_NOTHING}",
        rf"{_NOTHING} is not an object(?: \(evaluating '(?P<name>.*)'\))?",
        rf"(?:Unable to get|Unable to set) property '(?P<quoted>[^']*)' of {_NOTHING}",
        rf"(?:can't convert|Cannot convert) (?:undefined or )?{_NOTHING}(?: or null)? to object",
        rf"{_NOTHING} has no properties$",
        rf"(?:[\w$.\[\]()'\"]|\(intermediate value\)|\(destructured parameter\))+ is {_NOTHING}$",
        only="TypeError",
    ),
    _line(
        "{name} is not a function",
        r"undefined is not a function \(near '\.*(?P<near>.*?)\.*'\)",
        r"(?P<name>\S.*?) is not a function(?:\. \(In '.*)?$",
        r"(?P<name>\S.*?) is not a function\b",
        r"Object doesn't support property or method '(?P<name>[^']*)'",
    ),
    _line(
        "{name} is not defined",
        r"(?P<name>[\w$]+) is not defined$",
        r"Can't find variable: (?P<name>[\w$]+)",
        r"'(?P<name>[\w$]+)' is undefined$",
    ),
    _line(
        "use of a variable before its initialization",
        r"Cannot access '(?P<quoted>[^']*)' before initialization",
        r"can't access lexical declaration ['\"`]?(?P<quoted>[\w$]*)['\"`]? before initialization",
        r"Cannot access uninitialized variable",
    ),
    _line(
        "assignment to something read-only",
        r"Assignment to constant variable",
        r"invalid assignment to const",
        r"Attempted to assign to readonly property",
        r"Cannot assign to read[ -]?only property",
        r"\"?.*\"? is read-only$",
        r"setting getter-only property|Cannot set property .* which has only a getter",
    ),
    _line("not a constructor", r".* is not a constructor"),
    _line(
        "something is not iterable",
        r".* is not iterable",
        r"object is not iterable",
        r"Spread syntax requires .*iterable",
        r"(?:undefined|null) is not iterable",
    ),
    _line(
        "a class constructor needs new",
        r"Class constructor \S+ cannot be invoked without 'new'",
        r"class constructors must be invoked with 'new'",
        r"Cannot call a class constructor .*without \|new\|",
    ),
    _line(
        "circular structure as JSON",
        r"Converting circular structure to JSON",
        r"cyclic object value",
        r"JSON\.stringify cannot serialize cyclic structures",
        kind="TypeError",
    ),
    _line(
        "stack overflow",
        r"Maximum call stack size exceeded",
        r"too much recursion",
        r"Out of stack space",
        kind="RangeError",
    ),
    _line("invalid date", r"Invalid time value", r"invalid date\b", r"date value is not finite", kind="RangeError"),
    _line(
        "invalid array length",
        r"Invalid array length",
        r"Array size is not a small enough positive integer",
        r"Array length must be",
        kind="RangeError",
    ),
    _line(
        "number of digits out of range",
        r"to(?:Fixed|Precision|Exponential)\(\) (?:digits )?argument must be between",
        r"precision -?\d+ out of range",
        kind="RangeError",
    ),
    _line(
        "operator in on something that is no object",
        r"Cannot use 'in' operator to search for",
        r"cannot use 'in' operator",
        r".* is not an Object\. \(evaluating '.* in ",
    ),
    _line(
        "operator instanceof without a class",
        r"Right-hand side of 'instanceof' is not (?:callable|an object)",
        r"invalid 'instanceof' operand",
        r"Right hand side of instanceof is not (?:an object|callable)",
    ),
    # JSON
    _line(
        "JSON cannot be parsed",
        r"Unexpected (?:token|end of JSON|non-whitespace|number|string)\b.*\bJSON\b",
        r"JSON\.parse: ",
        r"JSON Parse error: ",
        r"Unexpected end of JSON input",
        r"Unexpected token .{1,20} in JSON",
        r"(?:Unterminated string|Bad control character|Bad escaped character|Expected .*) in JSON",
        r"\"undefined\" is not valid JSON",
        kind="SyntaxError",
    ),
    # network, modules, media
    _line(
        "a script chunk could not be loaded",
        r"Loading (?:CSS )?chunk \S+ failed",
        r"Failed to fetch dynamically imported module",
        r"error loading dynamically imported module",
        r"Importing a module script failed",
        r"Unable to preload CSS for",
        r"'?text/html'? is not a valid JavaScript MIME type",
        r"Failed to load module script",
        only="ChunkLoadError TypeError SyntaxError" + _PLAIN,
    ),
    _line(
        "a request failed on the network",
        r"Failed to fetch\b",
        r"NetworkError when attempting to fetch resource",
        r"Load failed\b",
        r"Network request failed$",
        r"The network connection was lost",
        r"The Internet connection appears to be offline",
        r"The request timed out\.?$",
        r"A server with the specified hostname could not be found",
        r"Could not connect to the server",
        r"cancelled$",
        r"Fetch API cannot load",
        only="TypeError",
    ),
    _line(
        "an operation was aborted",
        r"(?:signal is aborted without reason|The user aborted a request)",
        r"The operation was aborted",
        r"Fetch is aborted",
        r"(?:BodyStreamBuffer was aborted|Aborted due to timeout|Request aborted$)",
        r"The play\(\) request was interrupted",
        kind="AbortError",
    ),
    _line(
        "play() without a gesture",
        r"play\(\) failed because the user didn't interact",
        r"The play method is not allowed by the user agent",
        r"The request is not allowed by the user agent or the platform in the current context",
        kind="NotAllowedError",
    ),
    # DOM and browser
    _line(
        "storage quota exceeded",
        r".*exceeded the quota",
        r"The quota has been exceeded",
        r"QuotaExceededError",
        r"Persistent storage maximum size reached",
        r"The operation failed because it would cause the application to exceed its storage quota",
        kind="QuotaExceededError",
    ),
    _line(
        "ResizeObserver loop",
        r"ResizeObserver loop (?:limit exceeded|completed with undelivered notifications)",
        only=_PLAIN,
    ),
    _line("an error of a script from another origin", r"Script error\.?$", only=_PLAIN),
    _line(
        "a node is not where it was",
        r"Failed to execute '(?:removeChild|insertBefore|replaceChild)' on 'Node': The node .* is not a child",
        r"Node\.(?:removeChild|insertBefore|replaceChild): .*is not a child",
        r"The object can not be found here",
        kind="NotFoundError",
    ),
    _line(
        "an invalid selector",
        r".*is not a valid selector",
        r"The string did not match the expected pattern",
        kind="SyntaxError",
    ),
    _line(
        "access across origins refused",
        r"Blocked a frame with origin .* from accessing",
        r"Permission denied to access property",
        r"Permission denied to get property",
        only="SecurityError" + _PLAIN,
    ),
    _line(
        "access to storage refused",
        r"Failed to read the '\w+' property from '(?:Window|Document)': Access is denied",
        r"(?:Window|Document)\.\w+: Access denied|The operation is insecure",
        r"Forbidden in a sandboxed document",
        kind="SecurityError",
    ),
    _line(
        "something that is no error was rejected with",
        r"Non-Error promise rejection captured with (?:keys|value)",
        r"Object captured as promise rejection with keys",
        r"Event `.*` \(type=.*\) captured as promise rejection",
        only=_PLAIN,
    ),
    _line(
        "something that is no error was captured",
        r"Non-Error exception captured with keys",
        r"Object captured as exception with keys",
        only=_PLAIN,
    ),
)
# These keep their own number, which is their name.
_NUMBERED: Final = re.compile(r"Minified (\w+) error #(\d+)|(?:\w+: )?(NG0?\d{3,5})\b", re.IGNORECASE)
_UNCAUGHT: Final = re.compile(
    r"^(?:Uncaught (?:\(in promise\):? ?)?|Unhandled (?:promise )?rejection:? )+", re.IGNORECASE
)
_TYPED: Final = re.compile(r"^([A-Z][\w$]{0,60}(?:Error|Exception|Warning)): +")
_LAST_MEMBER: Final = re.compile(r"(?:\.|\?\.|\[['\"]?)?#?([\w$]+)['\"]?\]?\)?\s*(?:\(.*\))?\s*$")


def without_prefix(kind: str, message: str) -> tuple[str, str]:
    """An error's type and message without "Uncaught" and with the type where it belongs."""
    text = _UNCAUGHT.sub("", message)
    typed = _TYPED.match(text)
    if typed and kind in {"", typed[1]}:
        return typed[1], text[typed.end() :]
    return kind, text


@lru_cache(CACHE)
def wording_of(kind: str, message: str) -> Wording | None:
    """The canonical form of an engine's message, None for any other.

    Args:
        kind: the error's type as reported; "" when it is not known.
        message: its message, without "Uncaught".
    """
    kind = kind or "Error"
    if kind not in ENGINE_ERRORS and kind not in _PLAIN.split():
        return None
    text = message[:MAX_LOOKED_AT].strip()
    numbered = _NUMBERED.match(text)
    if numbered:
        return Wording(f"{numbered[1]} error #{numbered[2]}" if numbered[1] else numbered[3].upper(), kind)
    for equivalent in _TABLE:
        if kind not in equivalent.only:
            continue
        for pattern in equivalent.patterns:
            match = pattern.match(text)
            if match:
                return _canonical(equivalent, kind, match)
    return None


def _canonical(equivalent: Equivalent, kind: str, match: re.Match[str]) -> Wording:
    found = match.groupdict()
    member = found.get("quoted") or found.get("member") or _last_member(found.get("name") or "")
    text = equivalent.text.format(
        of=(found.get("of") or "").lower(), name=member or _last_member(found.get("near") or "")
    )
    reported = equivalent.type if equivalent.type and kind in ENGINE_TYPES else kind
    return Wording(text, reported, member)


def _last_member(expression: str) -> str:
    """`t.customer.address` → `address`; of an assignment or call, what is assigned or called."""
    expression = expression.partition(" = ")[0].strip()
    match = _LAST_MEMBER.search(expression)
    return match[1] if match else ""
