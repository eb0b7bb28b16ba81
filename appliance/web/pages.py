"""What a route calls to answer with a page: `page(request, "issues/list.html", issues=…)`.

It adds what every page needs (who acts, the CSRF token, the navigation) and answers htmx with the changed part alone.
No business logic; the nouns' services know nothing of it.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol, cast
from urllib.parse import quote, unquote

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.enums import MediaType
from litestar.exceptions import NotFoundException
from litestar.response import Redirect, Response, Template
from litestar.utils.scope.state import ScopeState
from msgspec import Struct, field

from appliance.web import headers
from appliance.web.assets import PREFETCH
from appliance.web.templating import PageEngine

AnyRequest = Request[Any, Any, State]
Connection = ASGIConnection[Any, Any, Any, State]

# Sections whose pages live under another first segment than their own name.
_NAV: Final[Mapping[str, str]] = {"": "issues"}
# What the navigation shows below a project, beside its issues: the segment after its slug → the words.
PROJECT_SECTIONS: Final[Mapping[str, str]] = {
    "performance": "Performance",
    "sessions": "Sessions",
    "replays": "Replays",
    "traces": "Traces",
    "outcomes": "Not kept",
}
_URL_SIGNS: Final = "/?#[]@!$&'()*+,;=:%-._~"  # what means something in an address, "%" of what is quoted already too


class Viewer(Protocol):
    """What the shell asks of the acting user; `accounts.access.Actor` is one."""

    @property
    def email(self) -> str: ...
    @property
    def name(self) -> str: ...
    def may(self, permission: Any, /) -> bool: ...


class ShellProject(Struct, frozen=True, kw_only=True):
    """A project in the navigation."""

    id: int
    slug: str
    name: str
    open_issues: int = 0

    @property
    def sections(self) -> tuple[ShellSection, ...]:
        """The project's pages, in the order of the navigation."""
        slug = quote(self.slug, safe="")
        issues = ShellSection(key="issues", text="Issues", href=f"/issues?project={slug}")
        rest = (
            ShellSection(key=key, text=text, href=f"/projects/{slug}/{key}") for key, text in PROJECT_SECTIONS.items()
        )
        return (issues, *rest)


class ShellSection(Struct, frozen=True, kw_only=True):
    """One of a project's pages; `key` is the last segment of its path."""

    key: str
    text: str
    href: str


class ShellLink(Struct, frozen=True, kw_only=True):
    """One more entry of the navigation; `nav` is the first segment of its path."""

    text: str
    href: str
    nav: str
    keys: str = ""


class Shell(Struct, frozen=True, kw_only=True):
    """What the navigation around every page shows. Loaded once a request by a `ShellSource`."""

    site_name: str = "Condev Monitor"
    projects: list[ShellProject] = field(default_factory=list[ShellProject])
    open_issues: int = 0
    health: str = ""  # a word beside "System": healthy, 2 problems
    health_tone: str = ""  # good, warn, bad
    links: list[ShellLink] = field(default_factory=list[ShellLink])
    loaded: bool = True  # False: the request was refused before anybody asked which projects there are


# Given the connection (with its actor), what its navigation shows; wired in app.py.
ShellSource = Callable[[Connection], Awaitable[Shell]]


def page(
    request: AnyRequest,
    template: str,
    *,
    fragment: str = "main",
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    **context: Any,
) -> Template:
    """Render a page, or for an htmx request one block of it.

    Args:
        request: the request; its actor, CSRF token and navigation go into the context.
        template: path below templates/, which extends `layout` (`{% extends layout %}`) or "plain.html".
        fragment: the block that htmx gets.
        status: HTTP status.
        headers: more response headers.
        context: what the template shows.
    """
    shown = {**base_context(request), **context}
    if is_htmx(request):
        shown["layout"] = cast("PageEngine", request.app.template_engine).block(fragment)
    sent = {"Cache-Control": "no-store", "Vary": "HX-Request", **(headers or {})}
    if shown["actor"] is not None and not is_htmx(request):
        rules = cast("PageEngine", request.app.template_engine).asset(PREFETCH)
        sent["Speculation-Rules"] = f'"{rules}"'
    return Template(template, context=shown, status_code=status, headers=sent, media_type=MediaType.HTML)


def redirect(request: AnyRequest, path: str) -> Response[Any]:
    """After a form: go on to a page of ours, with htmx as well as without."""
    if not path.startswith("/") or path.startswith(("//", "/\\")):
        raise ValueError(f"a redirect of ours stays on this host, not {path!r}")
    path = quote(path, safe=_URL_SIGNS)  # what came back with a form may hold line ends, and a header takes Latin-1
    if is_htmx(request):
        return Response(b"", status_code=204, headers={"HX-Redirect": path})
    return Redirect(path, status_code=303)


def toast(text: str, tone: str = "good", undo: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Headers that make the page's script show a sentence for some seconds, announced politely.

    Args:
        text: what happened.
        tone: good or bad.
        undo: fields that the page's form for many (`#bulk`) posts to take it back, for a button beside the sentence.
    """
    return {
        "HX-Trigger": json.dumps({"toast": {"text": text, "tone": tone} | ({"undo": dict(undo)} if undo else {})})
    }  # ASCII: it is a header


def is_htmx(request: AnyRequest) -> bool:
    """Whether htmx wants a part of the page. A boosted link or a restored history entry wants the whole."""
    headers = request.headers
    return headers.get("HX-Request") == "true" and not (
        headers.get("HX-Boosted") == "true" or headers.get("HX-History-Restore-Request") == "true"
    )


def base_context(request: AnyRequest) -> dict[str, Any]:
    """What every template gets: layout, actor, shell, nav, project_slug, csrf_token, path, request_id."""
    actor = cast("Mapping[str, Any]", request.scope).get("user")
    nav, slug = _place(request)
    return {
        "layout": "layout.html" if actor is not None else "plain.html",
        "actor": actor,
        "shell": getattr(request.state, "shell", None) or Shell(loaded=False),
        "nav": nav,
        "project_slug": slug,
        "csrf_token": csrf_token(request),
        "path": request.url.path,
        "request_id": request_id(request),
    }


def _place(request: AnyRequest) -> tuple[str, str]:
    """Which entry of the navigation a page belongs to, and of which project."""
    first, *rest = request.url.path.strip("/").split("/")
    if first == "projects" and len(rest) >= 2:
        return (rest[1] if rest[1] in PROJECT_SECTIONS else first), unquote(rest[0])
    return _NAV.get(first, first), request.query_params.get("project", "") if first == "issues" else ""


def project_of(request: AnyRequest, slug: str) -> ShellProject:
    """A project that the acting user sees, by the name in an address.

    Raises:
        NotFoundException: there is none, or it is not theirs.
    """
    shell = cast("Shell", request.state.shell)
    project = next((project for project in shell.projects if project.slug == slug), None)
    if project is None:
        raise NotFoundException(f"There is no project {slug}, or you are not a member of it.")
    return project


def csrf_token(connection: Connection) -> str:
    """The token that forms of this page must send back as `_csrf_token`, or htmx as X-CSRFToken."""
    token = ScopeState.from_scope(connection.scope).csrf_token
    return token if isinstance(token, str) else ""


def request_id(connection: Connection) -> str:
    """The id under which the log has this request."""
    return headers.request_id(connection.scope)
