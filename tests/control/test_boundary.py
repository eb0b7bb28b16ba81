"""Holding the pipeline between two batches: for a moment, and never for longer than that."""

from __future__ import annotations

import asyncio

import pytest

from appliance.pipeline.boundary import Boundary, PauseError


async def test_a_pause_comes_between_two_batches():
    boundary, steps = Boundary(), list[str]()
    applying = asyncio.Event()

    async def pipeline() -> None:
        for number in range(3):
            async with boundary.batch:
                steps.append(f"begin {number}")
                applying.set()
                await asyncio.sleep(0.02)
                steps.append(f"end {number}")

    task = asyncio.create_task(pipeline())
    await applying.wait()
    async with boundary.paused():
        steps.append("paused")
        assert boundary.is_paused
        await asyncio.sleep(0.05)
        steps.append("over")
    await task
    assert steps == ["begin 0", "end 0", "paused", "over", "begin 1", "end 1", "begin 2", "end 2"]
    assert not boundary.is_paused


async def test_a_batch_that_does_not_end_is_not_waited_for_for_ever():
    boundary = Boundary()
    async with boundary.batch:
        with pytest.raises(PauseError, match=r"did not end its batch within 0\.01 s"):
            async with boundary.paused(wait=0.01):
                raise AssertionError("nobody is paused")
    assert not boundary.batch.locked()


async def test_a_pause_that_takes_too_long_ends_and_the_pipeline_goes_on():
    boundary = Boundary()
    with pytest.raises(PauseError, match=r"took more than 0\.01 s"):
        async with boundary.paused(limit=0.01):
            await asyncio.sleep(60)
    assert not boundary.batch.locked()
    assert not boundary.is_paused


async def test_an_error_during_a_pause_lets_the_pipeline_go_on():
    boundary = Boundary()
    with pytest.raises(ZeroDivisionError):
        async with boundary.paused():
            raise ZeroDivisionError
    with pytest.raises(TimeoutError, match="its own"):
        async with boundary.paused():
            raise TimeoutError("its own")
    assert not boundary.batch.locked()
