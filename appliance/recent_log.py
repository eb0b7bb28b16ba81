"""The last lines of the process's log, kept in memory for the support bundle, and what of a line may leave the house.

A line may quote anything: an event that a store refused, an address with a password. So of each line only what cannot
hold such things goes on: times, levels, our own words, numbers, names of parts, places in the code.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import traceback
from collections import deque
from collections.abc import Mapping
from typing import Any, Final, cast

KEPT: Final = 1_000  # lines, of some 300 bytes
MAX_TEXT: Final = 160
# Fields whose texts are ours: names of jobs, parts and files. All other texts are left out, and their length is said.
SAFE_FIELDS: Final = frozenset(
    {
        "job", "verb", "plugin", "notifier", "channel", "table", "segment", "directory", "file", "what", "step", "role",
        "revision", "signal", "protocol", "hook", "service", "check", "code", "state", "version",
    }
)  # fmt: skip
OUR_LOGGERS: Final = ("appliance", "condev_plugins")
_MARKUP: Final = re.compile(r"[^\w .,;:'/()%+*=-]")

Line = dict[str, Any]


class RecentLines(logging.Handler):
    """Keeps what `safe_line` makes of each record."""

    def __init__(self) -> None:
        """Nothing is kept yet."""
        super().__init__()
        self._lines: deque[Line] = deque(maxlen=KEPT)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        message = cast("object", record.msg)
        fields: Line = (
            dict(cast("Mapping[str, Any]", message)) if isinstance(message, dict) else {"event": str(message)}
        )
        fields |= {"level": record.levelname.lower(), "logger": record.name}
        if "timestamp" not in fields:
            fields["timestamp"] = logging.Formatter("%(asctime)s").formatTime(record)
        error = record.exc_info[1] if record.exc_info else fields.pop("exc_info", None)
        if error is True:  # "the one that is being handled"
            error = sys.exc_info()[1]
        if isinstance(error, BaseException):
            fields["exception"] = "".join(traceback.format_exception(error))
        self._lines.append(safe_line(fields))

    def lines(self) -> list[Line]:
        """The oldest first."""
        return list(self._lines)


RECENT: Final = RecentLines()


def safe_line(fields: Mapping[str, Any]) -> Line:
    """What of a line may be shown to somebody outside.

    Args:
        fields: of a structured line, ours or read back from a log in JSON.
    """
    logger = str(fields.get("logger", ""))
    safe: Line = {name: str(fields.get(name, ""))[:64] for name in ("timestamp", "level")}
    safe["logger"] = logger[:100]
    if logger.startswith(OUR_LOGGERS):
        safe["event"] = safe_text(fields.get("event", ""))
    for name, value in fields.items():
        if name in safe or name in ("event", "exception"):
            continue
        if isinstance(value, bool | int | float) or value is None:
            safe[name[:40]] = value
        elif name in SAFE_FIELDS:
            safe[name] = safe_text(value)
        else:
            safe[name[:40]] = f"({len(str(value))} characters left out)"
    if fields.get("exception"):
        safe["exception"] = _places(str(fields["exception"]))
    return safe


def safe_text(value: object) -> str:
    """Words of ours: up to the first colon, behind which others are quoted, and without anything unusual."""
    return _MARKUP.sub("?", str(value).split(": ", 1)[0])[:MAX_TEXT]


def parse_line(line: str) -> Line | None:
    """A line of a log in JSON, as Compose shows it, made safe; None for any other."""
    start = line.find("{")
    try:
        fields = json.loads(line[start:]) if start >= 0 else None
    except ValueError:
        return None
    return safe_line(cast("Line", fields)) if isinstance(fields, dict) else None


_PLACE: Final = re.compile(r'^\s*File "([^"\n]{1,300})", line (\d+), in ([\w<>]{1,100})$', re.MULTILINE)
_KIND: Final = re.compile(r"^([A-Za-z_][\w.]{0,100})(?::|$)", re.MULTILINE)


def _places(text: str) -> list[str]:
    """Where an error came from, and of which kind it was; never what it said."""
    found = [f"{path.rpartition('site-packages/')[2]}:{line} {name}" for path, line, name in _PLACE.findall(text)]
    kinds = [
        kind for kind in _KIND.findall(text) if kind.endswith(("Error", "Exception", "Exit", "Interrupt", "Group"))
    ]
    return [*found[-30:], *kinds[-3:]]
