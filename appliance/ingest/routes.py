"""Which protocol answers on which path. Compiled once; each path is matched once and remembered."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct

from appliance.hookspecs import Protocol, Route

MAX_PATH: Final = 512  # the longest real one is 60; longer is nobody's
MAX_REMEMBERED: Final = 4_096  # paths carry keys and project ids, so there are about as many as projects
_PARAMETER: Final = re.compile(r"\{([a-z_]+)\}")
_SLASHES: Final = re.compile(r"/{2,}")


class Match(Struct, frozen=True, gc=False):
    """A route, and what its path holds."""

    protocol: Protocol
    route: Route
    params: Mapping[str, str]


class RouteTable:
    """Finds the routes of a path."""

    def __init__(self, protocols: Sequence[Protocol]) -> None:
        """Raises ValueError when two routes claim one path and method."""
        self._patterns: list[tuple[re.Pattern[str], Protocol, Route]] = []
        self._remembered: dict[str, Mapping[str, Match] | None] = {}
        claimed: dict[tuple[str, str], str] = {}
        for protocol in protocols:
            for route in protocol.routes:
                shape = _PARAMETER.sub("{}", _normalise(route.path))
                for method in route.methods:
                    if (shape, method) in claimed:
                        both = f"{claimed[shape, method]!r} and {protocol.name!r}"
                        raise ValueError(f"{both} both claim {method} {route.path}: disable one of the two plugins")
                    claimed[shape, method] = protocol.name
                self._patterns.append((_compile(route.path), protocol, route))

    def find(self, path: str) -> Mapping[str, Match] | None:
        """What answers on a path, by method; None when no protocol claims it."""
        try:
            return self._remembered[path]
        except KeyError:
            return self._look_up(path)

    def _look_up(self, path: str) -> Mapping[str, Match] | None:
        if len(path) > MAX_PATH:
            return None
        if len(self._remembered) >= MAX_REMEMBERED:
            self._remembered.clear()
        normal = _normalise(path)
        found: dict[str, Match] = {}
        for pattern, protocol, route in self._patterns:
            match = pattern.fullmatch(normal)
            if match:
                for method in route.methods:
                    found.setdefault(method, Match(protocol, route, match.groupdict()))
        self._remembered[path] = found or None
        return found or None


def _normalise(path: str) -> str:
    """Collapse slashes and drop a trailing one."""
    return _SLASHES.sub("/", path).rstrip("/") or "/"


def _compile(path: str) -> re.Pattern[str]:
    parts = _PARAMETER.split(_normalise(path))
    pattern = re.escape(parts[0])
    for name, after in zip(parts[1::2], parts[2::2], strict=True):
        # 18 digits fit every integer type that an id is kept in.
        pattern += rf"(?P<{name}>{'[0-9]{1,18}' if name == 'project_id' else '[^/]+'})" + re.escape(after)
    return re.compile(pattern)
