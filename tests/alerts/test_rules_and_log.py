"""Rules as people edit them, and the log as they may see it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import update

from appliance.accounts.access import (
    COMMAND_LINE,
    Actor,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    Role,
    WaitError,
)
from appliance.alerts.entries import MAX_TESTS, TESTS_SECONDS
from appliance.alerts.models import RuleModel
from appliance.alerts.rules import MAX_RULES
from appliance.alerts.schemas import RuleDraft
from appliance.hookspecs import DeliveryError
from appliance.projects.models import ProjectModel

if TYPE_CHECKING:
    from .conftest import World

GOOD = RuleDraft(name="Fatal ones", condition="new_issue", recipients="ann@example.com", settings={"level": "fatal"})


def actor(role: Role, *projects: int) -> Actor:
    everything = role in {Role.OWNER, Role.ADMIN}
    return Actor(user_id=9, email="x@example.com", role=role, project_ids=None if everything else frozenset(projects))


async def test_a_new_project_is_told_of_new_issues_and_regressions(world: World) -> None:
    rules = await world.service.rules.list(COMMAND_LINE, world.project_id)
    assert [(rule.name, rule.condition, rule.channel, rule.problem) for rule in rules] == [
        ("New issue", "new_issue", "email", ""),
        ("Regression", "regression", "email", ""),
    ]


async def test_a_rule_is_made_changed_switched_and_deleted(world: World) -> None:
    rules = world.service.rules
    rule_id = await rules.create(COMMAND_LINE, world.project_id, GOOD)
    rule = await rules.get(COMMAND_LINE, rule_id)
    assert (rule.recipients, rule.settings["level"], rule.throttle_minutes) == (["ann@example.com"], "fatal", None)
    await rules.update(COMMAND_LINE, rule_id, RuleDraft(name="All", condition="regression", throttle_minutes="30"))
    rule = await rules.get(COMMAND_LINE, rule_id)
    assert (rule.name, rule.condition, rule.recipients, rule.throttle_minutes) == ("All", "regression", [], 30)
    assert not (await rules.switch(COMMAND_LINE, rule_id, False)).enabled
    await rules.delete(COMMAND_LINE, rule_id)
    with pytest.raises(NotFoundError):
        await rules.get(COMMAND_LINE, rule_id)


async def test_a_rules_settings_decide_what_it_fires_on(world: World) -> None:
    async with world.database.write() as session:
        await session.execute(update(RuleModel).values(enabled=False))
    await world.service.rules.create(COMMAND_LINE, world.project_id, GOOD)
    await world.changes(await world.issue(1), await world.issue(2, level="fatal"))
    await world.service.worker.drain()
    assert [(mail.subject, mail.recipients) for mail in world.first.sent] == [
        ("[Shop] New issue: TypeError: 2", ("ann@example.com",))
    ]


async def test_all_that_is_wrong_with_a_rule_is_said_at_once_beside_its_field(world: World) -> None:
    draft = RuleDraft(
        name=" ", condition="new_issue", channel="pigeon", recipients="nobody", throttle_minutes="soon",
        settings={"level": "loud", "environment": "x" * 501},
    )  # fmt: skip
    with pytest.raises(InvalidInputError) as raised:
        await world.service.rules.create(COMMAND_LINE, world.project_id, draft)
    assert set(raised.value.errors) == {
        "name", "channel", "recipients", "throttle_minutes", "setting.level", "setting.environment",
    }  # fmt: skip


async def test_a_project_has_a_bounded_number_of_rules(world: World) -> None:
    async with world.database.write() as session:
        for number in range(MAX_RULES):
            rule = RuleModel(project_id=world.project_id, name=str(number), condition="new_issue", created_at=0)
            session.add(rule)
    with pytest.raises(InvalidInputError, match="at most"):
        await world.service.rules.create(COMMAND_LINE, world.project_id, GOOD)


async def test_a_rule_says_what_keeps_it_from_telling_anybody(world: World) -> None:
    world.first.problem = world.second.problem = "Not configured."
    (rule, _) = await world.service.rules.list(COMMAND_LINE, world.project_id)
    assert rule.problem.startswith('No notifier of the channel "email" is configured')
    del world.plugins.rules["new_issue"]
    (rule, _) = await world.service.rules.list(COMMAND_LINE, world.project_id)
    assert rule.problem == "No plugin brings its condition, new_issue: it never fires."


async def test_a_test_message_goes_to_the_rules_recipients_and_into_the_log(world: World) -> None:
    rule_id = await world.service.rules.create(COMMAND_LINE, world.project_id, GOOD)
    message_id = await world.service.rules.test(COMMAND_LINE, rule_id)
    await world.service.worker.drain()
    assert [(mail.kind, mail.recipients) for mail in world.first.sent] == [("test", ("ann@example.com",))]
    messages = await world.service.log.messages(COMMAND_LINE)
    assert [(message.id, message.state) for message in messages.items] == [(message_id, "delivered")]


async def test_what_belongs_to_another_project_does_not_exist_for_a_member(world: World) -> None:
    stranger, service = actor(Role.MEMBER, 99), world.service
    await world.open_issues()
    await service.worker.drain()
    for call in (
        service.rules.list(stranger, world.project_id),
        service.rules.project_id(stranger, "shop"),
        service.rules.get(stranger, 1),
        service.rules.create(stranger, world.project_id, GOOD),
        service.rules.update(stranger, 1, GOOD),
        service.rules.switch(stranger, 1, False),
        service.rules.delete(stranger, 1),
        service.rules.test(stranger, 1),
        service.log.alerts(stranger, project_id=world.project_id),
        service.log.deliveries(stranger, project_id=world.project_id),
        service.log.messages(stranger, project_id=world.project_id),
        service.log.retry(stranger, 2),
        service.log.discard(stranger, 2),
    ):
        with pytest.raises(NotFoundError):
            await call
    for listing in (service.log.alerts(stranger), service.log.deliveries(stranger), service.log.messages(stranger)):
        assert (await listing).items == []
    assert await service.log.failed_count(stranger) == 0


async def test_a_viewer_reads_and_changes_nothing(world: World) -> None:
    viewer, service = actor(Role.VIEWER, world.project_id), world.service
    await world.open_issues()
    await service.worker.drain()
    assert len(await service.rules.list(viewer, world.project_id)) == 2
    assert len((await service.log.alerts(viewer)).items) == 1
    for call in (
        service.rules.create(viewer, world.project_id, GOOD),
        service.rules.update(viewer, 1, GOOD),
        service.rules.switch(viewer, 1, False),
        service.rules.delete(viewer, 1),
        service.rules.test(viewer, 1),
        service.log.retry(viewer, 2),
    ):
        with pytest.raises(ForbiddenError):
            await call


async def test_account_mail_is_for_those_who_see_the_system(world: World) -> None:
    async with world.database.write() as session:
        link = "https://monitor.example.com/invitation/s"
        await world.service.send_account_mail(session, "invitation", to="new@example.com", link=link, hours=24)
    await world.service.worker.drain()
    log = world.service.log
    assert len((await log.messages(actor(Role.ADMIN))).items) == 1
    assert len((await log.deliveries(actor(Role.ADMIN))).items) == 1
    member = actor(Role.MEMBER, world.project_id)
    assert (await log.messages(member)).items == []
    assert (await log.deliveries(member)).items == []
    with pytest.raises(NotFoundError):
        await log.retry(member, 1)


async def test_a_failed_message_can_be_tried_again_or_given_up(
    world: World, outage: Callable[..., DeliveryError]
) -> None:
    world.first.always = world.second.always = outage("Refused.", retryable=False)
    await world.open_issues()
    await world.service.worker.drain()
    log = world.service.log
    (message,) = (await log.messages(COMMAND_LINE, state="failed")).items
    assert (message.retryable, message.error, len(message.deliveries)) == (True, "Refused. Refused.", 2)
    assert await log.failed_count(COMMAND_LINE) == 1
    world.first.always = None
    await log.retry(COMMAND_LINE, message.id)
    await world.service.worker.drain()
    (message,) = (await log.messages(COMMAND_LINE)).items
    assert (message.state, [row.ok for row in message.deliveries]) == ("delivered", [False, False, True])
    with pytest.raises(ForbiddenError):
        await log.retry(COMMAND_LINE, message.id)
    with pytest.raises(ForbiddenError):
        await log.discard(COMMAND_LINE, message.id)


async def test_a_digest_that_is_given_up_does_not_hold_back_what_comes_after_it(world: World) -> None:
    await world.open_issues(3)
    await world.service.worker.drain()
    (digest,) = (await world.service.log.messages(COMMAND_LINE, state="waiting")).items
    assert digest.subject == "A digest, still collecting"
    await world.service.log.discard(COMMAND_LINE, digest.id)
    world.clock.advance(301)
    await world.open_issues(1, start=9)
    await world.service.worker.drain()
    assert [mail.subject for mail in world.first.sent][1:] == ["[Shop] New issue: TypeError: 9"]


async def test_a_message_with_a_one_time_link_cannot_be_tried_again(world: World) -> None:
    world.first.problem = world.second.problem = "Not configured."
    async with world.database.write() as session:
        link = "https://monitor.example.com/invitation/s"
        await world.service.send_account_mail(session, "invitation", to="new@example.com", link=link, hours=24)
    await world.service.worker.drain()
    (message,) = (await world.service.log.messages(COMMAND_LINE)).items
    assert not message.retryable
    with pytest.raises(ForbiddenError):
        await world.service.log.retry(COMMAND_LINE, message.id)


async def test_lists_page_by_cursor_without_gaps_or_repeats(world: World) -> None:
    async with world.database.write() as session:
        await session.execute(update(RuleModel).values(throttle_minutes=0))
    await world.open_issues(7)
    await world.service.worker.drain()
    seen: list[int | None] = []
    cursor: str | None = ""
    while cursor is not None:
        page = await world.service.log.alerts(COMMAND_LINE, limit=3, cursor=cursor)
        seen += [item.issue_id for item in page.items]
        cursor = page.next
    assert seen == [7, 6, 5, 4, 3, 2, 1]
    assert len((await world.service.log.deliveries(COMMAND_LINE, notifier="resend", ok=True)).items) == 7
    assert (await world.service.log.deliveries(COMMAND_LINE, notifier="smtp")).items == []


async def test_the_log_forgets_what_is_older_than_configured_and_nothing_that_waits(world: World) -> None:
    await world.open_issues(3)
    await world.service.worker.drain()
    world.clock.advance(31 * 86_400)
    assert await world.service.prune() == 3  # the change, the first mail, its alert
    assert [entry.purpose for entry in await world.outbox()] == ["digest"]
    assert len(await world.alerts()) == 2
    assert await world.deliveries() == []


async def test_rules_of_a_deleted_project_are_gone(world: World) -> None:
    async with world.database.write() as session:
        await session.execute(update(ProjectModel).values(deleted_at=1))
    with pytest.raises(NotFoundError):
        await world.service.rules.get(COMMAND_LINE, 1)
    with pytest.raises(NotFoundError):
        await world.service.rules.project_id(COMMAND_LINE, "shop")


def test_channels_are_shown_with_what_is_missing(world: World) -> None:
    world.second.problem = "SMTP needs [plugins.smtp] host."
    (channel,) = world.service.channels(COMMAND_LINE)
    assert (channel.name, channel.problem) == ("email", "")
    assert [(item.name, item.problem) for item in channel.notifiers] == [
        ("resend", ""),
        ("smtp", "SMTP needs [plugins.smtp] host."),
    ]
    assert world.service.mail_problem() == ""


# ── trying things out is bounded ──


async def test_a_rule_is_tried_so_often_and_then_has_to_wait(world: World) -> None:
    member = actor(Role.MEMBER, world.project_id)
    (first, second) = await world.service.rules.list(member, world.project_id)
    for number in range(MAX_TESTS):
        await world.service.rules.test(member, (first, second)[number % 2].id)
    with pytest.raises(WaitError) as refused:
        await world.service.rules.test(member, first.id)
    assert 0 < refused.value.retry_after <= TESTS_SECONDS
    assert len(await world.outbox()) == MAX_TESTS
    assert await world.service.test_channel(actor(Role.ADMIN), "email") is not None  # another purse
    world.clock.advance(TESTS_SECONDS + 1)
    assert await world.service.rules.test(member, first.id) is not None


async def test_channels_are_tried_so_often_and_then_have_to_wait(world: World) -> None:
    for _ in range(MAX_TESTS):
        await world.service.test_channel(actor(Role.ADMIN), "email")
    with pytest.raises(WaitError):
        await world.service.test_channel(actor(Role.ADMIN), "email")
