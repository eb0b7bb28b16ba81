"""What the appliance watches about itself: the named conditions, and when one is raised, told and cleared.

Pure: from a verdict and what was known before to what is known now and what is to be told. Measuring stands in
`readings.py`, deciding in `judging.py`, storing and telling in `monitor.py`; docs/operations.md lists them all.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, Literal, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from appliance.model import MICROSECONDS

APART: Final = 45 * MICROSECONDS  # looks that are nearer together (after a start, on a hint) count as one
QUIET: Final = 15 * 60 * MICROSECONDS  # a fault that comes and goes within it is one fault, not two mails each time
REPEAT: Final = 24 * 3_600 * MICROSECONDS  # a mail a day reminds; more of them are filtered away unread

Tone: TypeAlias = Literal["warn", "bad"]
Level: TypeAlias = Literal["raise", "hold", "clear"]
Step: TypeAlias = Literal["raised", "reminder", "cleared"]


class Code(StrEnum):
    """The names: in /readyz, in /metrics, in messages, in the documentation. They never change their meaning."""

    DISK_FILLING = "disk_filling"
    DISK_LOW = "disk_low"
    SPOOL_LAG = "spool_lag"
    SPOOL_FULL = "spool_full"
    MEMORY_PROCESS = "memory_process"
    MEMORY_ENGINE = "memory_engine"
    CERTIFICATE = "certificate_expiring"
    BACKUP = "backup_old"
    NOTIFIER = "notifier_failing"
    DEAD_LETTERS = "dead_letters"
    DROPS = "drops"
    STORE_DOWN = "store_down"
    STORE_STUCK = "store_stuck"
    RESTARTED = "watchdog_restart"


class Rule(Struct, frozen=True, kw_only=True):
    """One condition: its title, how patient it is, and whether it is repeated while nothing gets worse."""

    title: str
    over: str  # the title of the message that it is over
    patience: int = 1  # checks in a row, a minute apart, before it is raised
    settles: int = QUIET  # µs for which nothing may be found before it is over
    nags: bool = True  # repeated daily while it lasts; else only when it got worse


RULES: Final[Mapping[Code, Rule]] = {
    Code.DISK_FILLING: Rule(
        title="The disk will be full soon",
        over="The disk no longer fills that fast",
        patience=5,  # a merge or a backup takes space for a minute or two and gives it back
    ),
    Code.DISK_LOW: Rule(title="The disk is almost full", over="The disk has space again", patience=2),
    Code.SPOOL_LAG: Rule(
        title="Events are processed late",
        over="Events are processed in time again",
        patience=2,  # the first look after a start finds what waited while the process was down
    ),
    Code.SPOOL_FULL: Rule(title="The spool is filling up", over="The spool has emptied", patience=2),
    Code.MEMORY_PROCESS: Rule(
        title="Memory is near its limit",
        over="Memory is well below its limit again",
        patience=3,  # a big batch and a big query at once are over in a minute
    ),
    Code.MEMORY_ENGINE: Rule(
        title="The event store is near its memory limit",
        over="The event store is well below its memory limit again",
        patience=3,
    ),
    Code.CERTIFICATE: Rule(title="The certificate runs out soon", over="The certificate was renewed"),
    Code.BACKUP: Rule(title="There is no recent backup", over="There is a recent backup again", settles=0),
    Code.NOTIFIER: Rule(title="A notifier fails", over="The notifier delivers again"),
    Code.DEAD_LETTERS: Rule(
        title="Records could not be processed",
        over="No dead letter is left",
        nags=False,  # they wait for weeks for somebody with time; news is only that there are more
    ),
    Code.DROPS: Rule(title="Data is being refused", over="No data is refused any more", patience=2),
    Code.STORE_DOWN: Rule(
        title="The event store does not answer",
        over="The event store answers again",
        patience=3,  # a server that is restarted is back within a minute or two
    ),
    Code.STORE_STUCK: Rule(title="The event store hangs", over="The event store answers again"),
    Code.RESTARTED: Rule(
        title="The watchdog restarted the appliance",
        over="No restart by the watchdog for a day",
        settles=0,
        nags=False,
    ),
}


class Verdict(Struct, frozen=True, kw_only=True):
    """What one look says about a condition. Between the two thresholds it is `hold`: as it was."""

    code: Code
    level: Level
    subject: str = ""  # which one, where there are several: the name of a notifier
    text: str = ""  # what was found, with its figures
    mend: str = ""
    tone: Tone = "warn"
    worth: float = 0.0  # for conditions that do not nag: more than at the last message means worse


class Told(Struct, frozen=True, kw_only=True):
    """A message in the outbox."""

    channel: str
    entry: int
    at: int
    step: Step


class Condition(Struct, frozen=True, kw_only=True):
    """What is remembered of a condition that is raised, about to be, or was cleared with a message under way."""

    code: Code
    subject: str = ""
    since: int  # µs of the first look that found it
    raised: bool = False
    streak: int = 0
    counted_at: int = 0  # µs of the last look that the streak counts
    quiet_since: int = 0  # µs of the first look that found it over; 0: it lasts
    text: str = ""
    mend: str = ""
    tone: Tone = "warn"
    told_at: int = 0  # µs of the last message; 0: none yet
    told_worth: float = 0.0
    worth: float = 0.0
    messages: tuple[Told, ...] = ()  # the last step's: one for each channel that was tried

    @property
    def key(self) -> str:
        """Its name: the code, and the subject where there are several."""
        return f"{self.code}:{self.subject}" if self.subject else str(self.code)

    @property
    def rule(self) -> Rule:
        """Its title and its patience."""
        return RULES[self.code]


def advance(known: Condition | None, verdict: Verdict, now: int) -> tuple[Condition | None, Step | None]:
    """One look further.

    Args:
        known: what is remembered; None: nothing.
        verdict: what the look says.
        now: µs.

    Returns:
        What to remember (None: forget it), and what to tell (None: nothing).
    """
    if known is None or not known.raised:
        return _not_yet(known, verdict, now)
    if verdict.level == "clear":
        since = known.quiet_since if 0 < known.quiet_since <= now else now
        if now - since < known.rule.settles:
            return replace(known, quiet_since=since), None
        return replace(known, raised=False, streak=0, quiet_since=0), "cleared"
    if verdict.level == "hold" and known.quiet_since:
        return known, None
    current = replace(known, quiet_since=0)
    if verdict.level == "raise" or verdict.text:
        current = replace(current, text=verdict.text, mend=verdict.mend, tone=verdict.tone, worth=verdict.worth)
    if not known.told_at:  # there was nobody to tell, or no way to: perhaps there is now
        return current, "raised"
    # Far ahead, too: a clock that was wrong wrote it.
    is_due = abs(now - known.told_at) >= REPEAT and (known.rule.nags or current.worth > known.told_worth)
    return current, "reminder" if is_due else None


def _not_yet(known: Condition | None, verdict: Verdict, now: int) -> tuple[Condition | None, Step | None]:
    if verdict.level != "raise":
        # What is between the thresholds counts neither way; a cleared one is kept while its message is under way.
        if known is not None and known.messages:
            return replace(known, streak=0), None
        return None, None
    fresh = known is None or known.streak == 0
    if known is not None and not fresh and abs(now - known.counted_at) < APART:  # a clock may be set back
        return known, None
    streak = 1 if known is None else known.streak + 1
    raised = streak >= RULES[verdict.code].patience
    condition = Condition(
        code=verdict.code,
        subject=verdict.subject,
        since=now if fresh or known is None else known.since,
        raised=raised,
        streak=streak,
        counted_at=now,
        text=verdict.text,
        mend=verdict.mend,
        tone=verdict.tone,
        worth=verdict.worth,
    )
    return condition, "raised" if raised else None
