"""A dashboard over made-up issues, without stores: for tests of pages and for looking at them.

`dashboard(...)` gives an application with the real pages, templates, scripts and headers; who acts, and what the
service answers, is said by the caller. Access is not what is tested here: the one actor is simply there.
"""

from __future__ import annotations

import asyncio
import builtins
import threading
from collections.abc import AsyncIterator, Collection, Generator, Sequence
from contextlib import contextmanager
from typing import Any, Final, cast

import uvicorn
from litestar import Litestar
from litestar.config.app import AppConfig
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.di import Provide
from litestar.handlers import BaseRouteHandler
from litestar.plugins import InitPlugin
from litestar.utils.scope.state import ScopeState
from msgspec import structs

from appliance.accounts.access import Actor, Role
from appliance.alerts.log import AlertLog
from appliance.alerts.schemas import AlertItem, Listing
from appliance.alerts.service import AlertService
from appliance.hookspecs import Clock, EventFilter, Page
from appliance.issues.feed import IssueFeed
from appliance.issues.figures import ListFigures
from appliance.issues.routes import routes as issue_routes
from appliance.issues.service import IssueService
from appliance.issues.views import (
    ActionResult,
    EventDetail,
    EventList,
    Ignore,
    IssueAction,
    IssueDetail,
    IssueList,
    IssueLook,
    IssueNotFoundError,
    IssueQuery,
    IssueState,
    IssueSummary,
    MergeResult,
    ResolveIn,
    ResolveNow,
    StateCounts,
    UnmergeResult,
)
from appliance.testing import made_up
from appliance.testing.clock import FakeClock
from appliance.web.pages import Shell
from appliance.web.setup import WebPlugin

VIEWER: Final = Actor(user_id=3, email="viewer@example.com", role=Role.VIEWER, project_ids=frozenset({1, 2}))
OWNER: Final = Actor(user_id=1, email="ada@example.com", role=Role.OWNER, project_ids=None, name="Ada Lovelace")


class MadeUpIssues(IssueService):
    """Answers as `IssueService` does, from lists in memory; remembers what it was asked to do."""

    def __init__(self, now: int, *, count: int = 32) -> None:
        """Args: now: µs, when the made-up world is looked at; count: how many issues there are."""
        self.now = now
        self.items = made_up.issues(now, count)
        self.done: list[tuple[tuple[int, ...], IssueAction]] = []
        self.merged: list[tuple[int, tuple[int, ...]]] = []
        self.feed = IssueFeed()
        self._loop: asyncio.AbstractEventLoop | None = None  # the server's, once a page listens
        self.asked: list[IssueQuery] = []

    async def list(self, actor: Actor, query: IssueQuery) -> IssueList:
        """The issues of that state whose title holds all words."""
        self.asked.append(query)
        wanted = [
            item
            for item in self.items
            if (query.state in ("all", item.state))
            and (not query.project_ids or item.project_id in query.project_ids)
            and (not query.levels or item.level in query.levels)
            and all(word.lower() in item.title.lower() for word in query.text)
            and actor.sees(item.project_id)
        ]
        order = {"events": "event_count", "users": "user_count"}.get(query.sort, query.sort)
        wanted.sort(key=lambda item: getattr(item, order), reverse=True)
        start = int(query.cursor or 0)
        shown = wanted[start : start + query.limit]
        following = str(start + query.limit) if start + query.limit < len(wanted) else None
        return IssueList(items=shown, next=following, bucket=3_600_000_000, start=self.now - 24 * 3_600_000_000)

    async def state_counts(self, actor: Actor, project_ids: Collection[int] = ()) -> StateCounts:
        """Counted from the items."""
        states = [item.state for item in self.items if not project_ids or item.project_id in project_ids]
        return StateCounts(
            open=states.count("open"), resolved=states.count("resolved"), ignored=states.count("ignored")
        )

    def _one(self, issue_id: int) -> IssueSummary:
        found = next((item for item in self.items if item.id == issue_id), None)
        if found is None:
            raise IssueNotFoundError("There is no such issue.")
        return found

    async def issue(self, actor: Actor, issue_id: int) -> IssueDetail:
        """One of the items, with a history."""
        return made_up.detail(self._one(issue_id), self.now)

    async def look(self, actor: Actor, issue_id: int, event_id: str) -> IssueLook:
        """One of the items with an event and two weeks of it; number 4 has no event left."""
        found = self._one(issue_id)
        event = None if found.id == 4 and event_id == "latest" else await self.event(actor, event_id, issue_id=issue_id)
        overview = made_up.overview(found, self.now)
        return IssueLook(detail=made_up.detail(found, self.now), event=event, overview=overview)

    async def events(self, actor: Actor, issue_id: int, page: Page, where: EventFilter | None = None) -> EventList:
        """Occurrences; a filter for words that no event has leaves none."""
        if where is not None and where.text == "nowhere":
            return EventList(items=[])
        return EventList(items=made_up.occurrences(self._one(issue_id), self.now), next=None if page.cursor else "more")

    async def event(self, actor: Actor, event_id: str, *, issue_id: int | None = None) -> EventDetail:
        """The event; number 3's payload was withheld, number 4 has none left."""
        issue = self._one(issue_id or 1)
        if issue.id == 4:
            raise IssueNotFoundError("There is no such event.")
        return made_up.event_detail(issue, self.now, withheld=issue.id == 3)

    async def figures(
        self, actor: Actor, project_ids: Collection[int] = (), *, wait: float | None = None
    ) -> ListFigures | None:
        """A day like the one before, with more of everything."""
        return ListFigures(
            since=self.now - 24 * 3_600_000_000, new=5, new_before=3, events=12_408, events_before=10_515,
            users=932, users_before=970, not_kept=12, not_kept_reason="rate_limited",
        )  # fmt: skip

    async def filter_values(
        self, actor: Actor, name: str, *, project_ids: Collection[int] = (), prefix: str = ""
    ) -> builtins.list[str]:
        """A few of each."""
        return made_up.VALUES.get(name, [])

    async def act(self, actor: Actor, issue_ids: Sequence[int], action: IssueAction) -> ActionResult:
        """Change the state."""
        self.done.append((tuple(issue_ids), action))
        state = "resolved" if isinstance(action, ResolveNow | ResolveIn) else "open"
        state = "ignored" if isinstance(action, Ignore) else state
        hit = [item for item in self.items if item.id in issue_ids and item.state != state]
        changed = tuple(item.id for item in hit)
        before: set[IssueState] = {item.state for item in hit}
        new: Any = {"state": state, "resolved_at": self.now if state == "resolved" else None, "regressed_at": None}
        self.items = [structs.replace(item, **new) if item.id in changed else item for item in self.items]
        return ActionResult(changed=changed, before=before.pop() if len(before) == 1 else "")

    async def merge(self, actor: Actor, target_id: int, source_ids: Sequence[int]) -> MergeResult:
        """Take the sources away."""
        for source in source_ids:
            self._one(source)
        self.merged.append((target_id, tuple(source_ids)))
        self.items = [item for item in self.items if item.id not in source_ids]
        return MergeResult(issue_id=target_id, merged=tuple(source_ids))

    async def unmerge(self, actor: Actor, issue_id: int, hashes: Sequence[str]) -> UnmergeResult:
        """Agree."""
        return UnmergeResult(issue_id=issue_id, issues=(issue_id,))

    async def marker(self, actor: Actor, project_ids: Collection[int] = ()) -> str:
        """Changes with the newest issue."""
        self._loop = asyncio.get_running_loop()
        return str(max((item.id for item in self.items), default=0))

    def open_one(self, title: str) -> IssueSummary:
        """A new issue appears, and the pages that listen are told."""
        number = max(item.id for item in self.items) + 1
        item = structs.replace(
            self.items[0], id=number, title=title, state="open", first_seen=self.now, last_seen=self.now
        )
        self.items.insert(0, item)
        if self._loop is not None:
            change = made_up.opened(item)
            self._loop.call_soon_threadsafe(self.feed.publish, [item.project_id], [change])
        return item


class MadeUpAlerts(AlertService):
    """Two firings for every issue; nothing else of alerts."""

    def __init__(self, now: int) -> None:
        """Args: now: µs, when the made-up world is looked at."""
        self.log = _FiredLog(now)


class _FiredLog(AlertLog):
    def __init__(self, now: int) -> None:
        self._now = now

    async def alerts(
        self,
        actor: Actor,
        *,
        project_id: int | None = None,
        issue_id: int | None = None,
        limit: int = 50,
        cursor: str = "",
    ) -> Listing[AlertItem]:
        """The same for each issue."""
        return Listing(items=made_up.fired(issue_id or 1, self._now))


class Present(InitPlugin):
    """Makes one actor present in every request, in the place of sign-in."""

    def __init__(self, actor: Actor | None, issues: MadeUpIssues, clock: Clock) -> None:
        self._provided: dict[str, object] = {"issues": issues, "clock": clock, "actor": actor, "feed": issues.feed}
        self._provided["alerts"] = MadeUpAlerts(issues.now)
        self._actor = actor

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """Litestar calls this while it is made."""
        for name, value in self._provided.items():
            app_config.dependencies[name] = Provide(_giving(value), sync_to_thread=False)
        app_config.state["access"] = Door()
        actor = self._actor

        def present(connection: ASGIConnection[Any, Any, Any, State], _handler: BaseRouteHandler) -> None:
            if actor is not None:
                cast("dict[str, Any]", connection.scope)["user"] = actor
                ScopeState.from_scope(connection.scope).csrf_token = "made-up"  # noqa: S105

        cast("list[Any]", app_config.guards).append(present)  # pyright: ignore[reportUnknownMemberType]
        return app_config


class Door:
    """In the place of `accounts.guards.AccessPlugin`: the test says when somebody is signed out."""

    def __init__(self) -> None:
        self.open = True

    async def still(self, _connection: object, _actor: Actor) -> bool:
        """Whether the session lives on."""
        return self.open


def _giving(value: object) -> Any:
    def give() -> Any:
        return value

    return give


def dashboard(
    actor: Actor | None = OWNER,
    issues: MadeUpIssues | None = None,
    *,
    clock: Clock | None = None,
    shell: Shell | None = None,
    handlers: Sequence[Any] = (),
) -> Litestar:
    """A dashboard.

    Args:
        actor: who looks at it; None: nobody is signed in.
        issues: what there is to see.
        clock: the time it is.
        shell: what the navigation shows.
        handlers: more routes.
    """
    clock = clock or FakeClock()
    issues = issues or MadeUpIssues(clock.now())
    shown = shell or made_up.shell()

    async def load(_connection: object) -> Shell:
        return shown

    plugins = [Present(actor, issues, clock), WebPlugin(clock, load)]
    return Litestar([*issue_routes, *handlers], plugins=plugins, openapi_config=None)


@contextmanager
def served(app: Litestar) -> Generator[str]:
    """The application on a port of its own, in a thread; gives its address."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="on", timeout_graceful_shutdown=2))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started and thread.is_alive():
        thread.join(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.servers[0].get_loop().call_soon_threadsafe(app.state["live"].stop)
        server.should_exit = True
        thread.join(10)


async def read_stream(chunks: AsyncIterator[bytes], count: int) -> list[bytes]:
    """The first chunks of a stream."""
    return [await anext(chunks) for _ in range(count)]
