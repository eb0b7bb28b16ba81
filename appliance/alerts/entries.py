"""Writing to the outbox: what an entry's body holds, and the inserts that are safe to repeat.

Every function here only adds rows to the caller's transaction; what is done with them stands in `outbox.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

import msgspec
from msgspec import Struct, field
from sqlalchemy import func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from appliance.accounts.access import WaitError
from appliance.alerts.models import OutboxModel, RuleModel
from appliance.hookspecs import IssueChange, Notification

CHANGES_PER_ENTRY: Final = (
    200  # 100 KB of JSON; a batch of 1,000 new issues is five inserts in the pipeline's transaction
)
MAX_TESTS: Final = 6  # of one project, or of the channels, in a quarter of an hour: two tries for each of three rules
TESTS_SECONDS: Final = 900
TEST_KEY: Final = "test:"
TOLD_CHANGES: Final = frozenset({"opened", "regressed", "resolved"})  # "seen" is every event: counters tell that


class Purpose(StrEnum):
    """What an outbox entry is for."""

    CHANGE = "change"  # issues changed: evaluate the rules
    HOOK = "hook"  # issues changed: call the plugins' on_issue_* hooks
    ALERT = "alert"  # a rule fired: compose one message and deliver it
    DIGEST = "digest"  # a rule fired more often than its throttle lets through: collect, compose, deliver
    NOTIFICATION = "notification"  # composed already: account mail and tests


class State(StrEnum):
    """How far an outbox entry is."""

    WAITING = "waiting"
    SENDING = "sending"  # leased by a worker until next_at
    DELIVERED = "delivered"  # or done, for the purposes that deliver nothing
    FAILED = "failed"
    DISCARDED = "discarded"  # what it was about is gone, or a person gave it up


class Body(Struct, omit_defaults=True, kw_only=True):
    """An entry's body. The composed notification is kept, so that each retry sends the same bytes under the same id."""

    changes: list[IssueChange] = field(default_factory=list)
    alert_id: int = 0
    notification: Notification | None = None
    secret: bool = False  # it holds a one-time link: the body is emptied as soon as the entry is finished


def encode_body(body: Body) -> str:
    """As the column holds it."""
    return msgspec.json.encode(body).decode()


def decode_body(text: str) -> Body:
    """From the column."""
    return msgspec.json.decode(text, type=Body)


async def add_entry(
    session: AsyncSession,
    purpose: Purpose,
    dedupe_key: str,
    body: Body,
    now: int,
    *,
    channel: str = "",
    rule_id: int | None = None,
    project_id: int | None = None,
    due: int | None = None,
) -> int | None:
    """Add an entry to the caller's transaction, unless its key is there.

    Args:
        session: a write session.
        purpose: what it is for.
        dedupe_key: at most 120 characters; the same key is added once.
        body: what the purpose needs.
        now: µs.
        channel: whom to tell; "" for purposes that deliver nothing.
        rule_id: the rule that fired.
        project_id: the project it is about; None for account mail.
        due: µs of the first try; None: at once.

    Returns:
        The entry's id, or None when the key was there.
    """
    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    statement = (
        insert(OutboxModel)
        .values(
            purpose=purpose,
            dedupe_key=dedupe_key,
            channel=channel,
            body=encode_body(body),
            rule_id=rule_id,
            project_id=project_id,
            state=State.WAITING,
            attempts=0,
            created_at=now,
            next_at=now if due is None else due,
            last_error="",
        )
        .on_conflict_do_nothing(index_elements=["dedupe_key"])
        .returning(OutboxModel.id)
    )
    return (await session.execute(statement)).scalar_one_or_none()


async def require_test_budget(session: AsyncSession, project_id: int | None, now: int) -> None:
    """Let only so many test messages be asked for: each is a mail to whoever stands in a rule.

    Args:
        session: a write session.
        project_id: the project whose rule is tried; None: a channel is.
        now: µs.

    Raises:
        WaitError: there were enough in the last quarter of an hour.
    """
    since = now - TESTS_SECONDS * 1_000_000
    mine = OutboxModel.project_id.is_(None) if project_id is None else OutboxModel.project_id == project_id
    recent = select(func.count(), func.min(OutboxModel.created_at)).where(
        mine, OutboxModel.dedupe_key.startswith(TEST_KEY, autoescape=True), OutboxModel.created_at > since
    )
    count, oldest = (await session.execute(recent)).one()
    if count >= MAX_TESTS:
        wait = max(1, round((oldest - since) / 1_000_000))
        raise WaitError(
            f"{MAX_TESTS} test messages in a quarter of an hour are enough. Try again in {wait // 60 + 1} min; "
            "Messages shows what became of the last ones.",
            retry_after=wait,
        )


async def enqueue_changes(session: AsyncSession, changes: Sequence[IssueChange], now: int) -> None:
    """Tell rules and plugins of changed issues, after this transaction commits.

    Only writes outbox rows. Call it in the transaction that changed the issues; filling in the same changes twice adds
    nothing. Changes that only say "seen" are left out.

    Args:
        session: the write session in which the issues changed.
        changes: of any projects.
        now: µs.
    """
    by_project: dict[int, list[IssueChange]] = {}
    for change in changes:
        if change.change in TOLD_CHANGES:
            by_project.setdefault(change.project_id, []).append(change)
    for project_id, told in by_project.items():
        for start in range(0, len(told), CHANGES_PER_ENTRY):
            body = Body(changes=told[start : start + CHANGES_PER_ENTRY])
            digest = hashlib.sha256(encode_body(body).encode()).hexdigest()
            await add_entry(session, Purpose.CHANGE, f"change:{digest}", body, now, project_id=project_id)


async def create_default_rules(session: AsyncSession, project_id: int, now: int) -> None:
    """Give a new project the rules that everybody wants first: mail about new issues and about regressions.

    Args:
        session: the write session in which the project was made.
        project_id: the new project.
        now: µs.
    """
    for condition, name in (("new_issue", "New issue"), ("regression", "Regression")):
        session.add(RuleModel(project_id=project_id, name=name, condition=condition, channel="email", created_at=now))
    await session.flush()
