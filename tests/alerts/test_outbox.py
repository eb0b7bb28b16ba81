"""From a changed issue to a delivered message, through crashes, storms and outages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import update

from appliance.alerts.entries import decode_body
from appliance.alerts.models import OutboxModel, RuleModel
from appliance.alerts.outbox import GIVE_UP_SECONDS, retry_seconds
from appliance.hookspecs import DeliveryError, EventSummary, IssueChange, Notification, Receipt, Rule
from appliance.model import Event, ExceptionValue, Frame, Kind
from appliance.projects.models import ProjectModel

if TYPE_CHECKING:
    from .conftest import World

A_STORM = 5_000


async def test_a_new_issue_is_mailed_to_the_projects_people_with_what_they_need(world: World) -> None:
    change = await world.issue(7, unhandled=True)
    event = Event(
        id=change.event_id,
        kind=Kind.ERROR,
        timestamp=0,
        exceptions=[
            ExceptionValue(
                type="TypeError",
                frames=[
                    Frame(function="framework", filename="vendor.js", lineno=1, in_app=False),
                    Frame(function="render", filename="app.js", lineno=12, colno=3, in_app=True),
                ],
            )
        ],
    )
    world.events.known[change.event_id] = (summary(change), event)
    await world.changes(change)
    await world.service.worker.drain()
    (mail,) = world.first.sent
    assert mail.recipients == ("owner1@example.com", "admin2@example.com", "member3@example.com")
    assert mail.subject == "[Shop] New issue: TypeError: 7"
    assert mail.kind == "new_issue"
    assert mail.url == "https://monitor.example.com/issues/7"
    for part in (mail.text, mail.html):
        for wanted in (
            "TypeError: 7", "render (app.js)", "render (app.js:12:3)", "shop@1.2.0", "production", "error, unhandled",
            "7, 2 users", "https://shop.example.com/cart", "Firefox 130", "https://monitor.example.com/issues/7",
            "https://monitor.example.com/projects/shop/alerts",
        ):  # fmt: skip
            assert wanted in part
        assert "vendor.js" not in part
    (delivery,) = await world.deliveries()
    assert (delivery.ok, delivery.notifier, delivery.reply) == (True, "resend", "250 taken")
    assert {entry.state for entry in await world.outbox()} == {"delivered"}


async def test_a_mail_goes_out_although_the_event_cannot_be_read(world: World) -> None:
    await world.open_issues()
    await world.service.worker.drain()
    assert len(world.first.sent) == 1


async def test_filling_the_outbox_twice_with_the_same_changes_tells_once(world: World) -> None:
    change = await world.issue(1)
    await world.changes(change)
    await world.changes(change)
    await world.service.worker.drain()
    await world.changes(change)
    await world.service.worker.drain()
    assert len(world.first.sent) == 1


async def test_a_storm_is_one_mail_and_one_digest_a_window(world: World) -> None:
    async with world.database.write() as session:
        await session.execute(update(ProjectModel).values(name="Shop"))
    changes = [
        IssueChange(
            change="opened", project_id=world.project_id, issue_id=number, title=f"Storm {number}", culprit="",
            level="error", kind="error", event_id="", release="", environment="", event_count=1, at=number,
        )
        for number in range(1, A_STORM + 1)
    ]  # fmt: skip
    await world.changes(*changes)
    await world.service.worker.drain()
    assert [mail.kind for mail in world.first.sent] == ["new_issue"]
    world.clock.advance(299)
    await world.service.worker.drain()
    assert len(world.first.sent) == 1
    world.clock.advance(1)
    await world.service.worker.drain()
    assert [mail.kind for mail in world.first.sent] == ["new_issue", "digest"]
    digest = world.first.sent[1]
    assert digest.subject == "[Shop] 4,999 new issues: Storm 2 and 4,998 more"
    assert "and 4,979 more." in digest.text
    assert digest.text.count("* New issue: ") == 20
    alerts = await world.alerts()
    assert len(alerts) == A_STORM
    assert all(alert.outbox_id is not None for alert in alerts)


async def test_what_comes_within_the_window_after_a_digest_waits_for_the_next(world: World) -> None:
    await world.open_issues(3)
    await world.service.worker.drain()
    world.clock.advance(300)
    await world.service.worker.drain()
    await world.open_issues(2, start=10)
    await world.service.worker.drain()
    assert [mail.kind for mail in world.first.sent] == ["new_issue", "digest"]
    world.clock.advance(300)
    await world.service.worker.drain()
    assert [mail.kind for mail in world.first.sent] == ["new_issue", "digest", "digest"]
    world.clock.advance(301)
    await world.open_issues(1, start=20)
    await world.service.worker.drain()
    assert [mail.kind for mail in world.first.sent] == ["new_issue", "digest", "digest", "new_issue"]


async def test_a_digest_of_one_is_an_ordinary_mail(world: World) -> None:
    await world.open_issues(2)
    await world.service.worker.drain()
    world.clock.advance(300)
    await world.service.worker.drain()
    assert [mail.subject for mail in world.first.sent] == [
        "[Shop] New issue: TypeError: 1",
        "[Shop] New issue: TypeError: 2",
    ]


async def test_rules_are_throttled_by_themselves(world: World) -> None:
    await world.open_issues(1)
    await world.changes(await world.issue(2, change="regressed"))
    await world.service.worker.drain()
    assert [mail.kind for mail in world.first.sent] == ["new_issue", "regression"]


async def test_a_throttle_of_zero_sends_each(world: World) -> None:
    async with world.database.write() as session:
        await session.execute(update(RuleModel).values(throttle_minutes=0))
    await world.open_issues(3)
    await world.service.worker.drain()
    assert len(world.first.sent) == 3


async def test_when_the_first_notifier_fails_the_second_delivers_in_the_same_try(
    world: World, outage: Callable[..., DeliveryError]
) -> None:
    world.first.always = outage("Resend has a problem of its own (500).")
    await world.open_issues()
    await world.service.worker.drain()
    assert len(world.second.sent) == 1
    assert [(row.notifier, row.ok, row.attempt) for row in await world.deliveries()] == [
        ("resend", False, 1),
        ("smtp", True, 1),
    ]


async def test_an_ambiguous_failure_goes_on_to_the_next_and_the_log_says_that_it_may_arrive_twice(
    world: World, outage: Callable[..., DeliveryError]
) -> None:
    world.first.always = outage("No answer within 15 s.", ambiguous=True)
    await world.open_issues()
    await world.service.worker.drain()
    assert len(world.second.sent) == 1
    assert "arrives from the next notifier too" in (await world.deliveries())[0].reply


async def test_every_try_has_the_same_id_and_bytes_and_waits_longer_than_the_one_before(
    world: World, outage: Callable[..., DeliveryError]
) -> None:
    seen: list[Notification] = []

    async def remember(notification: Notification) -> Receipt:
        seen.append(notification)
        raise outage()

    world.first.deliver = remember
    world.second.problem = "SMTP needs [plugins.smtp] host."
    world.config.alerts.breaker_failures = 100
    worker = world.restarted().worker
    await world.open_issues()
    waits: list[float] = []
    for _ in range(world.config.alerts.attempts):
        await worker.drain()
        (entry,) = await world.outbox(purpose="alert")
        if entry.state == "waiting":
            waits.append((entry.next_at - world.clock.now()) / 1_000_000)
            world.clock.advance(waits[-1])
    assert len(seen) == world.config.alerts.attempts
    assert all(notification == seen[0] for notification in seen)
    assert waits == sorted(waits)
    assert waits[0] == pytest.approx(retry_seconds(entry.id, 1))
    assert (entry.state, entry.last_error) == ("failed", "The provider is down.")
    world.clock.advance(7 * 86_400)
    assert await worker.drain() == 0


async def test_a_retry_waits_as_long_as_the_provider_asks(world: World, outage: Callable[..., DeliveryError]) -> None:
    world.first.errors = [outage("Slow down.", retry_after=600.0)]
    world.second.problem = "SMTP needs [plugins.smtp] host."
    await world.open_issues()
    await world.service.worker.drain()
    (entry,) = await world.outbox(purpose="alert")
    assert entry.next_at - world.clock.now() == 600_000_000


async def test_what_no_retry_can_help_fails_at_once(world: World, outage: Callable[..., DeliveryError]) -> None:
    world.first.always = outage("The key is refused.", retryable=False)
    world.second.always = outage("The password is refused.", retryable=False)
    await world.open_issues()
    await world.service.worker.drain()
    (entry,) = await world.outbox(purpose="alert")
    assert (entry.state, entry.attempts) == ("failed", 1)
    assert entry.last_error == "The key is refused. The password is refused."


async def test_a_channel_without_a_configured_notifier_fails_with_a_clear_sentence(world: World) -> None:
    world.first.problem = "Resend needs [plugins.resend] api_key."
    world.second.problem = "SMTP needs [plugins.smtp] host."
    await world.open_issues()
    await world.service.worker.drain()
    (entry,) = await world.outbox(purpose="alert")
    assert entry.state == "failed"
    assert entry.last_error == (
        'No notifier of the channel "email" is configured, so nothing can be sent. '
        "Resend needs [plugins.resend] api_key. SMTP needs [plugins.smtp] host."
    )
    assert [(row.ok, row.skipped) for row in await world.deliveries()] == [(False, True), (False, True)]


async def test_a_process_that_dies_between_delivering_and_writing_it_down_delivers_again_under_the_same_id(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.open_issues()
    worker = world.service.worker

    async def die(*_: object) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr(worker, "_record", die)
    with pytest.raises(asyncio.CancelledError):
        await worker.drain()
    assert len(world.first.sent) == 1
    after = world.restarted().worker
    assert await after.drain() == 0, "the lease of the dead process still holds"
    world.clock.advance(181)
    await after.drain()
    assert len(world.first.sent) == 2
    assert world.first.sent[0] == world.first.sent[1]
    assert len(await world.alerts()) == 1


async def test_a_process_that_dies_before_writing_the_evaluation_down_fires_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.open_issues()

    async def die(*_: object, **__: object) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr("appliance.alerts.outbox._fenced", die)
    with pytest.raises(asyncio.CancelledError):
        await world.service.worker.drain()
    monkeypatch.undo()
    assert await world.alerts() == []
    world.clock.advance(181)
    await world.restarted().worker.drain()
    assert len(await world.alerts()) == 1
    assert len(world.first.sent) == 1


async def test_a_process_that_dies_while_a_digest_is_collected_loses_none_of_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.open_issues(5)
    await world.service.worker.drain()
    world.clock.advance(300)

    async def die(*_: object, **__: object) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr("appliance.alerts.messages.recipients_of", die)
    with pytest.raises(asyncio.CancelledError):
        await world.service.worker.drain()
    monkeypatch.undo()
    world.clock.advance(181)
    await world.restarted().worker.drain()
    assert [mail.kind for mail in world.first.sent] == ["new_issue", "digest"]
    assert "4 new issues" in world.first.sent[1].subject


async def test_who_finishes_after_its_lease_changes_nothing(world: World) -> None:
    await world.open_issues()
    worker = world.service.worker
    await worker.drain()
    async with world.database.write() as session:
        await session.execute(update(OutboxModel).values(state="waiting", next_at=world.clock.now()))
    ((entry_id, lease),) = await worker._lease(1)
    async with world.database.write() as session:  # another worker took it over
        await session.execute(
            update(OutboxModel).where(OutboxModel.id == entry_id).values(next_at=lease + 1, last_error="theirs")
        )
    await worker._process(entry_id, lease)
    (entry,) = await world.outbox(id=entry_id)
    assert (entry.state, entry.last_error) == ("sending", "theirs")


async def test_a_message_whose_every_try_was_cut_short_is_given_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.open_issues()

    async def die(*_: object) -> None:
        raise asyncio.CancelledError

    for _ in range(world.config.alerts.attempts):
        worker = world.restarted().worker
        monkeypatch.setattr(worker, "_notify", die)
        with pytest.raises(asyncio.CancelledError):
            await worker.drain()
        world.clock.advance(181)
    await world.restarted().worker.drain()
    (entry,) = await world.outbox(purpose="alert")
    assert entry.state == "failed"
    assert "stopped in the middle" in entry.last_error


class BrokenRule(Rule):
    name = "broken"
    label = "Broken"
    help = ""

    def applies(self, change: IssueChange, settings: Mapping[str, str]) -> bool:
        raise ZeroDivisionError("mine")


async def test_a_rule_that_raises_costs_the_others_nothing_and_is_told(world: World) -> None:
    world.plugins.rules["broken"] = BrokenRule()
    async with world.database.write() as session:
        for condition in ("broken", "unheard_of"):
            rule = RuleModel(project_id=world.project_id, name=condition, condition=condition, created_at=0)
            session.add(rule)
    await world.open_issues()
    await world.service.worker.drain()
    assert len(world.first.sent) == 1
    (entry,) = await world.outbox(purpose="change")
    assert entry.state == "delivered"
    assert 'Rule "broken": broken failed: ZeroDivisionError: mine.' in entry.last_error
    assert "no plugin brings the condition 'unheard_of'" in entry.last_error


async def test_a_notifier_with_a_bug_is_passed_over(world: World) -> None:
    world.first.always = ZeroDivisionError("mine")
    await world.open_issues()
    await world.service.worker.drain()
    assert len(world.second.sent) == 1
    assert "resend has a bug: ZeroDivisionError: mine" in (await world.deliveries())[0].reply


async def test_plugin_hooks_are_called_after_commit_and_failed_ones_again(world: World) -> None:
    world.plugins.issue_hooks = frozenset({"on_issue_opened", "on_issue_resolved"})
    world.plugins.hook_failures = {2: 1}
    await world.open_issues(3)
    await world.changes(await world.issue(9, change="regressed"), await world.issue(10, change="resolved"))
    await world.service.worker.drain()
    assert sorted(world.plugins.called) == [
        ("on_issue_opened", 1),
        ("on_issue_opened", 2),
        ("on_issue_opened", 3),
        ("on_issue_resolved", 10),
    ]
    world.clock.advance(15)
    await world.service.worker.drain()
    assert world.plugins.called[4:] == [("on_issue_opened", 2)]
    assert {entry.state for entry in await world.outbox(purpose="hook")} == {"delivered"}


async def test_what_was_only_seen_is_not_told(world: World) -> None:
    await world.changes(await world.issue(1, change="seen"))
    assert await world.outbox() == []


@pytest.mark.parametrize(
    ("what", "says"),
    [("project", "The project was deleted."), ("rule", "The rule was deleted."), ("off", "The rule was switched off.")],
)
async def test_what_nobody_wants_to_know_any_more_is_discarded(world: World, what: str, says: str) -> None:
    await world.open_issues(2)
    await world.service.worker.drain()
    async with world.database.write() as session:
        if what == "project":
            await session.execute(update(ProjectModel).values(deleted_at=1))
        elif what == "rule":
            await session.delete(await session.get_one(RuleModel, 1))
        else:
            await session.execute(update(RuleModel).values(enabled=False))
    world.clock.advance(300)
    await world.service.worker.drain()
    (digest,) = await world.outbox(purpose="digest")
    assert (digest.state, digest.last_error) == ("discarded", says)
    assert len(world.first.sent) == 1


async def test_a_rule_that_was_off_when_its_digest_was_due_fires_again_later(world: World) -> None:
    await world.open_issues(2)
    await world.service.worker.drain()
    async with world.database.write() as session:
        await session.execute(update(RuleModel).values(enabled=False))
    world.clock.advance(300)
    await world.service.worker.drain()
    async with world.database.write() as session:
        await session.execute(update(RuleModel).values(enabled=True))
    world.clock.advance(301)
    await world.open_issues(1, start=5)
    await world.service.worker.drain()
    assert [mail.subject for mail in world.first.sent][1:] == ["[Shop] New issue: TypeError: 5"]


async def test_more_recipients_than_a_mail_may_have_get_mails_of_their_own(world: World) -> None:
    people = [f"p{number}@example.com" for number in range(120)]
    async with world.database.write() as session:
        await session.execute(update(RuleModel).values(recipients="\n".join(people)))
    await world.open_issues()
    await world.service.worker.drain()
    assert [len(mail.recipients) for mail in world.first.sent] == [50, 50, 20]
    assert [address for mail in world.first.sent for address in mail.recipients] == people
    assert len({mail.id for mail in world.first.sent}) == 3


async def test_an_invitation_is_delivered_and_its_link_wiped(world: World) -> None:
    async with world.database.write() as session:
        await world.service.send_account_mail(
            session,
            "invitation",
            to="new@example.com",
            link="https://monitor.example.com/invitation/s3cret",
            hours=24,
            by="Ann",
        )
    await world.service.worker.drain()
    (mail,) = world.first.sent
    assert mail.recipients == ("new@example.com",)
    assert "https://monitor.example.com/invitation/s3cret" in mail.text
    assert "Ann invites you" in mail.text
    assert "s3cret" not in repr(mail.data)
    (entry,) = await world.outbox()
    assert entry.state == "delivered"
    assert "s3cret" not in entry.body
    assert not any("s3cret" in f"{row.reply} {row.subject}" for row in await world.deliveries())


async def test_a_link_that_could_not_be_mailed_is_wiped_too(world: World) -> None:
    world.first.problem = world.second.problem = "Not configured."
    async with world.database.write() as session:
        link = "https://monitor.example.com/reset/s3cret"
        await world.service.send_account_mail(session, "password_reset", to="ann@example.com", link=link, hours=2)
    await world.service.worker.drain()
    (entry,) = await world.outbox()
    assert entry.state == "failed"
    assert decode_body(entry.body).notification is None


async def test_while_all_are_left_alone_no_try_is_counted_until_the_news_is_old(
    world: World, outage: Callable[..., DeliveryError]
) -> None:
    world.first.always = outage()
    world.second.problem = "SMTP needs [plugins.smtp] host."
    world.config.alerts.breaker_failures = 1
    worker = world.restarted().worker
    await world.open_issues(1)
    await worker.drain()
    world.clock.advance(15)
    await worker.drain()
    (entry,) = await world.outbox(purpose="alert")
    assert (entry.state, entry.attempts) == ("waiting", 1)
    assert entry.next_at - world.clock.now() == pytest.approx(285_000_000, abs=1_000_000)
    world.clock.advance(GIVE_UP_SECONDS)
    await worker.drain()
    (entry,) = await world.outbox(purpose="alert")
    assert entry.state == "failed"


async def test_the_running_worker_delivers_when_poked_and_stops_in_order(world: World) -> None:
    worker = world.service.worker
    await worker.start()
    started, release = asyncio.Event(), asyncio.Event()
    deliver = world.first.deliver

    async def slow(notification: Notification) -> Receipt:
        started.set()
        await release.wait()
        return await deliver(notification)

    world.first.deliver = slow
    await world.open_issues()
    worker.poke()
    await started.wait()
    stopping = asyncio.create_task(worker.stop())
    await asyncio.sleep(0)
    release.set()
    await stopping
    (entry,) = await world.outbox(purpose="alert")
    assert entry.state == "delivered", "what was being delivered is finished before the worker ends"


@pytest.mark.parametrize("backend", ["sqlite"])  # on Postgres another process may be at it
async def test_after_a_kill_sqlite_does_not_wait_for_the_lease(world: World) -> None:
    await world.open_issues()
    await world.service.worker._lease(5)
    worker = world.restarted().worker
    await worker.start()
    try:
        async with asyncio.timeout(30):
            while not world.first.sent:
                await asyncio.sleep(0.01)
    finally:
        await worker.stop()


def summary(change: IssueChange) -> EventSummary:
    values: dict[str, Any] = dict.fromkeys(EventSummary.__struct_fields__, "")
    values |= {
        "project_id": change.project_id, "event_id": change.event_id, "group_hash": 1, "timestamp": 0,
        "received_at": 0, "url": "https://shop.example.com/cart", "browser": "Firefox", "browser_version": "130",
        "os": "Linux", "handled": False, "tags": {}, "payload_withheld": False,
    }  # fmt: skip
    return EventSummary(**values)
