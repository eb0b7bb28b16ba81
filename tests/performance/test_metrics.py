"""What metrics are called, how their values read, when they are good."""

from __future__ import annotations

import pytest

from appliance.hookspecs import EventFilter, MetricSummary
from appliance.performance.metrics import VITALS, described, in_words, limit_in_words, rating, tone
from appliance.performance.service import HOUR, Span, _before, whole_hours  # pyright: ignore[reportPrivateUsage]
from appliance.performance.views import compared
from appliance.web.formats import THIN


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (2_310.0, "millisecond", f"2.31{THIN}s"), (83.4, "millisecond", f"83{THIN}ms"), (0.0834, "none", "0.083"),
        (0.0, "none", "0"), (24.0, "fps", f"24{THIN}fps"), (3_482.0, "byte", f"3.4{THIN}KiB"),
        (1.5, "second", f"1.50{THIN}s"), (2_000.0, "millisecond", f"2{THIN}s"), (0.06, "", "0.060"),
        (-5.0, "millisecond", f"-5{THIN}ms"), (12.0, "percent", f"12{THIN}%"), (1_234.5, "", "1,234.5"),
    ],
)  # fmt: skip
def test_a_value_has_its_unit(value: float, unit: str, words: str) -> None:
    assert in_words(value, unit) == words


def test_a_threshold_is_a_round_number() -> None:
    vitals = {metric.name: metric for metric in VITALS}
    lcp, cls = vitals["LCP"], vitals["CLS"]
    assert [limit_in_words(limit or 0, lcp.unit) for limit in (lcp.good, lcp.poor)] == [f"2.5{THIN}s", f"4{THIN}s"]
    assert limit_in_words(cls.good or 0, cls.unit) == "0.1"


@pytest.mark.parametrize("metric", VITALS, ids=lambda metric: metric.name)
def test_a_vital_is_judged_at_its_thresholds(metric) -> None:
    assert rating(metric, metric.good) == "good"
    assert rating(metric, metric.good * 1.01) == "needs improvement"
    assert rating(metric, metric.poor * 1.01) == "poor"
    assert tone(metric, metric.poor * 1.01) == "bad"


def test_what_nobody_has_judged_is_not_rated() -> None:
    own = described("checkout/render", "second")
    assert (own.label, own.unit, rating(own, 1e9), tone(own, 1e9)) == ("checkout/render", "second", "", "")


def summary(p75: float, samples: int = 100) -> MetricSummary:
    return MetricSummary(
        metric="LCP", samples=samples, p50=p75, p75=p75, p95=p75, good=0, needs_improvement=0, poor=0
    )  # fmt: skip


def test_a_period_is_compared_with_the_one_before() -> None:
    lcp, fps = described("LCP"), described("low_fps")
    assert compared(lcp, summary(3_000), summary(2_000)) == (f"▲ 50{THIN}% more than before", "bad")
    assert compared(lcp, summary(1_000), summary(2_000)) == (f"▼ 50{THIN}% less than before", "good")
    assert compared(fps, summary(40), summary(20))[1] == "good"
    assert compared(lcp, summary(2_010), summary(2_000)) == ("as in the period before", "")
    assert compared(lcp, summary(3_000, 5), summary(2_000)) == ("", "")
    assert compared(lcp, None, summary(2_000)) == compared(lcp, summary(2_000), None) == ("", "")


def test_a_period_in_hours_begins_with_an_hour_and_so_does_the_one_before() -> None:
    noon = 1_800_000_000_000_000 // HOUR * HOUR
    now = noon + 40 * 60_000_000
    start = whole_hours(now - 24 * HOUR, HOUR)
    assert start == noon - 24 * HOUR
    before = _before(EventFilter(project_ids=(1,), start=start), Span(end=now, bucket=HOUR))
    assert (before.start, before.end) == (noon - 49 * HOUR, start)
    minutes = 2 * 60_000_000  # the bars of the last hour
    assert whole_hours(now - HOUR, minutes) == now - HOUR
