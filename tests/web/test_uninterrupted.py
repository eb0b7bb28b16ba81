"""A query is not left half-way because the reader of its answer went away."""

from __future__ import annotations

import asyncio

import pytest

from appliance.uninterrupted import KeptAnswer, uninterrupted


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


async def test_an_answer_is_kept_for_a_moment_and_asked_for_once_by_all() -> None:
    clock, asked, cancelled, may_end = [0.0], list[int](), list[bool](), asyncio.Event()

    async def ask() -> int:
        asked.append(1)
        try:
            await may_end.wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise
        return len(asked)

    kept = KeptAnswer(ask, fresh=2.0, wait=0.01, monotonic=lambda: clock[0])
    with pytest.raises(TimeoutError):
        await kept.get()
    gone = asyncio.create_task(kept.get())
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.wait({gone})
    with pytest.raises(TimeoutError):
        await kept.get()
    assert (len(asked), cancelled) == (1, [])  # one query, which nobody ended
    may_end.set()
    await asyncio.sleep(0.01)
    assert await kept.get() == 1
    clock[0] = 1.9
    assert await kept.get() == 1
    clock[0] = 2.1
    assert await kept.get() == 2


async def test_a_query_that_fails_is_told_and_asked_anew() -> None:
    answers: list[Exception | int] = [OSError("gone"), 7]

    async def ask() -> int:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    kept = KeptAnswer(ask, fresh=2.0, wait=5.0, monotonic=lambda: 0.0)
    with pytest.raises(OSError, match="gone"):
        await kept.get()
    assert await kept.get() == 7
