"""A query is not left half-way because the reader of its answer went away."""

from __future__ import annotations

import asyncio

import pytest

from appliance.uninterrupted import uninterrupted


async def test_a_cancelled_caller_waits_for_its_work_and_is_cancelled_then() -> None:
    begun, may_end = asyncio.Event(), asyncio.Event()
    done: list[bool] = []

    async def work() -> None:
        begun.set()
        await may_end.wait()
        done.append(True)

    caller = asyncio.create_task(uninterrupted(work()))
    await begun.wait()
    caller.cancel()
    await asyncio.sleep(0)
    assert not caller.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert done == [True]


async def test_an_answer_and_an_error_reach_the_caller() -> None:
    async def answer() -> int:
        return 7

    async def fail() -> int:
        raise ValueError("no")

    assert await uninterrupted(answer()) == 7
    with pytest.raises(ValueError, match="no"):
        await uninterrupted(fail())
