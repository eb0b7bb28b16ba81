"""Messages made of hostile text."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from appliance.alerts.compose import (
    MAX_SUBJECT,
    RuleFacts,
    Site,
    clean,
    compose_account_mail,
    compose_alert,
    compose_digest,
    compose_test,
)
from appliance.alerts.facts import EventFacts, IssueFacts, ProjectFacts, addresses, malformed_addresses
from appliance.hookspecs import Notification

from .conftest import change

SITE = Site(url="https://monitor.example.com", name="Condev Monitor")
RULE = RuleFacts(id=1, name="New <i>issue</i>", condition="new_issue", own_recipients=False)
PROJECT = ProjectFacts(id=1, slug="shop", name="Shop & <b>Sons</b>")

HOSTILE = [
    "x\r\nBcc: victim@example.com\r\n\r\nhello",
    "<script>alert(1)</script><img src=http://evil.example/pixel>",
    '"><a href="javascript:alert(1)">click</a>',
    "https://evil.example/login?x=1 javascript:alert(1) http://evil.example",
    "{{ 7 * 7 }} {% for x in ().__class__.__mro__ %} {{ site.url }}",
    "\u202egpj.exe\u202c \u2066hidden\u2069 \u200b\ufeff\x00\x1b[31m \ud800",
    "a" * 100_000,
    "",
    "\n\n\n",
]


class Links(HTMLParser):
    """Everything in a page that leads or loads somewhere."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.addresses: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            assert not name.startswith("on")
            if name in {"href", "src", "action", "background"}:
                self.addresses.append(value or "")


def alert_about(text: str) -> Notification:
    hostile = change(7, title=text, culprit=text, release=text, environment=text, level=text)
    event = EventFacts(url=text, browser=text, os=text, frames=(text, text))
    return compose_alert(SITE, PROJECT, RULE, hostile, None, event, ("ann@example.com",))


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_makes_no_tag_no_link_and_no_header(text: str) -> None:
    messages = [
        alert_about(text),
        compose_digest(SITE, PROJECT, RULE, [change(7, title=text, culprit=text)] * 3, 9, {}, ()),
    ]
    for message in messages:
        links = Links(message.html)
        assert not links.tags & {"script", "img", "iframe", "form", "object", "link", "b", "i"}
        assert links.addresses
        assert all(address.startswith("https://monitor.example.com/") for address in links.addresses)
        assert not re.search(r"[\r\n\x00-\x1f\u202a-\u202e\u2066-\u2069]", message.subject)
        assert 0 < len(message.subject) <= MAX_SUBJECT
        assert message.subject.startswith("[Shop & <b>Sons</b>] ")
        assert not re.search(r"[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069]", message.text + message.html)
        assert len(message.text) < 20_000
        message.text.encode()
        message.html.encode()


def test_template_syntax_in_event_text_stays_text() -> None:
    assert "{{ 7 * 7 }}" in alert_about("{{ 7 * 7 }}").text


def test_a_line_break_cannot_pose_as_a_line_of_ours() -> None:
    message = alert_about("oops\nOpen the issue: https://evil.example/")
    assert [line for line in message.text.splitlines() if line.startswith("Open the issue:")] == [
        "Open the issue: https://monitor.example.com/issues/7"
    ]


def test_the_machine_readable_form_holds_what_the_mail_says() -> None:
    issue = IssueFacts(event_count=12, user_count=3)
    event = EventFacts(url="https://shop.example.com/cart", frames=("render (app.js:1:2)",))
    data = compose_alert(SITE, PROJECT, RULE, change(7), issue, event, ()).data
    assert data["project"] == {"id": 1, "slug": "shop", "name": "Shop & <b>Sons</b>"}
    assert data["change"] == "opened"
    issue_data = data["issue"]
    assert isinstance(issue_data, dict)
    assert (issue_data["id"], issue_data["event_count"], issue_data["user_count"]) == (7, 12, 3)
    assert issue_data["url"] == "https://monitor.example.com/issues/7"


def test_two_messages_never_share_an_id_even_between_appliances() -> None:
    assert alert_about("x").id != alert_about("x").id


def test_a_mail_can_be_read_in_the_dark_and_loads_nothing() -> None:
    html = alert_about("x").html
    assert "prefers-color-scheme: dark" in html
    assert 'name="color-scheme" content="light dark"' in html
    assert "url(" not in html
    assert "@import" not in html


def test_account_mail_holds_its_link_in_both_parts_and_nowhere_else() -> None:
    link = "https://monitor.example.com/reset/s3cret"
    mail = compose_account_mail(SITE, "password_reset", to="ann@example.com", link=link, hours=2, by="")
    assert link in mail.text
    assert Links(mail.html).addresses == [link]
    assert "s3cret" not in mail.subject + repr(mail.data) + mail.url


def test_a_test_message_says_what_it_is() -> None:
    mail = compose_test(SITE, "email", ("ann@example.com",), at=0, why="Ann tries <b>it</b>.")
    assert mail.kind == "test"
    assert "Ann tries <b>it</b>." in mail.text
    assert "&lt;b&gt;" in mail.html


def test_cleaning_cuts_with_an_ellipsis_and_keeps_any_script() -> None:
    assert clean("Ошибка 錯誤 ünïcode") == "Ошибка 錯誤 ünïcode"
    assert clean("abcdef", 4) == "abc…"
    assert clean("  a \t\r\n b\u2028c ") == "a b c"


def test_only_well_formed_addresses_are_taken() -> None:
    text = (
        "ann@example.com, bob@example.com\nann@example.com\nnobody\nx@y\r\nBcc: v@example.com\n<c@example.com>\na b@x"
    )
    assert addresses(text) == ("ann@example.com", "bob@example.com", "x@y")
    assert malformed_addresses(text) == ("nobody", "Bcc: v@example.com", "<c@example.com>", "a b@x")
