"""When a condition is raised, told, repeated and over: pure steps, thresholds and the forecast."""

from __future__ import annotations

import math

import pytest

from appliance.system.certificate import Certificate
from appliance.system.conditions import APART, QUIET, REPEAT, RULES, Code, Condition, Verdict, advance
from appliance.system.forecast import DAY, HOUR, Sample, days_left, keep
from appliance.system.judging import Limits, judge
from appliance.system.memory import MemoryUse
from appliance.system.readings import BackupState, Disk, NotifierRecord, Readings, Stuck, WatchdogMark
from appliance.system.schemas import SpoolState, StoreState, SystemState

MINUTE = 60_000_000
NOW = 1_800_000_000_000_000
GIB = 1 << 30
LIMITS = Limits(disk_days=7, certificate_days=14, backup_hours=50, retention_bytes=0)


def look(known: Condition | None, level: str, at: int, code: Code = Code.DISK_LOW, worth: float = 0.0):
    return advance(known, Verdict(code=code, level=level, text="found", worth=worth), at)  # type: ignore[arg-type]


# ── steps ──


def test_it_is_raised_when_it_lasted_for_its_patience_and_counts_from_the_first_look() -> None:
    assert RULES[Code.DISK_LOW].patience == 2
    known, step = look(None, "raise", NOW)
    assert known is not None
    assert (known.raised, step) == (False, None)
    known, step = look(known, "raise", NOW + MINUTE)
    assert known is not None
    assert (known.raised, known.since, step) == (True, NOW, "raised")


@pytest.mark.parametrize("between", ["hold", "clear"])
def test_a_look_in_between_that_finds_nothing_begins_the_count_anew(between: str) -> None:
    known, _ = look(None, "raise", NOW)
    known, _ = look(known, between, NOW + MINUTE)
    known, step = look(known, "raise", NOW + 2 * MINUTE)
    assert known is not None
    assert (known.raised, known.since, step) == (False, NOW + 2 * MINUTE, None)


def told(code: Code = Code.DISK_LOW, worth: float = 0.0) -> Condition:
    return Condition(code=code, since=NOW, raised=True, streak=2, told_at=NOW, told_worth=worth, worth=worth)


def test_between_the_thresholds_it_stays_raised_and_says_nothing() -> None:
    known, step = look(told(), "hold", NOW + MINUTE)
    assert known is not None
    assert (known.raised, step) == (True, None)


def test_it_is_over_once_and_then_forgotten() -> None:
    known, step = look(told(), "clear", NOW + MINUTE)
    assert known is not None
    assert (known.raised, step) == (True, None)
    known, step = look(known, "clear", NOW + MINUTE + QUIET)
    assert known is not None
    assert (known.raised, step) == (False, "cleared")
    assert look(known, "clear", NOW + 2 * MINUTE + QUIET) == (None, None)


def test_it_is_over_only_after_it_was_quiet_all_the_time() -> None:
    known, _ = look(told(), "clear", NOW + MINUTE)
    known, step = look(known, "raise", NOW + 10 * MINUTE)
    assert step is None
    known, step = look(known, "clear", NOW + MINUTE + QUIET)
    assert known is not None
    assert (known.raised, step) == (True, None)
    known, step = look(known, "hold", NOW + QUIET + 10 * MINUTE)
    assert step is None
    assert look(known, "clear", NOW + MINUTE + 2 * QUIET)[1] == "cleared"


@pytest.mark.parametrize("code", [Code.BACKUP, Code.RESTARTED])
def test_what_does_not_come_and_go_is_over_at_once(code: Code) -> None:
    assert look(told(code), "clear", NOW + MINUTE, code)[1] == "cleared"


def test_what_was_not_told_yet_is_not_told_while_it_is_quiet() -> None:
    untold = Condition(code=Code.DISK_LOW, since=NOW, raised=True, streak=2)
    known, step = look(untold, "clear", NOW + MINUTE)
    assert step is None
    assert look(known, "hold", NOW + 2 * MINUTE)[1] is None


def test_a_clock_that_was_ahead_holds_nothing_back() -> None:
    ahead = NOW + 400 * DAY
    waiting = Condition(code=Code.DISK_LOW, since=ahead, streak=1, counted_at=ahead)
    assert look(waiting, "raise", NOW)[1] == "raised"
    assert look(Condition(code=Code.DISK_LOW, since=NOW, streak=1, counted_at=NOW + APART - 1), "raise", NOW)[1] is None
    raised = Condition(code=Code.DISK_LOW, since=ahead, raised=True, streak=2, told_at=ahead, quiet_since=ahead)
    assert look(raised, "raise", NOW)[1] == "reminder"
    known, _ = look(raised, "clear", NOW)
    assert look(known, "clear", NOW + QUIET)[1] == "cleared"


def test_it_is_repeated_once_a_day_and_no_sooner() -> None:
    assert look(told(), "raise", NOW + REPEAT - 1)[1] is None
    assert look(told(), "raise", NOW + REPEAT)[1] == "reminder"


def test_what_does_not_nag_is_repeated_only_when_it_got_worse() -> None:
    known = told(Code.DEAD_LETTERS, worth=3)
    assert look(known, "raise", NOW + REPEAT, Code.DEAD_LETTERS, worth=3)[1] is None
    assert look(known, "raise", NOW + REPEAT, Code.DEAD_LETTERS, worth=4)[1] == "reminder"


def test_what_could_not_be_told_is_told_as_new_when_it_can_be() -> None:
    untold = Condition(code=Code.BACKUP, since=NOW, raised=True, streak=1)
    assert look(untold, "raise", NOW + MINUTE, Code.BACKUP)[1] == "raised"


# ── thresholds ──


def readings(**changes: object) -> Readings:
    state = SystemState(
        now=NOW, spool=changes.pop("spool", SpoolState(records=0, bytes=0, oldest_seconds=0.0, max_bytes=100)),  # type: ignore[arg-type]
        pipeline=None, totals={}, drops=[], dead_letters=changes.pop("dead_letters", 0),  # type: ignore[arg-type]
        dead_letter_bytes=0, store=changes.pop("store", StoreState()),  # type: ignore[arg-type]
        processes=[], plugins=[], jobs=[], notifiers=[], channels=[], problems=[], retention_days=0, retention_bytes=0,
    )  # fmt: skip
    values: dict[str, object] = {
        "now": NOW, "state": state, "disk": Disk(free=10 * GIB, total=40 * GIB, reserve=GIB), "samples": [],
        "memory": None, "certificate": None, "backup": None, "notifiers": [], "stuck": None, "mark": None, **changes,
    }  # fmt: skip
    return Readings(**values)  # type: ignore[arg-type]


def verdict(code: Code, limits: Limits = LIMITS, **changes: object) -> Verdict | None:
    found = [verdict for verdict in judge(readings(**changes), limits) if verdict.code is code]
    assert len(found) <= 1
    return found[0] if found else None


def level(code: Code, **changes: object) -> str:
    found = verdict(code, **changes)
    return found.level if found is not None else "unknown"


def test_a_quiet_appliance_raises_nothing() -> None:
    assert [found for found in judge(readings(), LIMITS) if found.level == "raise"] == []


@pytest.mark.parametrize(("free", "expected"), [(1.9, "raise"), (2.5, "hold"), (3.1, "clear")])
def test_the_disk_is_low_at_twice_the_reserve_and_well_again_at_three_times(free: float, expected: str) -> None:
    assert level(Code.DISK_LOW, disk=Disk(free=int(free * GIB), total=40 * GIB, reserve=GIB)) == expected


@pytest.mark.parametrize(("seconds", "expected"), [(301.0, "raise"), (120.0, "hold"), (59.0, "clear")])
def test_the_spool_is_late_after_five_minutes(seconds: float, expected: str) -> None:
    spool = SpoolState(records=7, bytes=10, oldest_seconds=seconds, max_bytes=100)
    assert level(Code.SPOOL_LAG, spool=spool) == expected


@pytest.mark.parametrize(("held", "expected"), [(71, "raise"), (60, "hold"), (49, "clear")])
def test_the_spool_fills(held: int, expected: str) -> None:
    assert level(Code.SPOOL_FULL, spool=SpoolState(records=1, bytes=held, oldest_seconds=0, max_bytes=100)) == expected


@pytest.mark.parametrize(("used", "expected"), [(91, "raise"), (85, "hold"), (79, "clear")])
def test_memory_is_near_its_limit_in_the_container_and_in_the_engine(used: int, expected: str) -> None:
    assert level(Code.MEMORY_PROCESS, memory=MemoryUse(of="this container", used=used, limit=100)) == expected
    assert level(Code.MEMORY_ENGINE, store=StoreState(memory_bytes=used, memory_limit_bytes=100)) == expected
    assert level(Code.MEMORY_PROCESS) == "unknown"
    assert level(Code.MEMORY_ENGINE) == "unknown"


def certificate(left: float, life: float = 90) -> Certificate:
    end = NOW + int(left * DAY)
    return Certificate(host="a.example", checked_at=NOW, not_before=end - int(life * DAY), not_after=end)


@pytest.mark.parametrize(
    ("left", "life", "expected"),
    [(13, 90, "raise"), (15.5, 90, "hold"), (18, 90, "clear"), (30, 90, "clear"), (0.9, 6, "raise"), (2, 6, "clear")],
)
def test_a_certificate_is_late_two_weeks_or_a_sixth_of_its_life_before_its_end(
    left: float, life: float, expected: str
) -> None:
    assert level(Code.CERTIFICATE, certificate=certificate(left, life)) == expected


@pytest.mark.parametrize("shown", [certificate(-1), Certificate(host="a.example", checked_at=NOW, is_expired=True)])
def test_an_expired_certificate_is_bad(shown: Certificate) -> None:
    found = verdict(Code.CERTIFICATE, certificate=shown)
    assert found is not None
    assert (found.level, found.tone) == ("raise", "bad")
    assert "has expired" in found.text


def backup(**values: object) -> BackupState:
    return BackupState(**{"scheduled": True, **values})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (backup(last_good_at=NOW - 51 * HOUR), "raise"),
        (backup(last_good_at=NOW - 49 * HOUR), "clear"),
        (backup(last_error="no space"), "raise"),
        (backup(), "unknown"),  # the first is still to come
        (backup(scheduled=False, last_good_at=NOW - 900 * HOUR), "clear"),  # nobody asked for any
        (None, "unknown"),
    ],
)
def test_a_backup_is_old_after_two_nights(state: BackupState | None, expected: str) -> None:
    assert level(Code.BACKUP, backup=state) == expected


def notifier(last: tuple[bool, ...], *, is_open: bool = False) -> list[NotifierRecord]:
    return [NotifierRecord(name="resend", channels=("email",), is_open=is_open, last=last, last_error="401")]


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        (notifier((), is_open=True), "raise"),
        (notifier((False,) * 5), "raise"),
        (notifier((False,) * 4), "hold"),
        (notifier(()), "hold"),
        (notifier((True, False, False, False, False)), "clear"),
    ],
)
def test_a_notifier_fails_by_its_breaker_or_by_five_tries_and_is_well_after_one_success(
    records: list[NotifierRecord], expected: str
) -> None:
    found = verdict(Code.NOTIFIER, notifiers=records)
    assert found is not None
    assert (found.level, found.subject) == (expected, "resend")


def test_one_dead_letter_is_enough_and_none_is_needed() -> None:
    assert level(Code.DEAD_LETTERS, dead_letters=1) == "raise"
    assert level(Code.DEAD_LETTERS) == "clear"


@pytest.mark.parametrize(
    ("lost", "processed", "expected"),
    [(500, 10_000, "raise"), (500, 100_000, "hold"), (99, 100, "hold"), (0, 9, "clear")],
)
def test_drops_count_when_a_hundred_an_hour_and_one_in_a_hundred_are_refused(
    lost: int, processed: int, expected: str
) -> None:
    samples = [Sample(NOW - HOUR, 0, 0, 7, 5), Sample(NOW, 0, 0, 7 + lost, 5 + processed)]
    assert level(Code.DROPS, samples=samples) == expected


def test_counts_that_forgot_old_days_are_no_drops() -> None:
    assert level(Code.DROPS, samples=[Sample(NOW - HOUR, 0, 0, 900, 5), Sample(NOW, 0, 0, 3, 5)]) == "clear"


def test_a_store_that_hangs_is_one_condition_and_one_that_refuses_another() -> None:
    refusing = StoreState(problem="out of memory")
    assert level(Code.STORE_DOWN, store=refusing) == "raise"
    assert level(Code.STORE_STUCK, store=refusing) == "clear"
    stuck = Stuck(call="write", seconds=70, restart_in=230)
    assert level(Code.STORE_DOWN, store=refusing, stuck=stuck) == "hold"
    found = verdict(Code.STORE_STUCK, store=refusing, stuck=stuck)
    assert found is not None
    assert "restarted in 4 minutes" in found.text


def test_a_restart_by_the_watchdog_is_news_for_a_day() -> None:
    assert level(Code.RESTARTED, mark=WatchdogMark(at=NOW - HOUR, why="write hung")) == "raise"
    assert level(Code.RESTARTED, mark=WatchdogMark(at=NOW - 25 * HOUR, why="write hung")) == "clear"


# ── the forecast ──


def samples(hours: int, free: float, per_day: float, store_per_day: float = 0.0) -> list[Sample]:
    """Hourly ones, of a disk that ends at `free` GiB and loses `per_day` GiB a day."""
    return [
        Sample(
            NOW - back * HOUR,
            int((free + per_day * back / 24) * GIB),
            int((50 - store_per_day * back / 24) * GIB),
            0,
            0,
        )
        for back in range(hours, -1, -1)
    ]


def test_days_left_are_room_by_growth() -> None:
    assert days_left(samples(48, 10, 1.0), 9 * GIB, math.inf) == pytest.approx(9.0, rel=0.01)


def test_a_few_hours_say_nothing_yet() -> None:
    assert days_left(samples(5, 10, 1.0), 9 * GIB, math.inf) is None
    assert level(Code.DISK_FILLING, samples=samples(5, 10, 99.0)) == "unknown"


def test_a_disk_that_empties_never_fills() -> None:
    assert days_left(samples(48, 10, -1.0), 9 * GIB, math.inf) == math.inf


def test_a_backup_that_took_space_for_an_hour_changes_little() -> None:
    course = samples(48, 10, 1.0)
    spike = course[20]
    course[20] = Sample(spike.at, spike.free - 8 * GIB, spike.store, 0, 0)
    assert days_left(course, 9 * GIB, math.inf) == pytest.approx(9.0, rel=0.05)


def test_growth_of_the_store_ends_where_retention_by_bytes_begins() -> None:
    course = samples(48, 10, 2.0, store_per_day=2.0)
    assert days_left(course, 9 * GIB, math.inf) == pytest.approx(4.5, rel=0.01)
    assert days_left(course, 9 * GIB, 4 * GIB) == math.inf
    others = samples(48, 10, 2.0, store_per_day=1.0)  # another grows by 1 GiB a day
    assert days_left(others, 9 * GIB, 2 * GIB) == pytest.approx(7.0, rel=0.02)  # 2 days of both, 5 of the other


@pytest.mark.parametrize(("per_day", "expected"), [(1.5, "raise"), (1.0, "hold"), (0.5, "clear")])
def test_a_disk_is_filling_when_a_week_is_left_and_no_longer_at_half_as_much_again(
    per_day: float, expected: str
) -> None:
    assert level(Code.DISK_FILLING, samples=samples(48, 10, per_day)) == expected


def test_samples_are_kept_every_ten_minutes_for_two_hours_and_then_hourly_for_three_days() -> None:
    kept: list[Sample] = []
    for minute in range(0, 5 * 24 * 60):
        kept = keep(kept, Sample(NOW + minute * MINUTE, 1, 1, 1, 1))
    assert kept[-1].at - kept[0].at <= 72 * HOUR
    assert 80 <= len(kept) <= 90
    assert [b.at - a.at for a, b in zip(kept[-12:], kept[-11:], strict=False)] == [10 * MINUTE] * 11
