"""Messages without what differs each time: numbers, ids, addresses, dates, quoted values become placeholders.

One pass of one pattern; every alternative starts where a word starts and is bounded, so that no text makes it slow.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

MAX_MESSAGE: Final = 1_024  # characters that count for grouping: what follows is data, not a description
CACHE: Final = 4_096  # messages; at most some 4 MB

_WORD_START: Final = r"(?<![A-Za-z0-9_])"
_WORD_END: Final = r"(?![A-Za-z0-9_])"
_PATTERN: Final = re.compile(
    rf"""
    (?P<url>{_WORD_START}[A-Za-z][A-Za-z0-9+.-]{{1,20}}://[^\s"'`<>)\]}}]{{1,1024}})
  | (?P<email>(?<![\w.+-])[\w.+-]{{1,64}}@[A-Za-z0-9-]{{1,63}}(?:\.[A-Za-z0-9-]{{1,63}}){{1,8}})
  | (?P<uuid>{_WORD_START}[0-9a-fA-F]{{8}}-(?:[0-9a-fA-F]{{4}}-){{3}}[0-9a-fA-F]{{12}}{_WORD_END})
  | (?P<date>
        {_WORD_START}\d{{4}}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d{{1,9}})?)?
          (?:\ ?(?:Z|UTC|GMT|[+-]\d\d:?\d\d))?)?{_WORD_END}
      | {_WORD_START}(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]{{0,6}},?\ )?
        (?:\d{{1,2}}\ (?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]{{0,6}}
          |(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]{{0,6}}\ \d{{1,2}}),?\ \d{{4}}
        (?:\ \d\d:\d\d(?::\d\d)?(?:\ (?:GMT|UTC)(?:[+-]\d{{4}})?(?:\ \([^)]{{1,60}}\))?)?)?{_WORD_END}
      | {_WORD_START}\d{{1,2}}[/.]\d{{1,2}}[/.]\d{{4}}(?:,?\ \d{{1,2}}:\d\d(?::\d\d)?(?:\ [AP]M)?)?{_WORD_END}
      | {_WORD_START}\d{{1,2}}:\d\d:\d\d(?:[.,]\d{{1,9}})?(?:\ ?[AP]M)?{_WORD_END}
    )
  | (?P<ip>{_WORD_START}\d{{1,3}}(?:\.\d{{1,3}}){{3}}(?::\d{{1,5}})?{_WORD_END})
  | (?P<value>
        "[^"\n]{{0,512}}" | “[^”\n]{{0,512}}” | «[^»\n]{{0,512}}» | `[^`\n]{{0,512}}`
      | (?<![A-Za-z0-9])'[^'\n]{{0,512}}'(?![A-Za-z0-9])
    )
  | (?P<path>(?<![\w/<.])(?:~|\.{{1,2}}|[A-Za-z]:)?(?:[/\\][\w.@%+~$()\[\]-]{{1,128}}){{2,32}}[/\\]?(?:\?\S{{1,512}})?)
  | (?P<hex>{_WORD_START}0[xX][0-9a-fA-F]{{1,64}}{_WORD_END})
  | (?P<code>{_WORD_START}[A-Z]{{1,8}}_?\d{{2,6}}{_WORD_END})
  | (?P<id>{_WORD_START}(?:(?=(?:[A-Za-z_]{{0,127}}\d){{2}})[A-Za-z0-9_]{{6,128}}
      |(?=[A-Za-z_]{{0,127}}\d)[A-Za-z0-9_]{{10,128}}){_WORD_END})
  | (?P<number>{_WORD_START}\d{{1,40}}(?:[.,:]\d{{1,40}}){{0,8}}
      (?:[eE][+-]?\d{{1,4}})?(?:%|[a-zA-Z]{{1,3}}{_WORD_END})?)
    """,
    re.VERBOSE,
)
_SPACE: Final = re.compile(r"[\s\x00-\x1f\x7f]+")
_SIGN: Final = re.compile(r"(?<![\w>])[-+](?=<number>)")


def _placeholder(match: re.Match[str]) -> str:
    kind = match.lastgroup or "value"
    if kind == "code":
        return match[0]  # NG0100, E1001: the author's own name for this error
    # 5f3a9c, 123abc and 123456 may be three values of one id.
    return "<number>" if kind in {"hex", "id"} else f"<{kind}>"


def one_line(text: str) -> str:
    """Text with every run of white space and control characters as one space."""
    text = " ".join(text.split())
    return text if text.isprintable() else _SPACE.sub(" ", text).strip()


@lru_cache(CACHE)
def parameterise(message: str) -> str:
    """The message with placeholders: `Order 17 of 'ada' failed` → `Order <number> of <value> failed`."""
    text = _PATTERN.sub(_placeholder, message[:MAX_MESSAGE])
    return _SIGN.sub("", one_line(text))
