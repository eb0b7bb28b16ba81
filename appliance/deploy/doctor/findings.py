"""What a check says: a code, how bad it is, the fact, what follows from it, and what to do."""

from __future__ import annotations

from typing import Final, Literal, get_args

from msgspec import Struct

Group = Literal["configuration", "machine", "docker", "ports", "platforms", "network", "mail", "running"]
Level = Literal["ok", "warning", "error"]

GROUPS: Final[tuple[Group, ...]] = get_args(Group)  # in the order in which they are shown


class Finding(Struct, frozen=True, kw_only=True):
    """One fact, judged. `docs/troubleshooting.md` has a section for every code that is not ok."""

    code: str  # stable, in lower case with hyphens; what to search for
    level: Level
    group: Group
    fact: str
    consequence: str = ""
    mend: str = ""


class Reporter:
    """Makes the findings of one group.

    A check calls these with a literal code: the test of docs/troubleshooting.md reads the codes off these calls.
    """

    def __init__(self, group: Group) -> None:
        """Args: group: what the findings belong to."""
        self.group: Final = group

    def ok(self, code: str, fact: str) -> Finding:
        """All right; said so that a reader sees what was looked at."""
        return Finding(code=code, level="ok", group=self.group, fact=fact)

    def warn(self, code: str, fact: str, consequence: str, mend: str) -> Finding:
        """It will run, but something is lost or at risk."""
        return Finding(code=code, level="warning", group=self.group, fact=fact, consequence=consequence, mend=mend)

    def error(self, code: str, fact: str, consequence: str, mend: str) -> Finding:
        """It will not run, or not do what it is for."""
        return Finding(code=code, level="error", group=self.group, fact=fact, consequence=consequence, mend=mend)


def size(count: float) -> str:
    """A number of bytes for people: "1.9 GiB", "512 MiB"."""
    for unit, step in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= step:
            number = count / step
            return f"{number:.1f} {unit}" if number < 10 else f"{number:,.0f} {unit}"
    return f"{count:.0f} bytes"
