"""From figures to verdicts: for each condition the threshold at which it is raised, and the one at which it is over.

Pure. Each pair of numbers stands beside its reason; between the two nothing changes, so that a figure that swings
around one of them sends no mail a minute.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from appliance.model import MICROSECONDS
from appliance.system.certificate import Certificate
from appliance.system.conditions import Code, Level, Tone, Verdict
from appliance.system.forecast import HOUR, days_left
from appliance.system.readings import LAST_DELIVERIES, Disk, NotifierRecord, Readings

DAY: Final = 24 * HOUR
MIB: Final = 1024 * 1024

FILLING_OVER: Final = 1.5  # times `disk_days`: a forecast moves by a third from day to day
FILLING_BAD_DAYS: Final = 2.0  # it is full before a weekend is over
LOW_RAISE: Final = 2.0  # times the reserve: at one times it ingest refuses, at two there is time to act
LOW_CLEAR: Final = 3.0
LAG_RAISE: Final = 300.0  # s; an event is promised within 2 s, and an upgrade holds the pipeline for a minute or two
LAG_CLEAR: Final = 60.0
FULL_RAISE: Final = 0.7  # of the spool: sessions and replays are shed from here on
FULL_CLEAR: Final = 0.5
MEMORY_RAISE: Final = 0.9  # what a big query and a big batch take at once is a tenth of the smallest host
MEMORY_CLEAR: Final = 0.8
LIFETIME_RAISE: Final = 6  # a sixth of a certificate's life is left: 15 of 90 days. Renewal begins at a third
LIFETIME_CLEAR: Final = 5
EXPIRY_BAD_DAYS: Final = 3.0
BACKUP_BAD: Final = 3.0  # times `backup_hours`
DROPS_WINDOW: Final = HOUR
DROPS_LEAST: Final = 100  # records an hour; fewer are a burst of one tab
DROPS_SHARE: Final = 0.01  # of what came in: one in a hundred missing changes what a chart says
RESTART_DAYS: Final = 1.0


class Limits(Struct, frozen=True, kw_only=True):
    """What `[monitoring]` and the rest of the configuration say."""

    disk_days: float
    certificate_days: float
    backup_hours: float
    retention_bytes: int  # 0: no bound


def judge(readings: Readings, limits: Limits) -> list[Verdict]:
    """A verdict on each condition of which something is known."""
    return [
        *_disk(readings, limits),
        *_spool(readings),
        *_memory(readings),
        *_certificate(readings.certificate, readings.now, limits),
        *_backup(readings, limits),
        *(_notifier(record) for record in readings.notifiers),
        _dead_letters(readings),
        *_drops(readings),
        *_store(readings),
        _restarted(readings),
    ]


def _level(*, is_bad: bool, is_good: bool) -> Level:
    return "raise" if is_bad else "clear" if is_good else "hold"


def _disk(readings: Readings, limits: Limits) -> Iterator[Verdict]:
    disk = readings.disk
    yield Verdict(
        code=Code.DISK_LOW,
        level=_level(is_bad=disk.free < LOW_RAISE * disk.reserve, is_good=disk.free > LOW_CLEAR * disk.reserve),
        text=f"{_size(disk.free)} of {_size(disk.total)} are free; below {_size(disk.reserve)} nothing is accepted.",
        mend="Free space, lower [retention] bytes or days and restart, or give it a larger disk.",
        tone="bad",
    )
    if not limits.disk_days:
        return
    store = readings.state.store
    bound = max(0.0, limits.retention_bytes - store.bytes_on_disk) if limits.retention_bytes else math.inf
    left = days_left(readings.samples, disk.free - disk.reserve, bound)
    if left is not None:
        yield _filling(left, disk, limits.disk_days)


def _filling(left: float, disk: Disk, least: float) -> Verdict:
    return Verdict(
        code=Code.DISK_FILLING,
        level=_level(is_bad=left < least, is_good=left > FILLING_OVER * least),
        text=f"At the rate of the last days the disk reaches its reserve in {_days(left)}; {_size(disk.free)} are free."
        if math.isfinite(left)
        else "",
        mend="Lower [retention] bytes or days, look at what else grows on this disk, or give it a larger one.",
        tone="bad" if left < FILLING_BAD_DAYS else "warn",
    )


def _spool(readings: Readings) -> Iterator[Verdict]:
    spool = readings.state.spool
    yield Verdict(
        code=Code.SPOOL_LAG,
        level=_level(is_bad=spool.oldest_seconds > LAG_RAISE, is_good=spool.oldest_seconds < LAG_CLEAR),
        text=f"The oldest of {spool.records:,} waiting records came {_span(spool.oldest_seconds)} ago.",
        mend="See on the System page what the pipeline waits for. Nothing is lost while the spool has room.",
    )
    if spool.max_bytes:
        share = spool.bytes / spool.max_bytes
        yield Verdict(
            code=Code.SPOOL_FULL,
            level=_level(is_bad=share > FULL_RAISE, is_good=share < FULL_CLEAR),
            text=f"The spool is {share:.0%} full: replays and measurements are refused, errors last.",
            mend="See on the System page why the pipeline is slow, or raise [ingest] spool_max_bytes.",
            tone="bad",
        )


def _memory(readings: Readings) -> Iterator[Verdict]:
    if readings.memory is not None:
        share = readings.memory.used / readings.memory.limit
        yield Verdict(
            code=Code.MEMORY_PROCESS,
            level=_level(is_bad=share > MEMORY_RAISE, is_good=share < MEMORY_CLEAR),
            text=f"{readings.memory.of[0].upper()}{readings.memory.of[1:]} uses {_size(readings.memory.used)} of "
            f"{_size(readings.memory.limit)}: the kernel ends a process at the limit.",
            mend="Give it more memory ([deploy] memory and `condev apply`), or lower [pipeline] batch_bytes.",
        )
    store = readings.state.store
    if store.memory_limit_bytes and not store.problem:
        share = store.memory_bytes / store.memory_limit_bytes
        yield Verdict(
            code=Code.MEMORY_ENGINE,
            level=_level(is_bad=share > MEMORY_RAISE, is_good=share < MEMORY_CLEAR),
            text=f"The event store uses {_size(store.memory_bytes)} of its {_size(store.memory_limit_bytes)}.",
            mend="Queries may be refused and inserts tried again. If it stays, raise its limit with the host's memory.",
        )


def _certificate(certificate: Certificate | None, now: int, limits: Limits) -> Iterator[Verdict]:
    if certificate is None or not limits.certificate_days:
        return
    mend = "See the proxy's log for why it could not renew: usually DNS, or port 80 or 443 not reaching it."
    if certificate.is_expired:
        text = f"The certificate of {certificate.host} has expired: browsers refuse it, and SDKs deliver nothing."
        yield Verdict(code=Code.CERTIFICATE, level="raise", text=text, mend=mend, tone="bad")
        return
    if not certificate.not_after:
        return
    left, life = certificate.not_after - now, certificate.not_after - certificate.not_before
    tone: Tone = "bad" if left < EXPIRY_BAD_DAYS * DAY else "warn"
    text = f"The certificate of {certificate.host} is valid for {_days(max(left, 0) / DAY)} more."
    if left <= 0:
        text = f"The certificate of {certificate.host} has expired: browsers refuse it, and SDKs deliver nothing."
    bound = limits.certificate_days * DAY
    yield Verdict(
        code=Code.CERTIFICATE,
        level=_level(
            is_bad=left < min(bound, life / LIFETIME_RAISE),
            is_good=left > min(bound * LIFETIME_RAISE / LIFETIME_CLEAR, life / LIFETIME_CLEAR),
        ),
        text=text,
        mend=mend,
        tone=tone,
    )


def _backup(readings: Readings, limits: Limits) -> Iterator[Verdict]:
    backup = readings.backup
    if backup is None or not limits.backup_hours:
        return
    if not backup.scheduled:
        yield Verdict(code=Code.BACKUP, level="clear")
        return
    error = f" The last try: {backup.last_error[:300]}" if backup.last_error else ""
    mend = "Look at [backup] in config.toml and at the job under System; `condev backup FILE` makes one now."
    if backup.last_good_at is None:
        if error:  # the first one may still be to come
            yield Verdict(
                code=Code.BACKUP, level="raise", text=f"No backup was made yet.{error}", mend=mend, tone="bad"
            )
        return
    hours = (readings.now - backup.last_good_at) / HOUR
    yield Verdict(
        code=Code.BACKUP,
        level=_level(is_bad=hours > limits.backup_hours, is_good=hours < limits.backup_hours),
        text=f"The last good backup is {_span(hours * 3_600)} old.{error}",
        mend=mend,
        tone="bad" if hours > BACKUP_BAD * limits.backup_hours else "warn",
    )


def _notifier(record: NotifierRecord) -> Verdict:
    all_failed = len(record.last) >= LAST_DELIVERIES and not any(record.last)
    return Verdict(
        code=Code.NOTIFIER,
        subject=record.name,
        level=_level(is_bad=record.is_open or all_failed, is_good=not record.is_open and any(record.last[:1])),
        text=f"{record.name} (channel {', '.join(record.channels)}) does not deliver; last: {record.last_error}",
        mend=f"`condev notify test {record.channels[0]}` shows the step that fails; then test it under Alerts.",
        tone="bad",
    )


def _dead_letters(readings: Readings) -> Verdict:
    count = readings.state.dead_letters
    words = "record" if count == 1 else "records"
    return Verdict(
        code=Code.DEAD_LETTERS,
        level=_level(is_bad=count > 0, is_good=count == 0),
        text=f"{count:,} {words} could not be processed and wait to be looked at.",
        mend="Look at the reasons under System, Dead letters; retry them once they are mended, or discard them.",
        worth=float(count),
    )


def _drops(readings: Readings) -> Iterator[Verdict]:
    """Over the last hour, or what there is of it."""
    window = [sample for sample in readings.samples if sample.at > readings.now - DROPS_WINDOW - HOUR // 6]
    if len(window) < 2:
        return
    # The counts forget what is older than 90 days, so the sums may fall.
    gone = max(0, window[-1].lost - window[0].lost)
    came = gone + max(0, window[-1].processed - window[0].processed)
    minutes = (window[-1].at - window[0].at) / (60 * MICROSECONDS)
    yield Verdict(
        code=Code.DROPS,
        level=_level(is_bad=gone >= DROPS_LEAST and gone > DROPS_SHARE * came, is_good=gone < DROPS_LEAST / 10),
        text=f"{gone:,} of {came:,} records of the last {minutes:.0f} minutes were refused: more came than fits.",
        mend="System, Not kept has the reasons; raise the limits that they name if the machine can take it.",
    )


def _store(readings: Readings) -> Iterator[Verdict]:
    stuck, problem = readings.stuck, readings.state.store.problem
    if stuck is not None:
        then = (
            f"the process is restarted in {_span(stuck.restart_in)} unless it comes back"
            if stuck.restart_in is not None
            else "nothing restarts it: [monitoring] watchdog is off, or CONDEV_SUPERVISED is not set"
        )
        text = f"Its call {stuck.call} has not come back for {_span(stuck.seconds)}; {then}."
        mend = "Nothing is lost: events wait in the spool. If it comes again, look at the disk and at the memory limit."
        yield Verdict(code=Code.STORE_STUCK, level="raise", text=text, mend=mend, tone="bad")
    else:
        yield Verdict(code=Code.STORE_STUCK, level="clear")
    yield Verdict(
        code=Code.STORE_DOWN,
        level=_level(is_bad=bool(problem) and stuck is None, is_good=not problem),
        text=f"It says: {problem[:300]}" if problem else "",
        mend="Nothing is lost: events wait in the spool, and are applied once it answers. Look at its log.",
        tone="bad",
    )


def _restarted(readings: Readings) -> Verdict:
    mark = readings.mark
    if mark is None or readings.now - mark.at > RESTART_DAYS * DAY:
        return Verdict(code=Code.RESTARTED, level="clear")
    return Verdict(
        code=Code.RESTARTED,
        level="raise",
        text=f"The process was ended and started anew: {mark.why}",
        mend="Nothing was lost: what was accepted lay in the spool. If it comes again, look at disk and memory.",
        worth=float(mark.at),
    )


def _size(count: float) -> str:
    for unit, size in (("GiB", 1024 * MIB), ("MiB", MIB)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1024:.0f} KiB"


def _days(days: float) -> str:
    return f"{days:.0f} days" if days >= 3 else f"{days * 24:.0f} hours"


def _span(seconds: float) -> str:
    for unit, size, least in (("days", 86_400, 3), ("hours", 3_600, 2), ("minutes", 60, 2)):
        if seconds >= least * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
