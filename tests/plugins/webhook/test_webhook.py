"""The webhook notifier against a receiver over real HTTP."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from appliance.hookspecs import DeliveryError, Secret
from appliance.http_client import GuardedHttpClient
from appliance.testing.clock import FakeClock
from appliance.testing.context import plugin_context
from appliance.testing.notifiers import NotifierConformance, NotifierStage, sample_notification
from condev_plugins.webhook import WebhookConfig, WebhookNotifier


@pytest.fixture
async def client() -> AsyncIterator[GuardedHttpClient]:
    client = GuardedHttpClient()
    yield client
    await client.close()


def unused_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


class TestConformance(NotifierConformance):
    @pytest.fixture
    def stage(self, httpserver: HTTPServer, client: GuardedHttpClient, tmp_path: Path) -> NotifierStage:
        def receiver(request: Request) -> Response:
            good = request.headers.get("Authorization") == "Bearer hook-secret-1"
            return Response("taken" if good else "who are you?", 200 if good else 401)

        httpserver.expect_request("/hook", method="POST").respond_with_handler(receiver)

        def notifier(token: str, port: int) -> WebhookNotifier:
            config = WebhookConfig(
                url=f"http://127.0.0.1:{port}/hook", headers={"Authorization": Secret(f"Bearer {token}")}
            )
            return WebhookNotifier(plugin_context(config, tmp_path, http=client))

        return NotifierStage(
            ready=notifier("hook-secret-1", httpserver.port),
            unconfigured=WebhookNotifier(plugin_context(WebhookConfig(), tmp_path, http=client)),
            unreachable=notifier("hook-secret-1", unused_port()),
            refused=notifier("hook-secret-2", httpserver.port),
            received=lambda: [json.loads(request.data)["text"] for request, _ in httpserver.log],
            secret="hook-secret",
        )


async def test_the_body_is_the_notifications_data_and_its_signature_can_be_checked(
    httpserver: HTTPServer, client: GuardedHttpClient, tmp_path: Path
) -> None:
    httpserver.expect_request("/hook").respond_with_data("taken", status=202)
    config = WebhookConfig(url=httpserver.url_for("/hook"), secret=Secret("shared"))
    clock = FakeClock(1_800_000_000_000_000)
    await WebhookNotifier(plugin_context(config, tmp_path, http=client, clock=clock)).deliver(sample_notification())
    request, _ = httpserver.log[0]
    body = json.loads(request.data)
    assert (body["id"], body["kind"]) == ("condev-0123456789abcdef", "new_issue")
    assert body["issue"] == {"id": 7, "title": "TypeError"}
    assert request.headers["Idempotency-Key"] == "condev-0123456789abcdef"
    signed = hmac.new(b"shared", b"1800000000." + request.data, hashlib.sha256).hexdigest()
    assert request.headers["X-Condev-Signature"] == f"t=1800000000,v1={signed}"


@pytest.mark.parametrize(
    ("status", "retryable", "about_message"),
    [
        (302, False, False),
        (400, False, True),
        (401, False, False),
        (404, False, False),
        (410, False, False),
        (422, False, True),
        (429, True, False),
        (500, True, False),
        (503, True, False),
    ],
)
async def test_the_status_decides_whether_it_is_tried_again(
    httpserver: HTTPServer, client: GuardedHttpClient, tmp_path: Path, status: int, retryable: bool, about_message: bool
) -> None:
    httpserver.expect_request("/hook").respond_with_data("no", status=status, headers={"Retry-After": "9"})
    config = WebhookConfig(url=httpserver.url_for("/hook"))
    with pytest.raises(DeliveryError) as raised:
        await WebhookNotifier(plugin_context(config, tmp_path, http=client)).deliver(sample_notification())
    assert raised.value.retryable is retryable
    assert raised.value.about_message is about_message
    assert raised.value.retry_after == (9 if retryable else None)
