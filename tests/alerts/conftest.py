"""A small world for alerts: one project with people, rules, issues, and notifiers that a test can break."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, cast

import pytest
from msgspec import Struct, field
from sqlalchemy import select

from appliance.accounts.models import ProjectMemberModel, UserModel
from appliance.alerts.models import AlertModel, DeliveryModel, OutboxModel
from appliance.alerts.service import AlertService, create_default_rules, enqueue_changes
from appliance.config import Config
from appliance.hookspecs import (
    CheckStep,
    DeliveryError,
    EventNotFoundError,
    EventStore,
    EventSummary,
    IssueChange,
    Notification,
    Notifier,
    Receipt,
    Rule,
)
from appliance.issues.models import IssueModel
from appliance.metadata.database import Database
from appliance.model import Event
from appliance.projects.models import ProjectModel
from appliance.testing.clock import FakeClock
from appliance.testing.databases import BACKENDS, Backend, temporary_database
from condev_plugins.basic_rules import NewIssueRule, RegressionRule

SECOND = 1_000_000


class Events:
    """The one question that alerts ask of the event store."""

    def __init__(self) -> None:
        self.known: dict[str, tuple[EventSummary, Event | None]] = {}

    async def event(self, project_ids: object, event_id: str) -> tuple[EventSummary, Event | None]:
        if event_id not in self.known:
            raise EventNotFoundError(event_id)
        return self.known[event_id]


class Recorder(Notifier):
    """Takes everything, unless told to fail."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.sent: list[Notification] = []
        self.errors: list[Exception] = []  # raised one after the other
        self.always: Exception | None = None
        self.problem = ""

    def configured(self) -> str:
        return self.problem

    async def deliver(self, notification: Notification) -> Receipt:
        if self.always is not None:
            raise self.always
        if self.errors:
            raise self.errors.pop(0)
        self.sent.append(notification)
        return Receipt(reply="250 taken", provider_id=f"{self.name}-{len(self.sent)}")

    async def check(self, notification: Notification | None = None) -> list[CheckStep]:
        return [CheckStep(name="config", ok=True, detail="ready")]


class Plugins(Struct, kw_only=True):
    """Stands for the plugin host."""

    notifiers: dict[str, Notifier]
    rules: dict[str, Rule] = field(
        default_factory=lambda: {"new_issue": NewIssueRule(), "regression": RegressionRule()}
    )
    issue_hooks: frozenset[str] = frozenset()
    called: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    hook_failures: dict[int, int] = field(default_factory=dict[int, int])  # issue id → how often it still fails

    async def call_issue_hook(self, name: str, change: IssueChange) -> list[str]:
        self.called.append((name, change.issue_id))
        if self.hook_failures.get(change.issue_id, 0) > 0:
            self.hook_failures[change.issue_id] -= 1
            return [f"mine.{name}: RuntimeError: no"]
        return []


class World(Struct, kw_only=True):
    """Everything that a test of alerts touches."""

    database: Database
    clock: FakeClock
    events: Events
    plugins: Plugins
    first: Recorder
    second: Recorder
    config: Config
    service: AlertService
    project_id: int

    def restarted(self) -> AlertService:
        """The service of a new process over the same database."""
        self.service = AlertService(
            self.database, cast("EventStore", self.events), self.clock, cast("Any", self.plugins), self.config
        )
        return self.service

    async def changes(self, *changes: IssueChange) -> None:
        """As the pipeline does it."""
        async with self.database.write() as session:
            await enqueue_changes(session, changes, self.clock.now())

    async def open_issues(self, count: int = 1, start: int = 1) -> None:
        """New issues, with their rows."""
        await self.changes(*[await self.issue(number) for number in range(start, start + count)])

    async def issue(self, number: int, **values: Any) -> IssueChange:
        """One issue's row, and the change that opened it."""
        async with self.database.write() as session:
            session.add(
                IssueModel(
                    id=number, project_id=self.project_id, title=f"TypeError: {number}", kind="error", level="error",
                    event_count=number, user_count=2, first_seen=0, last_seen=0,
                )
            )  # fmt: skip
        return change(number, project_id=self.project_id, **values)

    async def outbox(self, **where: object) -> list[OutboxModel]:
        return await self._all(OutboxModel, where)

    async def deliveries(self, **where: object) -> list[DeliveryModel]:
        return await self._all(DeliveryModel, where)

    async def alerts(self, **where: object) -> list[AlertModel]:
        return await self._all(AlertModel, where)

    async def _all(self, table: Any, where: Mapping[str, object]) -> list[Any]:
        async with self.database.read() as session:
            return list(await session.scalars(select(table).filter_by(**where).order_by(table.id)))


def change(issue_id: int, **values: Any) -> IssueChange:
    """A change as the pipeline reports it."""
    given: dict[str, Any] = {
        "change": "opened", "project_id": 1, "title": f"TypeError: {issue_id}", "culprit": "render (app.js)",
        "level": "error", "kind": "error", "event_id": f"{issue_id:032x}", "release": "shop@1.2.0",
        "environment": "production", "event_count": 1, "at": 1_800_000_000 * SECOND, **values,
    }  # fmt: skip
    return IssueChange(issue_id=issue_id, **given)


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Backend:
    return request.param


@pytest.fixture
async def database(backend: Backend, tmp_path: Path) -> AsyncIterator[Database]:
    async with temporary_database(backend, tmp_path) as database:
        yield database


@pytest.fixture
async def world(database: Database) -> World:
    clock = FakeClock()
    async with database.write() as session:
        project = ProjectModel(slug="shop", name="Shop", created_at=0)
        session.add(project)
        for number, (role, password) in enumerate(
            [("owner", "x"), ("admin", "x"), ("member", "x"), ("viewer", "x"), ("member", "")], start=1
        ):
            email = f"{role}{number}@example.com"
            session.add(
                UserModel(id=number, email=email, email_key=email, role=role, password_hash=password, created_at=0)
            )
        await session.flush()
        for user_id in (3, 5):  # the second member has not taken up the invitation
            session.add(ProjectMemberModel(user_id=user_id, project_id=project.id, added_at=0))
        await create_default_rules(session, project.id, clock.now())
        project_id = project.id
    first, second = Recorder("resend"), Recorder("smtp")
    config = Config()
    config.site.url = "https://monitor.example.com"
    plugins = Plugins(notifiers={"resend": first, "smtp": second})
    events = Events()
    service = AlertService(database, cast("EventStore", events), clock, cast("Any", plugins), config)
    return World(
        database=database, clock=clock, events=events, plugins=plugins, first=first, second=second, config=config,
        service=service, project_id=project_id,
    )  # fmt: skip


@pytest.fixture
def outage() -> Callable[..., DeliveryError]:
    """An error that a later try may not meet."""

    def make(text: str = "The provider is down.", **values: Any) -> DeliveryError:
        return DeliveryError(text, **values)

    return make
