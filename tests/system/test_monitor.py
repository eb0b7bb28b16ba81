"""Conditions from a look to a delivered message, over a real database and a real outbox, on SQLite and Postgres."""

from __future__ import annotations

import ssl
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from msgspec.structs import replace
from sqlalchemy import select

from appliance.accounts.models import UserModel
from appliance.alerts.entries import State
from appliance.alerts.models import OutboxModel
from appliance.alerts.service import AlertService
from appliance.config import Config
from appliance.hookspecs import CheckStep, DeliveryError, EventStore, Notification, Notifier, Receipt
from appliance.metadata.database import Database
from appliance.system import monitor as monitoring
from appliance.system.certificate import Certificate
from appliance.system.conditions import Code
from appliance.system.monitor import SelfMonitor
from appliance.system.readings import BackupState, Stuck
from appliance.system.schemas import SystemState
from appliance.system.service import SystemService
from appliance.testing.clock import FakeClock
from appliance.testing.databases import BACKENDS, temporary_database
from appliance.testing.reference_store import MemoryStore

DAY = 86_400


class Recorder(Notifier):
    """Takes everything, unless told to fail."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.sent: list[Notification] = []
        self.problem = ""
        self.error: Exception | None = None

    def configured(self) -> str:
        return self.problem

    async def deliver(self, notification: Notification) -> Receipt:
        if self.error is not None:
            raise self.error
        self.sent.append(notification)
        return Receipt(reply="taken")

    async def check(self, notification: Notification | None = None) -> list[CheckStep]:
        return []

    @property
    def subjects(self) -> list[str]:
        return [notification.subject for notification in self.sent]


class Plugins:
    """Stands for the plugin host, as alerts and the System page ask it."""

    def __init__(self, *notifiers: Recorder) -> None:
        self.notifiers = {notifier.name: notifier for notifier in notifiers}
        self.rules: dict[str, Any] = {}
        self.issue_hooks: frozenset[str] = frozenset()
        self.plugins: dict[str, Any] = {}
        self.health_checks: list[Any] = []


class World:
    """An appliance without pipeline, whose figures a test bends."""

    def __init__(self, database: Database, data_dir: Path) -> None:
        self.database, self.data_dir = database, data_dir
        self.clock = FakeClock(time.time_ns() // 1_000)  # certificates are judged by real time
        self.mail, self.hook = Recorder("mail"), Recorder("hook")
        self.config = Config()
        self.config.site.url = "http://monitor.example.com"
        self.config.channels = {"email": ["mail"], "hooks": ["hook"]}
        self.bend: Callable[[SystemState], SystemState] = lambda state: state
        self.stuck: Stuck | None = None
        self.backup: BackupState | None = None
        self.start()

    def start(self) -> None:
        """The objects of a new process over the same database."""
        plugins = cast("Any", Plugins(self.mail, self.hook))
        store = cast("EventStore", MemoryStore(self.clock))
        self.alerts = AlertService(self.database, store, self.clock, plugins, self.config)
        self.system = SystemService(
            database=self.database, store=store, blobs=cast("Any", None), clock=self.clock, config=self.config,
            data_dir=self.data_dir, plugins=plugins, pipeline=None, alerts=self.alerts,
        )  # fmt: skip

        async def state() -> SystemState:
            return self.bend(await self.system.figures())

        async def backups() -> BackupState | None:
            return self.backup

        self.monitor = SelfMonitor(
            database=self.database, clock=self.clock, config=self.config, data_dir=self.data_dir,
            site_url=self.config.site.url, alerts=self.alerts, state=state, stuck=lambda: self.stuck, backups=backups,
        )  # fmt: skip

    async def look(self, times: int = 1, *, deliver: bool = True) -> list[str]:
        """So many looks a minute apart; the names of what is raised after the last."""
        raised: list[str] = []
        for _ in range(times):
            self.clock.advance(60)
            raised = [condition.key for condition in await self.monitor.run()]
            if deliver:
                await self.alerts.worker.drain()
        return raised

    def late(self, seconds: float) -> None:
        """The spool's oldest record is so old."""
        self.bend = lambda state: replace(state, spool=replace(state.spool, oldest_seconds=seconds))

    async def outbox(self) -> list[OutboxModel]:
        async with self.database.read() as session:
            return list(await session.scalars(select(OutboxModel).order_by(OutboxModel.id)))


@pytest.fixture(params=BACKENDS)
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async with temporary_database(request.param, tmp_path) as database:
        async with database.write() as session:
            for number, (role, password) in enumerate(
                [("owner", "x"), ("admin", "x"), ("admin", ""), ("member", "x"), ("viewer", "x")], start=1
            ):
                email = f"{role}{number}@example.com"
                session.add(
                    UserModel(id=number, email=email, email_key=email, role=role, password_hash=password, created_at=0)
                )
        yield World(database, tmp_path)


async def test_owners_and_admins_who_can_sign_in_are_told_once_with_what_to_do(world: World) -> None:
    world.late(900)
    assert await world.look(5) == ["spool_lag"]
    (sent,) = world.mail.sent
    assert sent.subject == "[Condev Monitor] Problem: Events are processed late"
    assert sent.recipients == ("owner1@example.com", "admin2@example.com")
    assert "came 15 minutes ago" in sent.text
    assert "What to do: See on the System page" in sent.text
    assert sent.url == "http://monitor.example.com/system"
    assert sent.kind == "appliance_problem"
    assert sent.data["condition"] == "spool_lag"
    assert world.hook.sent == []


async def test_it_is_repeated_daily_and_its_end_is_told_once(world: World) -> None:
    world.late(900)
    await world.look(3)
    world.clock.advance(DAY)
    await world.look(3)
    world.late(120)  # between the thresholds: still raised
    assert await world.look(3) == ["spool_lag"]
    world.late(1)
    assert await world.look(15) == ["spool_lag"]
    assert await world.look(3) == []
    assert [subject.split("] ")[1] for subject in world.mail.subjects] == [
        "Problem: Events are processed late",
        "Still a problem: Events are processed late",
        "Over: Events are processed in time again",
    ]
    async with world.database.read() as session:
        assert await monitoring.load(session) == []


async def test_a_restart_tells_nothing_twice(world: World) -> None:
    world.late(900)
    await world.look(3)
    for _ in range(3):
        world.start()
        assert await world.look() == ["spool_lag"]
    assert len(world.mail.sent) == 1
    world.late(0)
    for _ in range(18):
        world.start()
        await world.look()
    assert len(world.mail.sent) == 2


async def test_what_comes_and_goes_is_told_once_until_it_was_quiet_for_a_while(world: World) -> None:
    for _ in range(10):
        world.late(900)
        assert await world.look(3) == ["spool_lag"]
        world.late(1)
        assert await world.look(10) == ["spool_lag"]
    assert len(world.mail.sent) == 1
    assert await world.look(10) == []
    assert len(world.mail.sent) == 2


async def test_looks_that_follow_each_other_at_once_count_as_one(world: World) -> None:
    world.late(900)
    for _ in range(5):
        world.clock.advance(3)
        assert await world.monitor.run() == []


async def test_what_fails_while_it_is_told_is_told_once_all_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row that remembers and the message are one transaction."""
    world.late(900)
    await world.look()

    async def broken(*_: object) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(monitoring, "_store", broken)
        with pytest.raises(OSError, match="no space"):
            await world.look()
    assert await world.outbox() == []
    await world.look(3)
    assert len(world.mail.sent) == 1


async def test_a_notifier_that_fails_is_told_through_another_channel(world: World) -> None:
    world.mail.error = DeliveryError("The server is down.")
    world.late(900)
    await world.look(2)  # goes to the mail, which refuses
    assert [entry.state for entry in await world.outbox()] == [State.WAITING]
    await world.look(25)
    assert set(world.hook.subjects) == {
        "[Condev Monitor] Problem: Events are processed late",  # too late in the one, so through the other
        "[Condev Monitor] Problem: A notifier fails: mail",
    }
    assert len(world.hook.sent) == 2
    world.mail.error = None
    world.clock.advance(DAY // 2)
    await world.look(20)  # the waiting message is delivered at last: it is well again
    assert "[Condev Monitor] Over: The notifier delivers again: mail" in [*world.hook.subjects, *world.mail.subjects]


async def test_a_channel_that_is_not_configured_is_passed_over(world: World) -> None:
    world.mail.problem = "No key."
    world.late(900)
    await world.look(2)
    assert world.mail.sent == []
    assert len(world.hook.sent) == 1


async def test_without_any_channel_it_stands_on_the_page_and_is_told_when_there_is_one(world: World) -> None:
    world.mail.problem = world.hook.problem = "No key."
    world.late(900)
    assert await world.look(3) == ["spool_lag"]
    assert await world.outbox() == []
    world.clock.advance(60)
    state = await world.system.figures()
    assert state.conditions == ["spool_lag"]
    (problem,) = [problem for problem in state.problems if problem.code == "spool_lag"]
    assert problem.since is not None
    assert problem.text.startswith("Events are processed late. The oldest of")
    world.mail.problem = ""
    await world.look(2)
    assert world.mail.subjects == ["[Condev Monitor] Problem: Events are processed late"]


async def test_a_notifier_that_left_the_configuration_fails_no_more(world: World) -> None:
    world.mail.error = DeliveryError("down")
    world.late(900)
    await world.look(30)
    assert "notifier_failing:mail" in await world.look()
    world.config.channels = {"email": ["hook"]}
    world.start()
    assert "notifier_failing:mail" not in await world.look(17)


async def test_a_store_that_hangs_is_told_at_once(world: World) -> None:
    world.stuck = Stuck(call="write", seconds=61.0, restart_in=239.0)
    assert await world.look() == ["store_stuck"]
    assert "Its call write has not come back for 61 s" in world.mail.sent[0].text
    world.stuck = None
    assert await world.look(17) == []
    assert "Over: The event store answers again" in world.mail.subjects[-1]


async def test_backups_are_watched_as_their_maker_says(world: World) -> None:
    world.backup = BackupState(scheduled=True, last_good_at=world.clock.now() - 60 * 3_600_000_000, last_error="full")
    assert await world.look() == ["backup_old"]
    assert "60 hours old. The last try: full" in world.mail.sent[0].text.replace("\n", " ")


async def test_metrics_have_every_code_and_readyz_only_names(world: World) -> None:
    from appliance.system.metrics import render

    world.late(900)
    await world.look(2)
    world.clock.advance(60)
    assert await world.system.conditions() == ["spool_lag"]
    text = render(*await world.system.metrics_state()).decode()
    assert 'condev_condition{code="spool_lag",subject=""} 1.0' in text
    assert 'condev_condition{code="disk_low",subject=""} 0.0' in text
    assert all(f'code="{code}"' in text for code in Code)


async def test_a_row_of_another_version_is_left_alone(world: World) -> None:
    async with world.database.write() as session:
        await session.merge(monitoring.FactModel(name="condition:from_the_future", value='{"code": "unheard_of"}'))
    assert await world.look() == []


# ── the certificate ──


@pytest.fixture
async def tls_site() -> AsyncIterator[Callable[[int], Any]]:
    """Serves TLS with a certificate that is valid for so many days more; gives its address."""
    import asyncio
    import datetime

    import trustme

    servers: list[asyncio.Server] = []

    async def serve(days: float, lived: float = 60) -> str:
        now = datetime.datetime.now(datetime.UTC)
        start, end = now - datetime.timedelta(days=lived), now + datetime.timedelta(days=days)
        leaf = trustme.CA().issue_cert("localhost", not_before=start, not_after=end)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        leaf.configure_cert(context)
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
        servers.append(server)
        return f"https://localhost:{server.sockets[0].getsockname()[1]}"

    yield serve
    for server in servers:
        server.close()


@pytest.mark.parametrize(("days", "raised"), [(3, True), (29, False), (-1, True)])
async def test_the_certificate_is_read_by_a_handshake_that_trusts_nobody(
    world: World, tls_site: Any, days: int, raised: bool
) -> None:
    world.config.site.url = await tls_site(days)
    world.start()
    assert await world.look() == []  # just started: the proxy may still be fetching one
    world.clock.advance(180)
    assert (await world.look() == ["certificate_expiring"]) is raised
    if raised:
        assert ("has expired" in world.mail.sent[0].text) is (days < 0)


async def test_an_address_that_nobody_answers_is_no_condition(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.config.site.url = "https://localhost:9"
    world.start()
    world.clock.advance(180)
    assert await world.look(3) == []


async def test_a_certificate_of_twelve_hours_is_looked_at_again_within_the_hour(world: World, tls_site: Any) -> None:
    """As Caddy's own authority gives them out and renews them at a third of their life."""
    world.config.site.url = await tls_site(4.5 / 24, 7.5 / 24)
    world.start()
    world.clock.advance(180)
    assert await world.look() == []
    assert await world.look(55) == []
    world.clock.advance(3 * 3_600)  # renewed meanwhile, at the same address
    world.monitor._site_url = await tls_site(11 / 24, 1 / 24)
    assert await world.look(3) == []
    async with world.database.read() as session:
        fact = await session.get(monitoring.FactModel, monitoring.CERTIFICATE)
    assert fact is not None
    checked = msgspec.json.decode(fact.value, type=Certificate).checked_at
    assert world.clock.now() - checked < 4 * 60_000_000


async def test_what_was_read_long_ago_of_a_short_certificate_is_no_condition(world: World, tls_site: Any) -> None:
    world.config.site.url = await tls_site(4.5 / 24, 7.5 / 24)
    world.start()
    world.clock.advance(180)
    assert await world.look() == []
    world.monitor._site_url = "https://localhost:9"  # nobody answers any more
    world.clock.advance(4 * 3_600)
    assert await world.look(3) == []
