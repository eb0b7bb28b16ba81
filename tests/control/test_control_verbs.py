"""Verbs of the control socket that need no running appliance."""

from __future__ import annotations

from typing import Any, cast

import msgspec
import pytest

from appliance import control_verbs
from appliance.control import MAX_LINE
from appliance.control_verbs import ControlVerbs
from appliance.pipeline.boundary import Boundary, PauseError


class Held(Boundary):
    """Whose batch does not end."""

    def paused(self, wait: float = 0.01, limit: float = 0.01) -> Any:
        return super().paused(0.01, limit)


def verbs(boundary: Boundary) -> ControlVerbs:
    return ControlVerbs(boundary, cast("Any", None), cast("Any", None))


async def test_a_pause_that_failed_is_told_once_and_hinders_neither_the_next_nor_the_stop():
    boundary = Held()
    one = verbs(boundary)
    async with boundary.batch:
        with pytest.raises(PauseError, match="did not end its batch"):
            await one.pause({"seconds": 1})
        assert await one.resume({}) == {"paused": False}
        with pytest.raises(PauseError):
            await one.pause({"seconds": 1})
        await one.stop()
    assert await one.pause({"seconds": 1}) == {"paused": True, "seconds": 1}
    await one.stop()
    assert not boundary.is_paused


async def test_the_log_fits_into_an_answer_and_the_newest_lines_stay(monkeypatch: pytest.MonkeyPatch):
    lines = [{"event": f"{number} {'x' * 4_000}"} for number in range(1_000)]
    monkeypatch.setattr(control_verbs.RECENT, "lines", lambda: lines)
    answer = await verbs(Boundary()).logs({})
    kept = cast("list[Any]", answer["lines"])
    assert kept == lines[-len(kept) :]
    assert MAX_LINE // 3 < len(msgspec.json.encode(answer)) < MAX_LINE // 2 + 100
    monkeypatch.setattr(control_verbs.RECENT, "lines", lambda: lines[:3])
    assert (await verbs(Boundary()).logs({}))["lines"] == lines[:3]
