"""Stack traces as the text that browsers make of them: Chrome's, Firefox's and Safari's formats to frames.

Not for source maps; positions are those of the code as it was served.
"""

from __future__ import annotations

import re
from typing import Final

from appliance.decoding import cut
from appliance.model import MAX_FRAMES, MAX_LABEL, MAX_MESSAGE, MAX_URL, Frame

MAX_STACK: Final = 256 * 1024  # characters looked at; a stack overflow in Firefox has 128 KiB
_MAX_LINE: Final = 4_096  # characters of one line; data: URLs make them longer
_MAX_POSITION: Final = 2**31 - 1

# Each pattern looks at a character a bounded number of times: the text is hostile.
_POSITION: Final = re.compile(r":(?P<line>\d{1,9})(?::(?P<column>\d{1,9}))?\Z")
_MAX_POSITION_TEXT: Final = 20  # characters of ":123456789:123456789"
_EVAL_CHROME: Final = re.compile(r"\((?P<place>[^()\n]{0,2048}:\d{1,9}:\d{1,9})\)")
_EVAL_GECKO: Final = re.compile(r"(?P<file>[^\n]*?) line (?P<line>\d{1,9})(?: > (?:eval|Function))++.*")
_TITLE: Final = re.compile(r"(?:Uncaught (?:\(in promise\) )?)?(?P<type>[A-Za-z_$][\w$.]{0,199}): ?(?P<value>[\s\S]*)")
_VENDOR: Final = re.compile(
    r"^(?:(?:chrome|moz|safari|safari-web|webkit-masked|ms-browser)-extension:|node:|native)"
    r"|^(?:\[native code\]|<anonymous>)|/node_modules/|/bower_components/"
)


def parse_stack(stack: str) -> list[Frame]:
    """Frames of a stack text, oldest call first; lines that are none are left out."""
    lines = stack[:MAX_STACK].split("\n")
    if len(lines) > 2 * MAX_FRAMES:  # `bound_event` cuts to half of these and says so
        lines = lines[: MAX_FRAMES + 1] + lines[-MAX_FRAMES:]
    frames = [frame for frame in map(_frame, lines) if frame is not None]
    frames.reverse()
    return frames


def split_title(text: str) -> tuple[str, str]:
    """("TypeError", "boom") of "Uncaught TypeError: boom"; ("", text) when no type is named."""
    found = _TITLE.fullmatch(text[: 2 * MAX_MESSAGE])
    if found is None or not found["type"].endswith(("Error", "Exception")):  # "Failed: …" is a sentence
        return "", strip_uncaught(text)
    return found["type"], found["value"]


def strip_uncaught(message: str) -> str:
    """Without what browsers put in front of a message that nobody caught."""
    for prefix in ("Uncaught (in promise) ", "Uncaught exception: ", "uncaught exception: ", "Uncaught "):
        if message.startswith(prefix):
            return message[len(prefix) :]
    return message


def title_of(stack: str) -> tuple[str, str]:
    """Type and message from the first lines of a Chrome stack; ("", "") for Firefox and Safari, which have none."""
    head = stack[: 4 * MAX_MESSAGE]
    end = head.find("\n    at ")
    title = head if end < 0 else head[:end]
    if end < 0 and _frame(head.partition("\n")[0]) is not None:
        return "", ""
    found = _TITLE.fullmatch(title)
    if found is not None and _is_class_name(found["type"]):
        return found["type"], found["value"]
    bare = title.strip()
    return (bare, "") if _is_class_name(bare) else ("", "")


def top_frame(filename: str, lineno: int | None, colno: int | None) -> list[Frame]:
    """One frame from an error event's own fields, for an error without a stack."""
    if not filename and not lineno:
        return []
    return [_made("?", filename, lineno, colno)]


def _is_class_name(name: str) -> bool:
    """Errors of any class may be thrown, so this asks for no more than a capital and no blanks."""
    return len(name) <= MAX_LABEL and name[:1].isupper() and name.replace(".", "").replace("_", "").isalnum()


def _frame(line: str) -> Frame | None:
    """One line, or None when it is no frame."""
    found = line.strip()
    if not found or len(found) > _MAX_LINE:
        return None
    if found.startswith("at "):
        return _chrome_frame(found[3:])
    function, at, place = found.partition("@")
    if not at or "://" in function:  # Safari's frames without a function, and addresses that hold an @
        function, place = "", found
        if _position(place) is None and place != "[native code]":
            return None
    elif not _is_place(place):
        return None
    return _gecko_frame(function, place)


def _is_place(text: str) -> bool:
    return _position(text) is not None or text == "[native code]" or " line " in text


def _chrome_frame(found: str) -> Frame | None:
    """`async Cart.total [as sum] (https://x/app.js:1:23)`, or the place alone."""
    if not found.endswith(")") or " (" not in found:
        place = found.removeprefix("async ")
        if _position(place) is None and place not in {"native", "<anonymous>"}:
            return None  # a sentence that begins with "at"
        return _placed("async ?" if place != found else "?", place)
    function, _, inside = found[:-1].partition(" (")
    if inside.startswith("eval at"):
        origin = _EVAL_CHROME.search(inside)
        inside = origin["place"] if origin is not None else inside.rpartition(", ")[2]
    return _placed(function or "?", inside)


def _gecko_frame(function: str, place: str) -> Frame:
    """`total@https://x/app.js:1:23`, with Firefox's `async*` before the function and `/<` behind it."""
    function = function.removeprefix("async*").strip() or "?"
    evaluated = _EVAL_GECKO.fullmatch(place)
    if evaluated is not None:
        return _made(function, evaluated["file"], int(evaluated["line"]), None)
    return _placed(function, place)


def _placed(function: str, place: str) -> Frame:
    found = _position(place)
    if found is None:
        return _made(function, place, None, None)
    column = found["column"]
    return _made(function, place[: -len(found[0])], int(found["line"]), int(column) if column else None)


def _position(place: str) -> re.Match[str] | None:
    """Line and column at the end of a place; only its end is looked at, however long it is."""
    return _POSITION.search(place[-_MAX_POSITION_TEXT:])


def _made(function: str, filename: str, lineno: int | None, colno: int | None) -> Frame:
    filename = cut(filename.strip(), MAX_URL)
    name = cut(function.strip(), MAX_LABEL)
    return Frame(
        function="?" if name in {"", "<anonymous>", "Anonymous function"} else name,
        filename=filename,
        lineno=min(lineno, _MAX_POSITION) if lineno is not None else None,
        colno=min(colno, _MAX_POSITION) if colno is not None else None,
        in_app=False if _VENDOR.search(filename) else None,
    )
