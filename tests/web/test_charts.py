"""Where bars stand: inside of the chart, seen when they are small, absent when there is nothing."""

from __future__ import annotations

import pytest

from appliance.web.charts import HEIGHT, WIDTH, columns, level, parts, slots, stacks


def test_bars_stay_inside_and_what_is_small_is_seen() -> None:
    bars = columns([(10.0, "good", "a"), (0.001, "bad", "b"), (None, "", "c")])
    assert [bar.tone for bar in bars] == ["good", "bad", "none"]
    assert all(bar.x >= 0 and bar.x + bar.width <= WIDTH and bar.y >= 0 and bar.height >= 1 for bar in bars)
    assert all(bar.y + bar.height == pytest.approx(HEIGHT) for bar in bars)
    assert bars[1].height == 2.0
    assert columns([]) == ()
    assert columns([(0.0, "", "")])[0].height == 2.0


def test_a_pile_is_as_high_as_its_parts() -> None:
    full, empty = stacks([(((3, "good"), (0, "warn"), (1, "bad")), "a")]), stacks([((), "b")])
    assert [bar.tone for bar in full] == ["good", "bad"]
    assert full[1].y + full[1].height == pytest.approx(full[0].y)
    assert empty[0].tone == "none"


def test_a_level_above_the_chart_is_not_drawn() -> None:
    assert level(200, 100, "x") is None
    assert level(0, 100, "x") is None
    line = level(100, 100, "x")
    assert line is not None
    assert line.y == pytest.approx(2)


def test_parts_fill_the_whole_and_the_smallest_is_seen() -> None:
    made = parts((("good", "good", 9_999), ("poor", "bad", 1), ("none", "", 0)))
    assert sum(part.width for part in made) == pytest.approx(100)
    assert made[1].width > 0.9
    assert made[2].width == 0
    assert parts((("good", "good", 0),)) == ()


def test_slots_cover_the_period() -> None:
    assert slots(105, 130, 10) == [100, 110, 120]
