"""Channels: ordered chains of notifiers, each behind a breaker. Decides who is asked; retries are the outbox's.

A breaker lives in memory: after a restart a dead notifier is asked again, which costs one attempt.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, cast

import structlog
from msgspec import Struct
from structlog.typing import FilteringBoundLogger

from appliance.hookspecs import Clock, DeliveryError, Notification, Notifier

DELIVER_SECONDS: Final = 30.0  # the contract's limit for one deliver()
MAX_REPLY: Final = 1_000  # characters kept of what a notifier said

log = cast("FilteringBoundLogger", structlog.get_logger(__name__))


class Attempt(Struct, frozen=True, kw_only=True):
    """What one notifier of the chain did with one notification."""

    notifier: str
    started_at: int  # µs
    seconds: float
    ok: bool
    skipped: bool = False
    reply: str = ""
    provider_id: str = ""


class Outcome(Struct, frozen=True, kw_only=True):
    """What the whole chain did."""

    delivered: bool
    attempts: tuple[Attempt, ...]
    final: bool = False  # trying again cannot help
    tried: bool = True  # False: everyone who is configured is behind an open breaker
    retry_after: float = 0.0  # seconds that must pass before the next try
    error: str = ""


class NotifierState(Struct, frozen=True, kw_only=True):
    """A notifier of a channel, for the pages."""

    name: str
    problem: str  # "" when it is configured
    open_until: int | None  # µs; None while it is used
    failures: int  # in a row
    last_error: str


class _Breaker(Struct):
    failures: int = 0
    open_until: int | None = None
    probing: bool = False
    last_error: str = ""


class Channels:
    """All channels of this process."""

    def __init__(
        self,
        channels: Mapping[str, Sequence[str]],
        notifiers: Mapping[str, Notifier],
        clock: Clock,
        *,
        breaker_failures: int,
        breaker_minutes: float,
    ) -> None:
        """Wire up.

        Args:
            channels: `[channels]`: name → notifiers, first choice first.
            notifiers: all that plugins registered, by name.
            clock: time.
            breaker_failures: so many failures in a row and a notifier is left alone.
            breaker_minutes: for how long; then one notification tries it.
        """
        self.chains = dict(channels)
        self._notifiers = notifiers
        self._clock = clock
        self._limit = max(breaker_failures, 1)
        self._pause = round(breaker_minutes * 60_000_000)
        self._breakers: dict[str, _Breaker] = {}

    @property
    def longest_chain(self) -> int:
        """How many notifiers one delivery may have to wait for."""
        return max((len(chain) for chain in self.chains.values()), default=1)

    def states(self, channel: str) -> list[NotifierState]:
        """The notifiers of a channel, first choice first."""
        return [self._state(name) for name in self.chains.get(channel, ())]

    def problem(self, channel: str) -> str:
        """ "" when some notifier of the channel is configured, else what to do about it."""
        if channel not in self.chains:
            known = ", ".join(sorted(self.chains)) or "none"
            return f'There is no channel "{channel}" in [channels] of config.toml; there is: {known}.'
        states = self.states(channel)
        if any(not state.problem for state in states):
            return ""
        reasons = " ".join(state.problem for state in states)
        return f'No notifier of the channel "{channel}" is configured, so nothing can be sent. {reasons}'

    async def deliver(self, channel: str, notification: Notification) -> Outcome:
        """Ask the notifiers in order; the first that takes it ends the matter. Never raises.

        After a lost answer the next one is asked all the same: a message twice is better than none. The log says so.
        """
        if problem := self.problem(channel):
            skipped = tuple(self._skip(state.name, state.problem) for state in self.states(channel))
            return Outcome(delivered=False, attempts=skipped, final=True, error=problem)
        attempts: list[Attempt] = []
        failures: list[DeliveryError] = []
        waits: list[float] = []
        for name in self.chains[channel]:
            state = self._state(name)
            if state.problem:
                attempts.append(self._skip(name, state.problem))
            elif (wait := self._admit(name)) > 0:
                waits.append(wait)
                attempts.append(self._skip(name, f"Left alone after {state.failures} failures: {state.last_error}"))
            else:
                attempt, failure = await self._ask(name, notification)
                attempts.append(attempt)
                if failure is None:
                    return Outcome(delivered=True, attempts=tuple(attempts))
                failures.append(failure)
        asked = [failure.retry_after for failure in failures if failure.retry_after is not None and failure.retryable]
        return Outcome(
            delivered=False,
            attempts=tuple(attempts),
            final=not waits and all(not failure.retryable for failure in failures),
            tried=bool(failures),
            retry_after=min(asked, default=0.0) if failures else min(waits, default=0.0),
            error=" ".join(str(failure) for failure in failures) or attempts[-1].reply,
        )

    async def _ask(self, name: str, notification: Notification) -> tuple[Attempt, DeliveryError | None]:
        started_at, started = self._clock.now(), self._clock.monotonic()

        def attempt(*, ok: bool, reply: str, provider_id: str = "") -> Attempt:
            seconds = self._clock.monotonic() - started
            return Attempt(
                notifier=name,
                started_at=started_at,
                seconds=seconds,
                ok=ok,
                reply=reply[:MAX_REPLY],
                provider_id=provider_id[:200],
            )

        try:
            async with asyncio.timeout(DELIVER_SECONDS):
                receipt = await self._notifiers[name].deliver(notification)
        except DeliveryError as error:
            failure = error
        except TimeoutError:
            text = f"{name} did not finish within {DELIVER_SECONDS:g} s; it may have delivered."
            failure = DeliveryError(text, ambiguous=True)
        except asyncio.CancelledError:
            self._breaker(name).probing = False
            raise
        except Exception as error:
            log.warning("notifier raised", notifier=name, exc_info=error)
            failure = DeliveryError(f"{name} has a bug: {type(error).__name__}: {error}. The log has its traceback.")
        else:
            self._breakers.pop(name, None)
            return attempt(ok=True, reply=receipt.reply, provider_id=receipt.provider_id), None
        self._failed(name, failure)
        reply = f"{failure} {failure.reply}".strip()
        if failure.ambiguous:
            reply += " If it arrives from the next notifier too, that is why."
        return attempt(ok=False, reply=reply), failure

    def _skip(self, name: str, reason: str) -> Attempt:
        return Attempt(
            notifier=name, started_at=self._clock.now(), seconds=0.0, ok=False, skipped=True, reply=reason[:MAX_REPLY]
        )

    def _state(self, name: str) -> NotifierState:
        notifier = self._notifiers.get(name)
        if notifier is None:
            known = ", ".join(sorted(self._notifiers)) or "none"
            problem = f"No plugin brings a notifier {name!r} (there is: {known})."
        else:
            try:
                problem = notifier.configured()
            except Exception as error:
                log.warning("notifier raised", notifier=name, exc_info=error)
                problem = f"{name} has a bug: {type(error).__name__}: {error}."
        breaker = self._breaker(name)
        return NotifierState(
            name=name,
            problem=problem,
            open_until=breaker.open_until,
            failures=breaker.failures,
            last_error=breaker.last_error,
        )

    def _breaker(self, name: str) -> _Breaker:
        return self._breakers.setdefault(name, _Breaker())

    def _admit(self, name: str) -> float:
        """0 when the notifier may be asked, else the seconds until it may be. One at a time tries it after a pause."""
        breaker = self._breaker(name)
        if breaker.open_until is None:
            return 0.0
        left = (breaker.open_until - self._clock.now()) / 1_000_000
        if left > 0:
            return left
        if breaker.probing:
            return DELIVER_SECONDS
        breaker.probing = True
        return 0.0

    def _failed(self, name: str, failure: DeliveryError) -> None:
        breaker = self._breaker(name)
        breaker.probing = False
        if failure.about_message:
            self._breakers.pop(name)  # the notifier is well: it was this message that it would not take
            return
        breaker.failures += 1
        breaker.last_error = str(failure)
        if breaker.failures >= self._limit:
            breaker.open_until = self._clock.now() + self._pause
