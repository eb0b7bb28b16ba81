"""That nobody was told of an alert stands on the System page and beside "System" in the navigation."""

from __future__ import annotations

from typing import Any

import pytest

from appliance.accounts.access import COMMAND_LINE, Role
from appliance.alerts.entries import Body, Purpose, State, add_entry
from appliance.alerts.models import OutboxModel, RuleModel
from appliance.alerts.schemas import ChannelItem, NotifierItem
from appliance.system import figures
from appliance.system.problems import find_problems, headline_of
from appliance.system.schemas import Problem, SpoolState, StoreState, Undelivered


def problems(channels: list[ChannelItem], undelivered: Undelivered) -> list[Problem]:
    return find_problems(
        spool=SpoolState(records=0, bytes=0, oldest_seconds=0.0, max_bytes=0),
        pipeline=None,
        store=StoreState(),
        dead_letters=0,
        jobs=[],
        plugins=[],
        channels=channels,
        undelivered=undelivered,
    )


def channel(*notifiers: NotifierItem, problem: str = "") -> ChannelItem:
    return ChannelItem(name="email", problem=problem, notifiers=list(notifiers))


def notifier(name: str, *, problem: str = "", open_until: int | None = None) -> NotifierItem:
    return NotifierItem(name=name, problem=problem, open_until=open_until, failures=0, last_error="401 bad key")


async def test_given_up_messages_are_counted_and_lead_to_themselves(world: Any) -> None:
    async with world.database.write() as session:
        for number, (purpose, state, tries) in enumerate(
            [
                (Purpose.ALERT, State.FAILED, 5),
                (Purpose.DIGEST, State.FAILED, 5),
                (Purpose.ALERT, State.WAITING, 2),
                (Purpose.DIGEST, State.WAITING, 0),  # collects
                (Purpose.ALERT, State.DISCARDED, 5),  # a person gave it up
                (Purpose.HOOK, State.FAILED, 5),  # nobody was to be told
            ]
        ):
            entry = await add_entry(session, purpose, f"{number}", Body(), world.clock.now(), channel="email")
            row = await session.get(OutboxModel, entry)
            assert row is not None
            row.state, row.attempts, row.last_error = state, tries, "refused" if tries else ""
    assert await figures.undelivered(world.database) == Undelivered(failed=2, late=1)
    state = await world.system.state(COMMAND_LINE)
    failed = next(problem for problem in state.problems if "2 messages were not delivered" in problem.text)
    assert (failed.tone, failed.href) == ("bad", "/alerts/messages?state=failed")
    assert (await world.system.headline()).tone == "bad"
    async with await world.signed_in(Role.ADMIN) as browser:
        assert 'href="/alerts/messages?state=failed"' in (await browser.get("/system")).text


async def test_only_rules_that_are_on_and_of_living_projects_count(world: Any) -> None:
    now = world.clock.now()
    alive = await world.site.projects.create(COMMAND_LINE, "Alive")
    gone = await world.site.projects.create(COMMAND_LINE, "Gone")
    async with world.database.write() as session:
        for project, enabled in ((alive, True), (alive, False), (gone, True)):
            session.add(
                RuleModel(
                    project_id=project.id, name="r", condition="new_issue", enabled=enabled, created_at=now, channel="c"
                )
            )
    await world.site.projects.delete(COMMAND_LINE, gone.id, gone.slug)
    assert (await figures.undelivered(world.database)).rules["c"] == 1


def test_rules_that_tell_a_channel_without_a_notifier_are_a_problem_before_anything_failed() -> None:
    silent = channel(notifier("smtp", problem="No host."), problem="No notifier is configured. No host.")
    (found,) = problems([silent], Undelivered(rules={"email": 2}))
    assert "2 rules tell" in found.text
    assert found.mend == "No notifier is configured. No host."
    assert headline_of([found]).word == "1 problem"


def test_a_channel_that_no_rule_tells_may_stay_unconfigured() -> None:
    assert problems([channel(problem="No notifier is configured.")], Undelivered()) == []


def test_a_channel_whose_notifiers_all_fail_is_bad_and_one_that_still_has_a_way_is_not() -> None:
    rules = Undelivered(rules={"email": 1})
    down = [notifier("resend", open_until=9), notifier("smtp", open_until=9), notifier("webhook", problem="no url")]
    (found,) = problems([channel(*down)], rules)
    assert found.tone == "bad"
    assert "401 bad key" in found.text
    assert problems([channel(notifier("resend", open_until=9), notifier("smtp"))], rules) == []


def test_rules_for_a_channel_that_is_gone_from_the_file_are_bad() -> None:
    (found,) = problems([channel(notifier("smtp"))], Undelivered(rules={"email": 1, "pager": 1}))
    assert found.tone == "bad"
    assert '"pager"' in found.text


@pytest.mark.parametrize(("late", "words"), [(1, "1 message waits"), (3, "3 messages wait")])
def test_messages_that_everybody_refused_so_far_are_named(late: int, words: str) -> None:
    (found,) = problems([], Undelivered(late=late))
    assert words in found.text
    assert found.tone == "warn"
