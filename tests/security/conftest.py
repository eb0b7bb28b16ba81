"""One real appliance for all tests of this folder: two projects full of things, people of every kind, and intruders.

All that belongs to project A carries `MARKER`; whoever may not see A must never be answered with it.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from msgspec import Struct, field

from appliance.accounts.access import COMMAND_LINE, SCOPE_PERMISSIONS, Role
from appliance.accounts.service import AccountService
from appliance.accounts.tokens import new_csrf_token
from appliance.config import Accounts
from appliance.metadata.database import Database
from appliance.pipeline.dead_letters import DeadLetterFiles, add
from appliance.pipeline.wire import DeadRecord
from appliance.spool import SpooledRecord, encode_record
from appliance.testing.accounts import CHEAP_ROUNDS
from appliance.testing.clock import FakeClock
from appliance.testing.running import Owner, RunningAppliance

MARKER: Final = "quokka"
PASSWORD: Final = "correct horse battery staple"  # as of `Owner`
DAY: Final = 86_400_000_000
SDK: Final = "sentry_key={key}&sentry_version=7"


class Person(Struct, kw_only=True):
    """Somebody with a session and a token that has every scope."""

    id: int
    email: str
    session: str
    token: str


class Answer(Struct, kw_only=True):
    """What came back."""

    status: int
    headers: httpx.Headers
    text: str

    @property
    def tells(self) -> bool:
        """Whether it shows something of project A."""
        return MARKER in self.text.lower() or MARKER in str(self.headers).lower()


class Site(Struct, kw_only=True):
    """The running appliance, and what is in it."""

    appliance: RunningAppliance
    client: httpx.Client
    people: dict[str, Person] = field(default_factory=dict[str, Person])
    ended: dict[str, str] = field(default_factory=dict[str, str])  # kind → session token that must no longer work
    dead_tokens: dict[str, str] = field(default_factory=dict[str, str])
    narrow: dict[str, str] = field(default_factory=dict[str, str])  # scope → the owner's token with that scope alone
    ids: dict[str, Any] = field(default_factory=dict[str, Any])  # path parameters that lead to things of project A
    other_issue: int = 0  # of A, too
    project_b: dict[str, Any] = field(default_factory=dict[str, Any])
    issue_b: int = 0
    event_b: str = ""

    @staticmethod
    def envelope(event: dict[str, Any]) -> bytes:
        """One event as Sentry's SDKs send it."""
        return envelope(event)

    def ask(
        self,
        method: str,
        path: str,
        *,
        session: str = "",
        token: str = "",
        form: dict[str, Any] | None = None,
        body: Any = None,
        **headers: str,
    ) -> Answer:
        """One request; of an endless stream the first piece. A form gets a CSRF token unless it has one."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if session:
            sent.setdefault("cookie", f"condev_session={session}")
        if token:
            sent["authorization"] = f"Bearer {token}"
        if form is not None:
            sent.setdefault("origin", self.appliance.url)
            form = {"_csrf_token": new_csrf_token(session or "x" * 43), **form}
        request = {"data": form} if form is not None else {} if body is None else {"json": body}
        self.client.cookies.clear()  # each request carries what it says, and nothing of the one before
        with self.client.stream(method, self.appliance.url + path, headers=sent, **request) as answer:
            endless = answer.headers.get("content-type", "").startswith("text/event-stream")
            text = next(answer.iter_text()) if endless else answer.read().decode("utf-8", "replace")
            return Answer(status=answer.status_code, headers=answer.headers, text=text)

    def snapshot(self) -> dict[str, list[tuple[Any, ...]]]:
        """What of project A, of other people and of the system a request could have changed."""
        queries = {
            "projects": "SELECT id, slug, name, allowed_origins, replay_enabled, requests_per_second, settings,"
            " deleted_at FROM projects",
            "keys": "SELECT id, project_id, key, label, disabled_at FROM ingest_keys",
            "issues": "SELECT id, state, merged_into, resolved_in, ignored_until, ignored_until_count FROM issues",
            "hashes": "SELECT project_id, hash, issue_id FROM issue_hashes",
            "activity": "SELECT id, issue_id, action FROM issue_activity",
            "rules": "SELECT id, project_id, name, condition, settings, channel, recipients, throttle_minutes, enabled"
            " FROM alert_rules",
            "messages": "SELECT id, purpose, state FROM outbox WHERE purpose <> 'change'",
            "members": "SELECT user_id, project_id FROM project_members",
            "users": "SELECT id, email, role, password_hash, totp_secret, disabled_at FROM users",
            "sessions": "SELECT id, user_id, token_hash FROM user_sessions",
            "tokens": "SELECT id, user_id, token_hash, revoked_at FROM api_tokens",
            "links": "SELECT id, user_id, purpose, used_at FROM account_links",
            "dead letters": "SELECT id, state FROM dead_letters",
        }
        with sqlite3.connect(f"file:{self.appliance.data_dir / 'metadata.db'}?mode=ro", uri=True) as database:
            return {name: sorted(database.execute(query), key=repr) for name, query in queries.items()}


def envelope(event: dict[str, Any]) -> bytes:
    """One event as Sentry's SDKs send it."""
    payload = json.dumps(event).encode()
    head = json.dumps({"event_id": event["event_id"]}).encode()
    return head + b"\n" + json.dumps({"type": "event", "length": len(payload)}).encode() + b"\n" + payload + b"\n"


def error_event(words: str, number: int) -> dict[str, Any]:
    """An error all of whose texts say the same words."""
    frame = {"function": f"{words}Function{number}", "filename": f"https://x.example/{words}{number}.js", "lineno": 1}
    return {
        "event_id": uuid.uuid4().hex,
        "timestamp": time.time(),
        "platform": "javascript",
        "level": "error",
        "environment": f"{words}-environment",
        "release": f"{words}@1.0.0",
        "user": {"id": f"{words}-user", "email": f"{words}@customers.example"},
        "tags": {"what": f"{words}-tag"},
        "request": {"url": f"https://x.example/{words}"},
        "breadcrumbs": [{"timestamp": time.time(), "category": "console", "message": f"{words} crumb"}],
        "contexts": {words: {"value": words}},
        "extra": {words: words},
        "exception": {
            "values": [
                {"type": f"{words.title()}Error", "value": f"{words} {number}", "stacktrace": {"frames": [frame]}}
            ]
        },
    }


def send(appliance: RunningAppliance, project: dict[str, Any], event: dict[str, Any]) -> str:
    """Through ingest; its id."""
    path = f"/api/{project['id']}/envelope/?{SDK.format(key=project['key'])}"
    status, said = appliance.post(path, envelope(event), {"content-type": "text/plain"})
    assert status == 200, said
    return str(event["event_id"])


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The appliance with everything in it. Tests leave it as it was, or use what they made."""
    folder = tmp_path_factory.mktemp("security")
    appliance = RunningAppliance(folder / "data", config='[site]\nname = "Site"\n')
    owner = Owner(appliance, "First shop")  # its address says nothing: it is in the requests, and may come back
    with appliance, httpx.Client(timeout=30, trust_env=False) as client:
        made = Site(appliance=appliance, client=client)
        made.project_b = json.loads(appliance.verb("project", "create", "--name", "Bilby", "--json"))
        project_a = {**owner.project, "id": owner.project_id}
        made.ids = {"project_id": owner.project_id, "slug": owner.project["slug"], "channel": "email"}
        made.ids |= {"name": "environment", "secret": "a" * 43, "path": "openapi.json"}
        made.ids["event_id"] = send(appliance, project_a, error_event(MARKER, 1))
        send(appliance, project_a, error_event(MARKER, 1) | {"event_id": uuid.uuid4().hex})
        send(appliance, project_a, error_event(MARKER, 2) | {"fingerprint": ["another"]})
        made.event_b = send(appliance, made.project_b, error_event("bilby", 1))
        _measure(appliance, owner.key)
        made.ids |= _visit(appliance, owner.key)
        _wait_for_issues(made, owner)
        asyncio.run(_people(made, appliance.data_dir))
        _things(made)
        yield made


def _measure(appliance: RunningAppliance, key: str) -> None:
    vital = {
        "event_type": "performance",
        "type": "webVital",
        "name": "LCP",
        "value": 1234.0,
        "release": f"{MARKER}@1.0.0",
        "path": f"/{MARKER}",
        "message": "",
        "browserInfo": {},
        "dist": "",
        "userId": f"{MARKER}-user",
        "_eventId": str(uuid.uuid4()),
        "_clientCreatedAt": int(time.time() * 1000),
    }
    status, said = appliance.post(f"/tracking/{key}", json.dumps([vital]).encode(), {"content-type": "text/plain"})
    assert status == 201, said


def _visit(appliance: RunningAppliance, key: str) -> dict[str, Any]:
    """A session of project A by our own protocol: a page view, a span, a drop, a replay; the ids that lead to them."""
    now = int(time.time() * 1000)
    ids = {"visit_id": uuid.uuid4().hex, "trace_id": uuid.uuid4().hex, "replay_id": uuid.uuid4().hex}
    url = f"https://x.example/{MARKER}"
    header = {
        "v": 2,
        "id": uuid.uuid4().hex,
        "sent_at": now,
        "page_view": {"id": uuid.uuid4().hex, "started": now, "url": url, "route": f"/{MARKER}", "title": MARKER},
        "session": {"id": ids["visit_id"], "started": now, "status": "ok", "errors": 0},
        "last": 9,
        "release": f"{MARKER}@1.0.0",
        "environment": f"{MARKER}-environment",
        "user": {"id": f"{MARKER}-user"},
    }
    span = {"trace_id": ids["trace_id"], "span_id": "a" * 16, "op": "pageload", "name": MARKER, "is_segment": True}
    items: list[dict[str, Any]] = [
        {"type": "page_view"},
        {"type": "span", **span, "start": now, "end": now + 5},
        {"type": "outcome", "reason": MARKER, "category": "error", "quantity": 3},
        {
            "type": "replay_segment", "replay_id": ids["replay_id"], "segment": 0, "replay_type": "session",
            "started": now, "ended": now + 5, "urls": [url],
            "events": [{"type": 4, "timestamp": now, "data": {"href": url, "width": 800, "height": 600}}],
        },
    ]  # fmt: skip
    lines = [header, *({"n": number, "at": now, **item} for number, item in enumerate(items, 1))]
    body = "\n".join(json.dumps(line) for line in lines).encode()
    status, said = appliance.post(f"/v2/{key}", body, {"content-type": "text/plain"})
    assert status == 200, said
    return {**ids, "number": 0}


def _wait_for_issues(made: Site, owner: Owner) -> None:
    def listed(project_id: int, count: int) -> list[dict[str, Any]]:
        items = made.appliance.get(f"/api/v1/projects/{project_id}/issues?sort=events", owner.token)["items"]
        return items if len(items) >= count and items[0]["event_count"] >= count else []

    made.appliance.wait_until(lambda: listed(owner.project_id, 2), "the issues of A")
    made.appliance.wait_until(lambda: listed(int(made.project_b["id"]), 1), "the issue of B")

    def visited() -> bool:
        spans = made.appliance.get(f"/api/v1/projects/{owner.project_id}/spans", owner.token)["items"]
        replays = made.appliance.get(f"/api/v1/projects/{owner.project_id}/replays", owner.token)["items"]
        return bool(spans and replays)

    made.appliance.wait_until(visited, "the visit to A")
    first, second = listed(owner.project_id, 2)
    made.ids["issue_id"], made.other_issue = first["id"], second["id"]
    made.issue_b = listed(int(made.project_b["id"]), 1)[0]["id"]


async def _people(made: Site, data_dir: Path) -> None:
    clock = FakeClock(time.time_ns() // 1_000)
    database = Database(f"sqlite+aiosqlite:///{data_dir / 'metadata.db'}")
    accounts = AccountService(database, clock, Accounts(), made.appliance.url, rounds=CHEAP_ROUNDS)
    a, b = int(made.ids["project_id"]), int(made.project_b["id"])

    async def person(name: str, role: Role, *projects: int) -> Person:
        email = f"{name}@example.com"
        if name == "owner":
            user_id = (await accounts.users.find(COMMAND_LINE, email)).id
        else:
            user_id = await accounts.users.create(COMMAND_LINE, email, role, PASSWORD)
        for project_id in projects:
            await accounts.users.set_member(COMMAND_LINE, project_id, user_id, True)
        token = await accounts.tokens.create(COMMAND_LINE, "test", list(SCOPE_PERMISSIONS), user_id=user_id)
        made.people[name] = Person(id=user_id, email=email, session=await session_of(user_id), token=token)
        return made.people[name]

    async def session_of(user_id: int) -> str:
        async with database.write() as session:
            opened = await accounts.sessions.open(session, user_id, address="203.0.113.5", user_agent="test")
            return opened.token

    async def revoked(kind: str, user_id: int, statement: str) -> None:
        made.ended[kind] = await session_of(user_id)
        async with database.write() as session:
            connection = await session.connection()
            await connection.exec_driver_sql(statement + " WHERE id = (SELECT max(id) FROM user_sessions)")

    owner = await person("owner", Role.OWNER)
    await person("admin", Role.ADMIN)
    member = await person("member", Role.MEMBER, a)
    await person("viewer", Role.VIEWER, a)
    await person("elsewhere", Role.MEMBER, b)
    await person("elsewhere-viewer", Role.VIEWER, b)
    await person("newcomer", Role.MEMBER)
    gone = await person("gone", Role.OWNER)
    now = clock.now()
    await revoked("expired", owner.id, f"UPDATE user_sessions SET expires_at = {now - 1}")
    await revoked("idle", owner.id, f"UPDATE user_sessions SET last_seen_at = {now - 5 * DAY}")
    await revoked("revoked", owner.id, "DELETE FROM user_sessions")
    # Harder than the service does it: the rows of the disabled user's session and token stay.
    async with database.write() as session:
        await (await session.connection()).exec_driver_sql(f"UPDATE users SET disabled_at = {now} WHERE id = {gone.id}")
    made.ended["disabled user's"], made.dead_tokens["disabled user's"] = gone.session, gone.token
    made.people.pop("gone")
    for kind, column in (("expired", "expires_at"), ("revoked", "revoked_at")):
        token = await accounts.tokens.create(COMMAND_LINE, kind, ["issues:read"], user_id=member.id)
        made.dead_tokens[kind] = token
        statement = f"UPDATE api_tokens SET {column} = {now - 1} WHERE id = (SELECT max(id) FROM api_tokens)"
        async with database.write() as session:
            await (await session.connection()).exec_driver_sql(statement)
    for scope in SCOPE_PERMISSIONS:
        made.narrow[scope] = await accounts.tokens.create(COMMAND_LINE, scope, [scope], user_id=owner.id)
    made.ids["user_id"] = owner.id
    async with database.write() as session:
        await (await session.connection()).exec_driver_sql(f"UPDATE projects SET name = '{MARKER} & Co' WHERE id = {a}")
    await _dead_letter(database, data_dir, a, now)
    accounts.close()
    await database.close()


async def _dead_letter(database: Database, data_dir: Path, project_id: int, now: int) -> None:
    record = SpooledRecord(
        protocol="sentry", route="envelope", project_id=project_id, received_at=now, body=f"{MARKER} body".encode()
    )
    dead = DeadRecord(
        index=0,
        record_id=f"{1:016x}-{1:08x}-{1:08x}",
        protocol="sentry",
        route="envelope",
        project_id=project_id,
        received_at=now,
        reason="malformed",
        detail=f"{MARKER} detail",
        payload=encode_record(record),
    )
    DeadLetterFiles(data_dir / "dead_letters").write([dead])
    async with database.write() as session:
        await add(session, [dead], now)


def _things(made: Site) -> None:
    """The ids that path parameters are filled with."""
    project_id, database_file = made.ids["project_id"], made.appliance.data_dir / "metadata.db"

    def one(query: str) -> Any:
        with sqlite3.connect(f"file:{database_file}?mode=ro", uri=True) as database:
            row = database.execute(query).fetchone()
        return row[0] if row else None

    finished = f"SELECT id FROM outbox WHERE project_id = {project_id} AND purpose = 'alert' AND state = 'failed'"
    made.appliance.wait_until(lambda: one(finished), "a message that nobody could deliver")
    # Everything that will be told of B is told, too: later differences are then a request's doing.
    made.appliance.wait_until(
        lambda: not one("SELECT id FROM outbox WHERE state IN ('waiting', 'sending') AND purpose <> 'digest'"),
        "the outbox to be done",
    )
    made.ids |= {
        "message_id": one(finished),
        "rule_id": one(f"SELECT id FROM alert_rules WHERE project_id = {project_id}"),
        "key_id": one(f"SELECT id FROM ingest_keys WHERE project_id = {project_id}"),
        "letter_id": one("SELECT id FROM dead_letters"),
        "session_id": one(f"SELECT min(id) FROM user_sessions WHERE user_id = {made.ids['user_id']}"),
        "token_id": one(f"SELECT min(id) FROM api_tokens WHERE user_id = {made.ids['user_id']}"),
    }
    assert all(value is not None for value in made.ids.values()), made.ids
