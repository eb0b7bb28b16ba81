"""Which paths go to ingest, from the routes of the loaded protocols: Caddy and Traefik must send what ingest claims."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from appliance.hookspecs import Protocol

_SDK_REST: Final = r"\.js(?:\.map)?|/+[^/]+/+[^/]+"
_PARAMETER: Final = re.compile(r"(\{[a-z_]+\})")


def path_pattern(protocol: Protocol) -> str:
    """A regular expression (Go's dialect) for a protocol's paths.

    As ingest reads them: repeated slashes count as one, a trailing one is optional, `{project_id}` is digits.
    """
    paths = sorted({_one(route.path) for route in protocol.routes})
    return f"^/+(?:{'|'.join(paths)})/*$"


def sdk_pattern(script: str) -> str:
    """The same for the SDK's files: under its usual name and the one that [sdk] script gives, short and by version."""
    stems = sorted({"sdk", script.removesuffix(".js")})
    return f"^/+(?:dsn-api/+)?(?:{'|'.join(stems)})(?:-errors)?(?:{_SDK_REST})/*$"


def all_paths(protocols: Sequence[Protocol], script: str) -> str:
    """The same for all protocols and the SDK together."""
    patterns = [*map(path_pattern, protocols), sdk_pattern(script)]
    inner = [pattern.removeprefix("^/+").removesuffix("/*$") for pattern in patterns]
    return f"^/+(?:{'|'.join(inner)})/*$"


def _one(path: str) -> str:
    segments = [segment for segment in path.split("/") if segment]
    return "/+".join(_segment(segment) for segment in segments)


def _segment(segment: str) -> str:
    parts = _PARAMETER.split(segment)
    return "".join(_part(part) for part in parts)


def _part(part: str) -> str:
    if part == "{project_id}":
        return "[0-9]{1,18}"
    if _PARAMETER.fullmatch(part):
        return "[^/]+"
    # Not re.escape: it escapes "-", which is read the same but by nobody.
    return re.sub(r"([.^$*+?{}\[\]\\|()])", r"\\\1", part)
