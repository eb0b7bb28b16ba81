"""Trying dead letters again, giving them up, and keeping them within bounds."""

from __future__ import annotations

import asyncio

import pytest

from appliance.accounts.access import COMMAND_LINE, Actor, ForbiddenError, NotFoundError, Role
from appliance.pipeline.dead_letters import prune
from appliance.system.dead_letters import DeadLetters

DAY = 86_400_000_000
MEMBER = Actor(user_id=3, email="m@example.com", role=Role.MEMBER, project_ids=frozenset({1}))


def letters_of(house, pipeline=None):
    files = (pipeline or house.pipeline()).files
    return DeadLetters(house.database, files, house.clock, pipeline.wake if pipeline else lambda: None)


def record_files(house):
    return list((house.data_dir / "dead_letters").iterdir())


async def make_letters(house, event, *numbers):
    """Records that fail while the tag `do` says `raise` and are fine once the worker is another one."""
    for number in numbers:
        await house.send(event(number), protocol="later")
    await house.drain(house.pipeline())
    assert len(await house.dead()) == len(numbers)


async def test_a_retried_record_is_stored_once_and_its_bytes_removed(house, event):
    await make_letters(house, event, 1, 2)
    house.worker_options["aliases"] = ["later"]
    pipeline = house.pipeline()
    task = asyncio.create_task(pipeline.run())
    assert await letters_of(house, pipeline).retry(COMMAND_LINE, None) == 2
    async with asyncio.timeout(30):
        while [letter.state for letter in await house.dead()] != ["retried", "retried"]:
            await asyncio.sleep(0.02)
    await pipeline.stop()
    await task
    assert house.event_ids() == [f"{1:032x}", f"{2:032x}"]
    assert await house.issue_events() == 2
    assert not record_files(house)
    counts = await house.counts()
    assert (counts["records"], counts["events"]) == (2, 2)


async def test_a_retry_of_what_is_stored_already_adds_nothing(house, event):
    await make_letters(house, event, 1)
    await house.send(event(1))  # the SDK sent it again meanwhile
    await house.drain(house.pipeline())
    house.worker_options["aliases"] = ["later"]
    await letters_of(house).retry(COMMAND_LINE, None)
    await drain_retries(house)
    assert house.event_ids() == [f"{1:032x}"]
    assert await house.issue_events() == 1


async def drain_retries(house, pipeline=None):
    pipeline = pipeline or house.pipeline()
    task = asyncio.create_task(pipeline.run())
    async with asyncio.timeout(30):
        while any(letter.state == "retrying" for letter in await house.dead()):
            await asyncio.sleep(0.02)
    await pipeline.stop()
    await task


async def test_a_retry_that_fails_again_is_kept_with_the_new_reason(house, event):
    await make_letters(house, event, 1)
    await letters_of(house).retry(COMMAND_LINE, None)
    await drain_retries(house)
    (letter,) = await house.dead()
    assert letter.state == "kept"
    assert len(record_files(house)) == 1
    assert (await house.counts())["dead_letters"] == 1


async def test_a_retry_that_kills_the_worker_is_kept_with_that_reason(house, event):
    await house.send(event(1, do="abort"), protocol="later")
    await house.drain(house.pipeline())
    house.worker_options["aliases"] = ["later"]
    await letters_of(house).retry(COMMAND_LINE, None)
    await drain_retries(house)
    (letter,) = await house.dead()
    assert (letter.state, letter.reason) == ("kept", "crashed")
    assert not house.event_ids()


@pytest.mark.parametrize("step", ["prepared", "stored", "dead_letters", "recorded"])
async def test_a_retry_killed_behind_any_step_is_applied_once(house, event, step):
    await make_letters(house, event, 1)
    house.worker_options["aliases"] = ["later"]
    await letters_of(house).retry(COMMAND_LINE, None)

    class Killed(BaseException):
        pass

    def checkpoint(name):
        if name == step:
            raise Killed

    with pytest.raises(Killed):
        await asyncio.wait_for(house.pipeline(checkpoint).run(), 30)
    await drain_retries(house)
    assert house.event_ids() == [f"{1:032x}"]
    assert await house.issue_events() == 1
    assert [letter.state for letter in await house.dead()] == ["retried"]


async def test_discarded_records_are_counted_as_dropped_and_their_bytes_removed(house, event):
    await make_letters(house, event, 1, 2, 3)
    letters = letters_of(house)
    first = (await house.dead())[0].id
    assert await letters.discard(COMMAND_LINE, [first]) == 1
    assert await letters.discard(COMMAND_LINE, [first]) == 0
    assert len(record_files(house)) == 2
    assert await letters.discard(COMMAND_LINE, None) == 2
    assert not record_files(house)
    assert (await house.drops())[("pipeline", "dead_letter_discarded")] == 3
    assert (await letters.kept()) == (0, 0)


async def test_the_content_is_shown_to_owners_and_admins_alone(house, event):
    await make_letters(house, event, 1)
    letters = letters_of(house)
    letter = (await house.dead())[0].id
    content = await letters.content(COMMAND_LINE, letter)
    assert "message of 1" in content.body
    for call in (letters.list(MEMBER), letters.content(MEMBER, letter), letters.retry(MEMBER, None)):
        with pytest.raises(ForbiddenError):
            await call
    with pytest.raises(NotFoundError):
        await letters.content(COMMAND_LINE, letter + 1)


async def test_lists_come_in_pages_newest_first(house, event):
    await make_letters(house, event, *range(5))
    letters = letters_of(house)
    first = await letters.list(COMMAND_LINE, limit=3)
    second = await letters.list(COMMAND_LINE, limit=3, cursor=first.next or "")
    ids = [item.id for item in [*first.items, *second.items]]
    assert ids == sorted(ids, reverse=True)
    assert len(ids) == 5
    assert second.next is None


async def test_old_and_many_dead_letters_are_pruned_and_counted(house, event):
    await make_letters(house, event, *range(4))
    pipeline = house.pipeline()
    now = house.clock.now()
    size = (await house.dead())[0].bytes
    assert await prune(house.database, pipeline.files, days=14, max_bytes=size * 2 + 1, now=now) == 2
    assert (await house.drops())[("pipeline", "dead_letter_overflow")] == 2
    assert await prune(house.database, pipeline.files, days=14, max_bytes=10**9, now=now + 15 * DAY) == 2
    assert (await house.drops())[("pipeline", "dead_letter_expired")] == 2
    assert not record_files(house)
