"""Every route of the route table and every path of the OpenAPI document, tried as everybody who may not.

Parameters are filled with what belongs to project A. A route with a parameter or a form that is not known here fails
the first tests: whoever adds one says here what is to be filled in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

import pytest
from litestar.routes import HTTPRoute

from appliance.accounts.access import ROLE_PERMISSIONS, SCOPE_PERMISSIONS, Permission, Role
from appliance.accounts.guards import declared, is_api
from appliance.accounts.tokens import new_api_token, new_csrf_token, new_secret
from appliance.app import create_app
from appliance.config import Config
from appliance.data_dir import prepare_data_dir
from appliance.roles import Role as ProcessRole

SAFE: Final = {"GET", "HEAD"}
# Parameters that lead to things of project A: who does not see it gets 404 (or 403) and nothing else.
OF_A: Final = {
    "issue_id", "event_id", "project_id", "slug", "rule_id", "message_id", "key_id", "letter_id", "visit_id",
    "trace_id", "replay_id",
}  # fmt: skip
# What a form must hold to have an effect. Keys of `Site.ids` in braces are filled in.
NEW_RULE: Final = {"name": "mine", "condition": "new_issue", "channel": "email", "recipients": "thief@example.com"}
FORMS: Final[dict[str, dict[str, str]]] = {
    "/sign-out": {},
    "/account": {"name": "x", "timezone": ""},
    "/account/password": {"current_password": "wrong", "new_password": "a new password", "repeated": "a new password"},
    "/account/two-factor": {"secret": "A" * 32, "code": "000000", "current_password": "wrong"},
    "/account/two-factor/remove": {"current_password": "wrong"},
    "/account/sessions/{session_id}/revoke": {},
    "/account/sessions/revoke-others": {},
    "/account/tokens": {"name": "mine", "scopes": "issues:read", "days": "30"},
    "/account/tokens/{token_id}/revoke": {},
    "/users": {"email": "accomplice@example.com", "role": "owner", "projects": "{project_id}"},
    "/users/{user_id}/role": {"role": "viewer"},
    "/users/{user_id}/projects": {"projects": "{project_id}"},
    "/users/{user_id}/disabled": {"disabled": "yes"},
    "/users/{user_id}/link": {},
    "/users/{user_id}/two-factor/remove": {},
    "/projects": {"name": "Mine", "slug": "mine"},
    "/projects/{slug}/settings": {"name": "Taken over", "allowed_origins": "*", "settings": "{{}}"},
    "/projects/{slug}/delete": {"confirm": "{slug}"},
    "/projects/{slug}/keys": {"label": "Mine"},
    "/projects/{slug}/keys/{key_id}": {"disabled": "yes"},
    "/projects/{slug}/members": {"user": "{own_id}", "member": "yes"},
    "/issues/actions": {"id": "{issue_id}", "action": "resolve", "back": "/issues?project={slug}"},
    "/issues/{issue_id}/state": {"action": "resolve"},
    "/issues/{issue_id}/merge": {"source": "#{other_issue}"},
    "/issues/{issue_id}/unmerge": {"hash": "0" * 16},
    "/alerts/messages/{message_id}/retry": {},
    "/alerts/messages/{message_id}/discard": {},
    "/alerts/channels/{channel}/test": {},
    "/alerts/rules": {"project": "{slug}", **NEW_RULE},
    "/alerts/rules/{rule_id}": NEW_RULE,
    "/alerts/rules/{rule_id}/enabled": {},
    "/alerts/rules/{rule_id}/delete": {},
    "/alerts/rules/{rule_id}/test": {},
    "/system/dead-letters": {"action": "discard", "which": "all"},
}
BODIES: Final[dict[str, Any]] = {
    "POST /api/v1/projects": {"name": "Mine"},
    "PATCH /api/v1/issues/{issue_id}": {"state": "resolved"},
    "POST /api/v1/issues/{issue_id}/merge": {"issue_ids": ["{other_issue}"]},
    "POST /api/v1/issues/{issue_id}/unmerge": {"hashes": ["0" * 16]},
    "POST /api/v1/system/dead-letters/retry": {},
    "POST /api/v1/system/dead-letters/discard": {},
}
# Lists that look into a project named by the query: asked with A's, too.
QUERIES: Final = {
    "/issues": ("project={slug}", "q=is:all", "q=project:{slug}"),
    "/issues/live": ("project={slug}",),
    "/issues/values/{name}": ("project={slug}",),
    "/alerts": ("project={slug}",),
    "/alerts/messages": ("project={slug}", "state=failed"),
    "/alerts/rules": ("project={slug}",),
    "/alerts/rules/new": ("project={slug}",),
    "/api/v1/alerts": ("project={project_id}", "issue={issue_id}"),
    "/api/v1/deliveries": ("project={project_id}",),
}


class Route:
    """A path with one method, and who may use it."""

    def __init__(self, path: str, method: str, permission: Permission | None) -> None:
        self.path, self.method, self.permission = path, method, permission
        self.parameters = set(re.findall(r"\{(\w+)", path))
        self.api = is_api(path)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    def fill(self, value: Any, known: dict[str, Any]) -> Any:
        if isinstance(value, dict):
            return {name: self.fill(one, known) for name, one in value.items()}
        if isinstance(value, list):
            return [self.fill(one, known) for one in value]
        if value == "{other_issue}":
            return known["other_issue"]
        return value.format(**known) if isinstance(value, str) else value

    def ask(self, site: Any, person: Any = None, *, query: str = "", **more: Any) -> Any:
        """As this person (a session on pages, a token on the API), or with what `more` says."""
        known = {**site.ids, "other_issue": site.other_issue, "own_id": person.id if person else 0}
        address = self.path.format(**known) + (f"?{query.format(**known)}" if query else "")
        if person is not None:
            more |= {"token": person.token} if self.api else {"session": person.session}
        if self.method not in SAFE and self.api:
            more.setdefault("body", self.fill(BODIES[str(self)], known))
        elif self.method not in SAFE:
            more.setdefault("form", self.fill(FORMS[self.path], known))
        return site.ask(self.method, address, **more)


@pytest.fixture(scope="module")
def routes(tmp_path_factory: pytest.TempPathFactory) -> list[Route]:
    """All of the dashboard and the API, from the route table of an appliance that is not opened."""
    data_dir = tmp_path_factory.mktemp("routes") / "data"
    prepare_data_dir(data_dir)
    app = create_app(Config(), data_dir, role=ProcessRole.CORE)
    assert app.core is not None
    assert app.web is not None
    app.core.accounts.close()

    def found() -> Iterator[Route]:
        for route in app.web.routes:
            if isinstance(route, HTTPRoute):
                for handler in route.route_handlers:
                    for method in handler.http_methods:
                        if str(getattr(method, "value", method)) != "OPTIONS":
                            yield Route(route.path_format, str(getattr(method, "value", method)), declared(handler, ""))

    return list(found())


@pytest.fixture(scope="module")
def private(routes: list[Route]) -> list[Route]:
    return [route for route in routes if route.permission is not None]


@pytest.fixture(autouse=True)
def nothing_changes(site: Any) -> Iterator[None]:
    """Whatever a test here tries, A, its people and the system stay as they were."""
    before = site.snapshot()
    yield
    after = site.snapshot()
    changed = {name: [row for row in after[name] if row not in rows] for name, rows in before.items()}
    gone = {name: [row for row in rows if row not in after[name]] for name, rows in before.items()}
    # People may make and end what is their own: those rows are told apart by whose they are.
    own = {site.people[name].id for name in ("elsewhere", "elsewhere-viewer", "newcomer", "viewer")}
    kept = {name: [row for row in rows if not _is_own(name, row, own)] for name, rows in changed.items()}
    lost = {name: [row for row in rows if not _is_own(name, row, own)] for name, rows in gone.items()}
    assert {name: rows for name, rows in kept.items() if rows} == {}
    assert {name: rows for name, rows in lost.items() if rows} == {}


def _is_own(table: str, row: tuple[Any, ...], own: set[int]) -> bool:
    return table in ("sessions", "tokens") and row[1] in own


# ── the tables above are whole ──


def test_every_route_can_be_tried(site: Any, routes: list[Route]) -> None:
    unknown = [str(route) for route in routes if route.parameters - site.ids.keys()]
    assert unknown == [], "say in conftest.py which thing of project A these parameters lead to"
    unfilled = [
        str(route)
        for route in routes
        if route.method not in SAFE
        and route.permission is not None
        and (str(route) not in BODIES if route.api else route.path not in FORMS)
    ]
    assert unfilled == [], "say above what a form or body holds that would have an effect"
    assert set(FORMS) <= {route.path for route in routes}
    assert set(BODIES) <= {str(route) for route in routes}
    assert set(QUERIES) <= {route.path for route in routes}


def test_the_openapi_document_and_the_route_table_name_the_same_api(site: Any, routes: list[Route]) -> None:
    document = json.loads(site.ask("GET", "/api/v1/schema").text)
    described = {f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods}
    assert described == {str(route) for route in routes if route.api}


# ── nobody ──


def test_strangers_forgers_and_ended_sessions_get_nothing_from_any_page(site: Any, private: list[Route]) -> None:
    owner = site.people["owner"].session
    headers = {
        "stranger": {},
        "forged": {"cookie": f"condev_session={new_secret()}"},
        "cut": {"cookie": f"condev_session={owner[:-1]}"},
        "other case": {"cookie": f"condev_session={owner.swapcase()}"},
        "other cookie": {"cookie": f"condev_visitor={owner}; condev_challenge={owner}; session={owner}"},
        "as bearer": {"authorization": f"Bearer {owner}"},
        "token": {"authorization": f"Bearer {site.people['owner'].token}"},
        "token as cookie": {"cookie": f"condev_session={site.people['owner'].token}"},
        **{kind: {"cookie": f"condev_session={session}"} for kind, session in site.ended.items()},
    }
    assert {"expired", "idle", "revoked", "disabled user's"} <= headers.keys()
    wrong: list[str] = []
    for route in (route for route in private if not route.api):
        for kind, sent in headers.items():
            answer = route.ask(site, **sent)
            away = answer.status == 303 and answer.headers["location"].startswith("/sign-in")
            if not away or answer.tells:
                wrong.append(f"{kind}: {route} → {answer.status}")
    assert wrong == []


def test_no_api_path_takes_anything_but_a_living_token(site: Any, private: list[Route]) -> None:
    owner = site.people["owner"]
    headers = {
        "stranger": {},
        "forged": {"authorization": f"Bearer {new_api_token()}"},
        "cut": {"authorization": f"Bearer {owner.token[:-1]}"},
        "basic": {"authorization": f"Basic {owner.token}"},
        "session as token": {"authorization": f"Bearer {owner.session}"},
        "cookie": {"cookie": f"condev_session={owner.session}", "x_csrftoken": new_csrf_token(owner.session)},
        "token as cookie": {"cookie": f"condev_session={owner.token}"},
        **{kind: {"authorization": f"Bearer {token}"} for kind, token in site.dead_tokens.items()},
    }
    assert {"expired", "revoked", "disabled user's"} <= headers.keys()
    wrong: list[str] = []
    for route in (route for route in private if route.api):
        for kind, sent in headers.items():
            answer = route.ask(site, **sent)
            if answer.status != 401 or answer.tells or answer.headers.get("www-authenticate") != "Bearer":
                wrong.append(f"{kind}: {route} → {answer.status}")
        answer = route.ask(site, query=f"token={owner.token}&access_token={owner.token}")
        if answer.status != 401:
            wrong.append(f"token in the address: {route} → {answer.status}")
    assert wrong == []


# ── somebody else ──


@pytest.mark.parametrize("name", ["elsewhere", "elsewhere-viewer", "newcomer"])
def test_who_is_no_member_gets_nothing_of_a_project(site: Any, private: list[Route], name: str) -> None:
    wrong: list[str] = []
    tried = 0
    for route in private:
        if route.path == "/sign-out":
            continue  # their session is needed still
        for query in ("", *QUERIES.get(route.path, ())):
            answer = route.ask(site, site.people[name], query=query)
            tried += 1
            refused = answer.status in (403, 404)
            mine = route.parameters & OF_A or query.startswith("project=")
            if answer.tells or answer.status >= 500 or answer.status == 401 or (mine and not refused):
                wrong.append(f"{route} ?{query} → {answer.status}{' tells' if answer.tells else ''}")
    assert wrong == []
    assert tried > 90


def test_a_viewer_changes_nothing(site: Any, private: list[Route]) -> None:
    got: list[str] = []
    tried = 0
    for route in private:
        if route.method in SAFE or route.permission is Permission.ACCOUNT:
            continue
        answer = route.ask(site, site.people["viewer"])
        tried += 1
        if answer.status != 403:
            got.append(f"{route} → {answer.status}")
    assert got == []
    assert tried > 25


def test_what_a_role_lacks_is_refused_on_every_route(site: Any, private: list[Route]) -> None:
    wrong: list[str] = []
    for name, role in (("member", Role.MEMBER), ("viewer", Role.VIEWER), ("admin", Role.ADMIN)):
        for route in private:
            if route.permission in ROLE_PERMISSIONS[role]:
                continue
            answer = route.ask(site, site.people[name])
            if answer.status != 403 or answer.tells:
                wrong.append(f"{name}: {route} → {answer.status}")
    assert wrong == []


def test_an_admin_does_nothing_to_an_owner(site: Any, private: list[Route]) -> None:
    got: list[str] = []
    for route in private:
        if route.method in SAFE or route.permission is not Permission.USERS_MANAGE or "user_id" not in route.parameters:
            continue
        answer = route.ask(site, site.people["admin"])
        if answer.status != 403:
            got.append(f"{route} → {answer.status}")
    answer = site.ask(
        "POST", "/users", session=site.people["admin"].session, form={"email": "new@example.com", "role": "owner"}
    )
    assert answer.status == 403
    assert got == []


@pytest.mark.parametrize("scope", list(SCOPE_PERMISSIONS))
def test_a_token_does_what_its_scope_says_and_nothing_else(site: Any, private: list[Route], scope: str) -> None:
    wrong: list[str] = []
    for route in (route for route in private if route.api):
        allowed = route.permission in SCOPE_PERMISSIONS[scope]
        if allowed and route.method not in SAFE:
            continue  # it would do it
        answer = route.ask(site, token=site.narrow[scope])
        if answer.status != (200 if allowed else 403) or (answer.tells and not allowed):
            wrong.append(f"{route} → {answer.status}")
    assert wrong == []


# ── these tests would see something if there were something to see ──


@pytest.mark.parametrize("name", ["member", "viewer"])
def test_members_do_see_what_the_others_were_refused(site: Any, private: list[Route], name: str) -> None:
    role = Role.VIEWER if name == "viewer" else Role.MEMBER
    blind: list[str] = []
    told = 0
    for route in private:
        if route.method not in SAFE or route.permission not in ROLE_PERMISSIONS[role]:
            continue
        query = QUERIES.get(route.path, ("",))[0]
        answer = route.ask(site, site.people[name], query=query)
        if answer.status not in (200, 302, 303):
            blind.append(f"{route} → {answer.status}")
        told += answer.tells
    assert blind == []
    assert told > 25


def test_owners_do_see_the_dead_letter(site: Any) -> None:
    answer = site.ask("GET", f"/system/dead-letters/{site.ids['letter_id']}", session=site.people["owner"].session)
    assert answer.status == 200
    assert answer.tells


def test_an_event_of_the_same_id_in_another_project_leads_nobody_across(site: Any) -> None:
    person = site.people["elsewhere"]
    # B's own issue with A's event id, and A's issue with B's event id.
    paths = (
        f"/issues/{site.issue_b}/events/{site.ids['event_id']}",
        f"/issues/{site.issue_b}/events/{site.ids['event_id']}/json?download=1",
        f"/issues/{site.ids['issue_id']}/events/{site.event_b}",
    )
    for path in paths:
        answer = site.ask("GET", path, session=person.session)
        assert answer.status == 404
        assert not answer.tells
    answer = site.ask("GET", f"/api/v1/events/{site.event_b}", token=person.token)
    assert answer.status == 200
    assert not answer.tells
