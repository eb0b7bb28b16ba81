"""What a new password, a lost session and a fault leave behind: nothing that opens anything, nothing that tells."""

from __future__ import annotations

import asyncio
import io
import logging
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog
from sqlalchemy import select

from appliance.accounts.access import COMMAND_LINE, NotFoundError, Role
from appliance.accounts.links import LinkPurpose, find_link, make_link
from appliance.accounts.models import LinkModel
from appliance.accounts.service import AccountService
from appliance.accounts.sign_in import Challenge, Client
from appliance.config import Accounts, Log
from appliance.logs import configure_logging
from appliance.metadata.database import Database
from appliance.testing.accounts import CHEAP_ROUNDS, PASSWORD, SITE
from appliance.testing.clock import FakeClock
from appliance.testing.databases import temporary_database
from appliance.web.live import LiveStreams, Message

CLIENT = Client(address="203.0.113.5")


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with temporary_database("sqlite", tmp_path) as made:
        yield made


@pytest.mark.parametrize("way", ["by its user", "by the operator"])
async def test_a_new_password_ends_the_links_and_half_sign_ins_of_the_old_one(database: Database, way: str) -> None:
    clock = FakeClock()
    accounts = AccountService(database, clock, Accounts(), SITE, rounds=CHEAP_ROUNDS)
    user_id = await accounts.users.create(COMMAND_LINE, "ada@example.com", Role.MEMBER, PASSWORD)
    opened = await accounts.sign_in.password("ada@example.com", PASSWORD, CLIENT)
    assert not isinstance(opened, Challenge)
    actor = await accounts.sessions.actor(opened.token)
    assert actor is not None
    secrets: dict[LinkPurpose, str] = {}
    async with database.write() as session:
        for purpose in (LinkPurpose.RESET, LinkPurpose.SECOND_FACTOR):
            secrets[purpose] = await make_link(session, purpose, user_id, minutes=10, now=clock.now())
    if way == "by its user":
        await accounts.profile.change_password(actor, PASSWORD, "another long password", CLIENT)
    else:
        await accounts.users.set_password(COMMAND_LINE, user_id, "another long password")
    async with database.read() as session:
        for purpose, secret in secrets.items():
            with pytest.raises(NotFoundError):
                await find_link(session, purpose, secret, clock.now())
        assert (await session.scalars(select(LinkModel.id))).all() == []
    accounts.close()


async def test_a_lost_session_ends_its_stream_even_when_messages_never_pause() -> None:
    allowed = True

    async def storm() -> AsyncIterator[Message]:
        while True:
            await asyncio.sleep(0)
            yield Message(event="issues", data={"ids": [1]})

    async def still() -> bool:
        return allowed

    response = LiveStreams().stream(1, storm(), still, heartbeat=0.05)
    pieces = response.iterator
    for _ in range(3):
        await anext(pieces)  # type: ignore[arg-type]
    allowed = False
    async with asyncio.timeout(20):
        said = [bytes(piece) async for piece in pieces]  # type: ignore[union-attr, arg-type]
    assert said[-1].startswith(b"event: ended")


def test_traces_in_the_log_of_a_terminal_show_no_local_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stderr", out)
    root = logging.getLogger()
    kept, level = list(root.handlers), root.level
    try:
        configure_logging(Log(format="text"))
        try:
            password = "zq-local-secret"  # the trace shows this frame
            raise ValueError(len(password))
        except ValueError as error:
            structlog.stdlib.get_logger("security-test").error("failed", exc_info=error)
    finally:
        root.handlers[:] = kept
        root.setLevel(level)
        structlog.reset_defaults()
    assert "ValueError" in out.getvalue()
    assert "password =" not in out.getvalue().replace('password = "zq-local-secret"  # the trace', "")
    assert out.getvalue().count("zq-local-secret") <= 1
