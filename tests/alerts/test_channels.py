"""Chains and breakers: who is asked, who is left alone, and that a mail arrives at SMTP whatever Resend does."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Response

from appliance.alerts.channels import Channels
from appliance.alerts.service import AlertService
from appliance.hookspecs import DeliveryError, EventStore, Secret
from appliance.http_client import GuardedHttpClient
from appliance.testing.clock import FakeClock
from appliance.testing.context import plugin_context
from appliance.testing.mailbox import Mailbox
from appliance.testing.notifiers import sample_notification
from condev_plugins import resend
from condev_plugins.resend import ResendConfig, ResendNotifier
from condev_plugins.smtp import SmtpConfig, SmtpNotifier

from .conftest import Recorder

if TYPE_CHECKING:
    from .conftest import World


@pytest.fixture
async def client() -> AsyncIterator[GuardedHttpClient]:
    client = GuardedHttpClient()
    yield client
    await client.close()


def answers(status: int, name: str) -> Callable[[HTTPServer], None]:
    def prepare(server: HTTPServer) -> None:
        body = json.dumps({"statusCode": status, "name": name, "message": "No."})
        response = Response(body, status, headers={"Retry-After": "60"}, content_type="application/json")
        server.expect_request("/emails").respond_with_response(response)

    return prepare


def times_out(server: HTTPServer) -> None:
    def handler(_request: object) -> Response:
        time.sleep(0.6)
        return Response("{}")

    server.expect_request("/emails").respond_with_handler(handler)


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "behaviour",
    [
        pytest.param(answers(500, "application_error"), id="500"),
        pytest.param(answers(401, "missing_api_key"), id="401"),
        pytest.param(answers(429, "rate_limit_exceeded"), id="429"),
        pytest.param(times_out, id="times-out"),
        pytest.param(None, id="refuses-the-connection"),
    ],
)
async def test_whatever_resend_does_the_mail_arrives_over_smtp(
    world: World,
    httpserver: HTTPServer,
    client: GuardedHttpClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    behaviour: Callable[[HTTPServer], None] | None,
) -> None:
    monkeypatch.setattr(resend, "TIMEOUT_SECONDS", 0.3)
    if behaviour is not None:
        behaviour(httpserver)
        base_url = httpserver.url_for("/")
    else:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            base_url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    with Mailbox() as box:
        first = ResendConfig(api_key=Secret("re_key"), base_url=base_url)
        second = SmtpConfig(host="127.0.0.1", port=box.port, security="none")
        world.plugins.notifiers = {
            "resend": ResendNotifier(plugin_context(first, tmp_path, http=client)),
            "smtp": SmtpNotifier(plugin_context(second, tmp_path)),
        }
        store, plugins = cast("EventStore", world.events), cast("Any", world.plugins)
        service = AlertService(world.database, store, world.clock, plugins, world.config)
        await world.open_issues()
        await service.worker.drain()
        (mail,) = box.received
    assert mail.subject == "[Shop] New issue: TypeError: 1"
    assert mail.recipients == ("owner1@example.com", "admin2@example.com", "member3@example.com")
    assert [(row.notifier, row.ok) for row in await world.deliveries()] == [("resend", False), ("smtp", True)]


def chain(*notifiers: Recorder, failures: int = 3) -> tuple[Channels, FakeClock]:
    clock = FakeClock()
    names = [notifier.name for notifier in notifiers]
    by_name = {notifier.name: notifier for notifier in notifiers}
    return Channels({"email": names}, by_name, clock, breaker_failures=failures, breaker_minutes=5), clock


async def test_a_notifier_that_keeps_failing_is_left_alone_then_tried_by_one(
    outage: Callable[..., DeliveryError],
) -> None:
    first, second = Recorder("resend"), Recorder("smtp")
    first.always = outage()
    channels, clock = chain(first, second)
    for _ in range(3):
        outcome = await channels.deliver("email", sample_notification())
        assert [(attempt.ok, attempt.skipped) for attempt in outcome.attempts] == [(False, False), (True, False)]
    outcome = await channels.deliver("email", sample_notification())
    assert [(attempt.ok, attempt.skipped) for attempt in outcome.attempts] == [(False, True), (True, False)]
    assert outcome.attempts[0].reply == "Left alone after 3 failures: The provider is down."
    (state, _) = channels.states("email")
    assert state.open_until == clock.now() + 300_000_000
    clock.advance(300)
    outcome = await channels.deliver("email", sample_notification())
    assert not outcome.attempts[0].skipped
    outcome = await channels.deliver("email", sample_notification())
    assert outcome.attempts[0].skipped, "the one that tried it failed: it is left alone again"
    clock.advance(300)
    first.always = None
    outcome = await channels.deliver("email", sample_notification())
    assert [attempt.notifier for attempt in outcome.attempts] == ["resend"]
    assert channels.states("email")[0].failures == 0


async def test_messages_that_are_refused_for_what_they_are_do_not_break_the_notifier(
    outage: Callable[..., DeliveryError],
) -> None:
    first, second = Recorder("resend"), Recorder("smtp")
    first.always = outage("Refused.", retryable=False, about_message=True)
    channels, _ = chain(first, second)
    for _ in range(5):
        outcome = await channels.deliver("email", sample_notification())
        assert not outcome.attempts[0].skipped


async def test_a_success_in_between_begins_the_count_again(outage: Callable[..., DeliveryError]) -> None:
    only = Recorder("smtp")
    channels, _ = chain(only)
    for _ in range(3):
        only.errors = [outage(), outage()]
        for _ in range(3):
            outcome = await channels.deliver("email", sample_notification())
        assert outcome.delivered


async def test_it_is_not_final_while_somebody_is_only_left_alone(outage: Callable[..., DeliveryError]) -> None:
    first, second = Recorder("resend"), Recorder("smtp")
    first.always = outage()
    second.always = outage("Refused.", retryable=False)
    channels, _ = chain(first, second, failures=1)
    await channels.deliver("email", sample_notification())
    outcome = await channels.deliver("email", sample_notification())
    assert (outcome.delivered, outcome.final, outcome.tried) == (False, False, False)
    assert outcome.retry_after == 300


async def test_an_unknown_channel_and_an_unknown_notifier_are_said_in_words() -> None:
    clock = FakeClock()
    channels = Channels({"email": ["pigeon"]}, {}, clock, breaker_failures=3, breaker_minutes=5)
    assert "No plugin brings a notifier 'pigeon' (there is: none)." in channels.problem("email")
    assert channels.problem("sms") == 'There is no channel "sms" in [channels] of config.toml; there is: email.'
    assert (await channels.deliver("sms", sample_notification())).final


async def test_a_notifier_that_never_ends_is_left_after_half_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    monkeypatch.setattr("appliance.alerts.channels.DELIVER_SECONDS", 0.05)
    first, second = Recorder("resend"), Recorder("smtp")

    async def forever(_: object) -> Any:
        await asyncio.Event().wait()

    first.deliver = forever  # type: ignore[method-assign]
    channels, _ = chain(first, second)
    outcome = await channels.deliver("email", sample_notification())
    assert outcome.delivered
    assert "did not finish within" in outcome.attempts[0].reply
