"""Resend's notifier against a stand-in over real HTTP."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from appliance.hookspecs import DeliveryError, Secret
from appliance.http_client import GuardedHttpClient
from appliance.testing.context import plugin_context
from appliance.testing.notifiers import NotifierConformance, NotifierStage, sample_notification
from condev_plugins.resend import ResendConfig, ResendNotifier

KEY = "re_the_good_key"


@pytest.fixture
async def client() -> AsyncIterator[GuardedHttpClient]:
    client = GuardedHttpClient()
    yield client
    await client.close()


def stand_in(server: HTTPServer) -> None:
    """Answers as https://resend.com/docs/api-reference says."""

    def authorised(request: Request) -> bool:
        return request.headers.get("Authorization") == f"Bearer {KEY}"

    def emails(request: Request) -> Response:
        if not authorised(request):
            return error(403, "invalid_api_key", "API key is invalid.")
        return Response(
            json.dumps({"id": "49a3999c-0ce1-4ea6-ab68-afcd6dc2e794"}), 200, content_type="application/json"
        )

    def domains(request: Request) -> Response:
        if not authorised(request):
            return error(403, "invalid_api_key", "API key is invalid.")
        return error(401, "restricted_api_key", "This API key is restricted to only send emails.")

    server.expect_request("/emails", method="POST").respond_with_handler(emails)
    server.expect_request("/domains", method="GET").respond_with_handler(domains)


def error(status: int, name: str, message: str) -> Response:
    body = json.dumps({"statusCode": status, "name": name, "message": message})
    return Response(body, status, content_type="application/json")


def unused_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


class TestConformance(NotifierConformance):
    @pytest.fixture
    def stage(self, httpserver: HTTPServer, client: GuardedHttpClient, tmp_path: Path) -> NotifierStage:
        stand_in(httpserver)

        def notifier(key: str | None, port: int) -> ResendNotifier:
            config = ResendConfig(api_key=Secret(key) if key else None, base_url=f"http://127.0.0.1:{port}")
            return ResendNotifier(plugin_context(config, tmp_path, http=client))

        def received() -> list[str]:
            return [json.loads(request.data)["text"] for request, _ in httpserver.log if request.path == "/emails"]

        return NotifierStage(
            ready=notifier(KEY, httpserver.port),
            unconfigured=ResendNotifier(plugin_context(ResendConfig(), tmp_path, http=client)),
            unreachable=notifier(KEY, unused_port()),
            refused=notifier("re_the_bad_key", httpserver.port),
            received=received,
            secret="re_the_",
        )


@pytest.fixture
def notifier(httpserver: HTTPServer, client: GuardedHttpClient, tmp_path: Path) -> ResendNotifier:
    config = ResendConfig(api_key=Secret(f"{KEY}\n"), base_url=httpserver.url_for("/").rstrip("/") + "/")
    return ResendNotifier(plugin_context(config, tmp_path, http=client))


async def test_the_mail_is_what_resends_api_wants(httpserver: HTTPServer, notifier: ResendNotifier) -> None:
    stand_in(httpserver)
    notification = sample_notification()
    receipt = await notifier.deliver(notification)
    request, _ = httpserver.log[0]
    assert request.headers["Authorization"] == f"Bearer {KEY}"
    assert request.headers["Idempotency-Key"] == notification.id
    assert request.headers["Content-Type"] == "application/json"
    assert json.loads(request.data) == {
        "from": "Condev Monitor <monitor@example.com>",
        "to": ["ann@example.com", "bob@example.com"],
        "subject": notification.subject,
        "html": notification.html,
        "text": notification.text,
        "tags": [{"name": "kind", "value": "new_issue"}],
    }
    assert receipt.provider_id == "49a3999c-0ce1-4ea6-ab68-afcd6dc2e794"


@pytest.mark.parametrize(
    ("status", "name", "retryable", "about_message", "says"),
    [
        (400, "validation_error", False, True, "refused this message"),
        (401, "missing_api_key", False, False, "refused the key"),
        (401, "restricted_api_key", False, False, "refused the key"),
        (403, "invalid_api_key", False, False, "refused the key"),
        (403, "validation_error", False, False, "Verify the domain"),
        (404, "not_found", False, False, "base_url"),
        (409, "concurrent_idempotent_requests", True, False, "later"),
        (409, "invalid_idempotent_request", False, True, "may have been delivered"),
        (422, "invalid_from_address", False, False, "Verify the domain"),
        (422, "missing_required_field", False, True, "refused this message"),
        (429, "daily_quota_exceeded", True, False, "quota"),
        (500, "application_error", True, False, "problem of its own"),
        (503, "", True, False, "problem of its own"),
    ],
)
async def test_each_refusal_says_what_to_do_and_whether_trying_again_helps(
    httpserver: HTTPServer,
    notifier: ResendNotifier,
    status: int,
    name: str,
    retryable: bool,
    about_message: bool,
    says: str,
) -> None:
    httpserver.expect_request("/emails").respond_with_response(error(status, name, "The reason."))
    with pytest.raises(DeliveryError, match=says) as raised:
        await notifier.deliver(sample_notification())
    assert raised.value.retryable is retryable
    assert raised.value.about_message is about_message
    assert raised.value.reply == " ".join(f"{status} {name}: The reason.".split()) if name else f"{status} The reason."


async def test_a_rate_limit_says_how_long_to_wait(httpserver: HTTPServer, notifier: ResendNotifier) -> None:
    answer = error(429, "rate_limit_exceeded", "Too many requests.")
    answer.headers["Retry-After"] = "37"
    httpserver.expect_request("/emails").respond_with_response(answer)
    with pytest.raises(DeliveryError) as raised:
        await notifier.deliver(sample_notification())
    assert raised.value.retry_after == 37


async def test_a_lost_answer_is_ambiguous_and_the_retry_has_the_same_key(
    httpserver: HTTPServer, notifier: ResendNotifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("condev_plugins.resend.TIMEOUT_SECONDS", 0.2)
    httpserver.expect_ordered_request("/emails").respond_with_handler(lambda _: (time.sleep(0.5), Response("late"))[1])
    httpserver.expect_ordered_request("/emails").respond_with_json({"id": "second"})
    with pytest.raises(DeliveryError) as raised:
        await notifier.deliver(sample_notification())
    assert raised.value.ambiguous
    assert raised.value.retryable
    monkeypatch.setattr("condev_plugins.resend.TIMEOUT_SECONDS", 10)
    await notifier.deliver(sample_notification())
    assert [request.headers["Idempotency-Key"] for request, _ in httpserver.log] == ["condev-0123456789abcdef"] * 2


async def test_an_html_page_in_between_is_an_error_with_its_text(
    httpserver: HTTPServer, notifier: ResendNotifier
) -> None:
    httpserver.expect_request("/emails").respond_with_data("<h1>captive\r\nportal</h1>", status=502)
    with pytest.raises(DeliveryError) as raised:
        await notifier.deliver(sample_notification())
    assert raised.value.reply == "502 <h1>captive portal</h1>"


async def test_nobody_to_send_to_is_about_the_message(notifier: ResendNotifier) -> None:
    with pytest.raises(DeliveryError) as raised:
        await notifier.deliver(sample_notification(recipients=()))
    assert raised.value.about_message


async def test_check_takes_a_sending_only_key_as_good(httpserver: HTTPServer, notifier: ResendNotifier) -> None:
    stand_in(httpserver)
    steps = await notifier.check()
    assert [(step.name, step.ok) for step in steps] == [
        ("config", True),
        ("dns", True),
        ("connect", True),
        ("auth", True),
    ]
    assert "may send and nothing else" in steps[-1].detail


async def test_check_names_a_host_that_does_not_resolve(client: GuardedHttpClient, tmp_path: Path) -> None:
    config = ResendConfig(api_key=Secret(KEY), base_url="https://api.resend.invalid")
    steps = await ResendNotifier(plugin_context(config, tmp_path, http=client)).check()
    assert [(step.name, step.ok) for step in steps] == [("config", True), ("dns", False)]
