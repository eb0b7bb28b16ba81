"""The SMTP notifier against real mail servers: plain, STARTTLS, TLS from the start, with and without signing in."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Literal

import pytest
import trustme

from appliance.hookspecs import DeliveryError, Secret
from appliance.testing.context import plugin_context
from appliance.testing.mailbox import Mailbox
from appliance.testing.notifiers import NotifierConformance, NotifierStage, sample_notification
from condev_plugins.smtp import SmtpConfig, SmtpNotifier

USERS = {"monitor": "the-good-password"}
Security = Literal["starttls", "tls", "none"]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


@pytest.fixture
def mailbox(authority: trustme.CA) -> Iterator[Callable[..., Mailbox]]:
    with ExitStack() as stack:

        def start(security: Security = "none", users: dict[str, str] | None = None, name: str = "localhost") -> Mailbox:
            context = None
            if security != "none":
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                authority.issue_cert(name).configure_cert(context)
            return stack.enter_context(Mailbox(security=security, certificate=context, users=users))

        yield start


def notifier(tmp_path: Path, box: Mailbox, **settings: object) -> SmtpNotifier:
    values: dict[str, object] = {"host": "localhost", "port": box.port, "security": "none", "timeout": 5.0, **settings}
    return SmtpNotifier(plugin_context(SmtpConfig(**values), tmp_path))  # type: ignore[arg-type]


def unused_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


class TestConformance(NotifierConformance):
    @pytest.fixture(params=["none", "starttls", "tls"])
    def stage(
        self, request: pytest.FixtureRequest, mailbox: Callable[..., Mailbox], ca_file: str, tmp_path: Path
    ) -> NotifierStage:
        security: Security = request.param
        box = mailbox(security, USERS)

        def made(password: str, port: int) -> SmtpNotifier:
            account = {"username": "monitor", "password": Secret(password)}
            return notifier(tmp_path, box, security=security, ca_file=ca_file, port=port, **account)

        return NotifierStage(
            ready=made("the-good-password", box.port),
            unconfigured=SmtpNotifier(plugin_context(SmtpConfig(), tmp_path)),
            unreachable=made("the-good-password", unused_port()),
            refused=made("the-bad-password", box.port),
            received=lambda: [mail.body("plain") for mail in box.received],
            secret="-password",
        )


async def test_the_mail_has_both_parts_and_the_notifications_id(
    mailbox: Callable[..., Mailbox], tmp_path: Path
) -> None:
    box = mailbox()
    notification = sample_notification()
    receipt = await notifier(tmp_path, box).deliver(notification)
    (mail,) = box.received
    assert mail.sender == "monitor@example.com"
    assert mail.recipients == ("ann@example.com", "bob@example.com")
    assert mail.subject == notification.subject
    assert mail.message["From"] == "Condev Monitor <monitor@example.com>"
    assert mail.message["To"] == "ann@example.com, bob@example.com"
    assert mail.message["Message-ID"] == "<condev-0123456789abcdef@example.com>"
    assert mail.message["Auto-Submitted"] == "auto-generated"
    assert mail.body("plain").replace("\r\n", "\n") == notification.text
    assert mail.body("html").strip() == notification.html
    assert all(len(line) <= 998 for line in mail.content.splitlines()), "RFC 5322's limit of a line"
    assert receipt.reply == "250 2.0.0 queued as mailbox-1"


async def test_a_retry_has_the_same_message_id(mailbox: Callable[..., Mailbox], tmp_path: Path) -> None:
    box = mailbox()
    for _ in range(2):
        await notifier(tmp_path, box).deliver(sample_notification())
    assert len({mail.message["Message-ID"] for mail in box.received}) == 1


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_mail_goes_encrypted_and_signed_in(
    mailbox: Callable[..., Mailbox], ca_file: str, tmp_path: Path, security: Security
) -> None:
    box = mailbox(security, USERS)
    account = {"username": "monitor", "password": Secret(USERS["monitor"])}
    await notifier(tmp_path, box, security=security, ca_file=ca_file, **account).deliver(sample_notification())
    assert [(mail.tls, mail.user) for mail in box.received] == [(True, "monitor")]


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_a_certificate_of_an_unknown_authority_or_for_another_name_is_refused(
    mailbox: Callable[..., Mailbox], ca_file: str, tmp_path: Path, security: Security
) -> None:
    box, misnamed = mailbox(security), mailbox(security, name="elsewhere.test")
    for wrong in (
        notifier(tmp_path, box, security=security),
        notifier(tmp_path, misnamed, security=security, ca_file=ca_file),
    ):
        with pytest.raises(DeliveryError, match="certificate is not valid") as raised:
            await wrong.deliver(sample_notification())
        assert raised.value.stage == "tls"
    await notifier(tmp_path, misnamed, security=security, verify_tls=False).deliver(sample_notification())
    assert not box.received
    assert len(misnamed.received) == 1


async def test_a_server_without_starttls_is_given_neither_password_nor_mail(
    mailbox: Callable[..., Mailbox], tmp_path: Path
) -> None:
    box = mailbox("none", USERS)
    account = {"username": "monitor", "password": Secret(USERS["monitor"])}
    with pytest.raises(DeliveryError, match="offers no STARTTLS") as raised:
        await notifier(tmp_path, box, security="starttls", **account).deliver(sample_notification())
    assert raised.value.stage == "tls"
    assert not raised.value.retryable
    assert not box.received


async def test_tls_against_a_plain_port_says_so(mailbox: Callable[..., Mailbox], tmp_path: Path) -> None:
    steps = await notifier(tmp_path, mailbox(), security="tls").check()
    assert (steps[-1].name, steps[-1].ok) == ("tls", False)
    assert 'security = "starttls"' in steps[-1].mend


@pytest.mark.parametrize(
    ("replies", "retryable", "about_message", "says"),
    [
        ({"MAIL": "451 4.7.1 greylisted"}, True, False, "451 4.7.1 greylisted"),
        ({"MAIL": "550 5.7.1 sender not allowed"}, False, False, "550 5.7.1 sender not allowed"),
        ({"DATA": "452 4.3.1 no room"}, True, True, "452 4.3.1 no room"),
        ({"DATA": "554 5.7.1 spam"}, False, True, "554 5.7.1 spam"),
        ({"ann@example.com": "450 later", "bob@example.com": "550 unknown"}, True, True, "ann@example.com: 450 later"),
        ({"ann@example.com": "550 unknown", "bob@example.com": "550 unknown"}, False, True, "550 unknown"),
    ],
)
async def test_a_reply_of_the_400s_asks_to_try_again_and_one_of_the_500s_does_not(
    mailbox: Callable[..., Mailbox],
    tmp_path: Path,
    replies: dict[str, str],
    retryable: bool,
    about_message: bool,
    says: str,
) -> None:
    box = mailbox()
    box.replies = replies
    with pytest.raises(DeliveryError) as raised:
        await notifier(tmp_path, box).deliver(sample_notification())
    assert raised.value.retryable is retryable
    assert raised.value.about_message is about_message
    assert says in raised.value.reply
    assert not raised.value.ambiguous


async def test_one_refused_recipient_does_not_cost_the_others(mailbox: Callable[..., Mailbox], tmp_path: Path) -> None:
    box = mailbox()
    box.replies = {"ann@example.com": "550 unknown"}
    receipt = await notifier(tmp_path, box).deliver(sample_notification())
    assert box.received[0].recipients == ("bob@example.com",)
    assert "refused: ann@example.com (550 unknown)" in receipt.reply


async def test_a_server_that_takes_the_message_and_never_answers_leaves_it_ambiguous(
    mailbox: Callable[..., Mailbox], tmp_path: Path
) -> None:
    box = mailbox()
    box.silent_at = "DATA"
    with pytest.raises(DeliveryError, match="may have taken the message") as raised:
        await notifier(tmp_path, box, timeout=0.5).deliver(sample_notification())
    assert raised.value.ambiguous
    assert raised.value.retryable


@asynccontextmanager
async def silent_server() -> AsyncIterator[int]:
    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)
        writer.close()

    server = await asyncio.start_server(swallow, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_a_server_that_says_nothing_is_left_after_the_timeout(tmp_path: Path) -> None:
    async with silent_server() as port:
        config = SmtpConfig(host="127.0.0.1", port=port, security="none", timeout=0.3)
        with pytest.raises(DeliveryError, match="did not answer") as raised:
            await SmtpNotifier(plugin_context(config, tmp_path)).deliver(sample_notification())
    assert raised.value.stage == "connect"
    assert not raised.value.ambiguous


async def test_an_unreachable_port_25_is_said_to_be_blocked_most_often(tmp_path: Path) -> None:
    config = SmtpConfig(host="127.0.0.1", port=25, security="none", timeout=1)
    steps = await SmtpNotifier(plugin_context(config, tmp_path)).check()
    assert [(step.name, step.ok) for step in steps] == [("config", True), ("dns", True), ("connect", False)]
    assert "587 or 2525, or Resend" in steps[-1].mend


@pytest.mark.parametrize(
    "changes",
    [
        {"subject": "hi\r\nBcc: victim@example.com"},
        {"recipients": ("ann@example.com\r\nRCPT TO:<victim@example.com>",)},
        {"recipients": ("<ann@example.com>, victim@example.com",)},
        {"kind": "new\r\nX-Evil: 1"},
        {"id": "x\r\nX-Evil: 1"},
    ],
)
async def test_no_field_of_a_notification_can_add_a_header_or_a_recipient(
    mailbox: Callable[..., Mailbox], tmp_path: Path, changes: dict[str, object]
) -> None:
    box = mailbox()
    with suppress(DeliveryError):
        await notifier(tmp_path, box).deliver(sample_notification(**changes))
    for mail in box.received:
        assert set(mail.recipients) <= {"ann@example.com", "bob@example.com"}
        assert mail.message["Bcc"] is None
        assert mail.message["X-Evil"] is None


async def test_names_and_subjects_in_any_script_arrive_as_they_were(
    mailbox: Callable[..., Mailbox], tmp_path: Path
) -> None:
    box = mailbox()
    config = SmtpConfig(host="127.0.0.1", port=box.port, security="none")
    context = plugin_context(config, tmp_path, mail_from="Überwachung, 監視 <monitor@example.com>")
    subject = "錯誤 — " + "ошибка " * 20
    await SmtpNotifier(context).deliver(
        sample_notification(subject=subject, text="тест 測試\n", html="<p>тест 測試</p>")
    )
    (mail,) = box.received
    assert mail.subject.strip() == subject.strip()
    assert mail.message["From"].addresses[0].display_name == "Überwachung, 監視"
    assert mail.body("plain").strip() == "тест 測試"


async def test_a_domain_in_another_script_goes_into_the_envelope_as_idna(
    mailbox: Callable[..., Mailbox], tmp_path: Path
) -> None:
    box = mailbox()
    await notifier(tmp_path, box).deliver(sample_notification(recipients=("ann@bücher.example",)))
    assert box.received[0].recipients == ("ann@xn--bcher-kva.example",)
