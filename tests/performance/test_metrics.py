"""What metrics are called, how their values read, when they are good."""

from __future__ import annotations

import pytest

from appliance.performance.metrics import VITALS, described, in_words, rating, tone
from appliance.web.formats import THIN


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (2_310.0, "millisecond", f"2.31{THIN}s"), (83.4, "millisecond", f"83{THIN}ms"), (0.0834, "none", "0.083"),
        (0.0, "none", "0"), (24.0, "fps", f"24{THIN}fps"), (3_482.0, "byte", f"3.4{THIN}KiB"),
        (1.5, "second", f"1.5{THIN}s"),
        (-5.0, "millisecond", f"-5{THIN}ms"), (12.0, "percent", f"12{THIN}%"), (1_234.5, "", "1,234.5"),
    ],
)  # fmt: skip
def test_a_value_has_its_unit(value: float, unit: str, words: str) -> None:
    assert in_words(value, unit) == words


@pytest.mark.parametrize("metric", VITALS, ids=lambda metric: metric.name)
def test_a_vital_is_judged_at_its_thresholds(metric) -> None:
    assert rating(metric, metric.good) == "good"
    assert rating(metric, metric.good * 1.01) == "needs improvement"
    assert rating(metric, metric.poor * 1.01) == "poor"
    assert tone(metric, metric.poor * 1.01) == "bad"


def test_what_nobody_has_judged_is_not_rated() -> None:
    own = described("checkout/render", "second")
    assert (own.label, own.unit, rating(own, 1e9), tone(own, 1e9)) == ("checkout/render", "second", "", "")
