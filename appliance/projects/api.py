"""Projects in the JSON API: list, create, get."""

from __future__ import annotations

from typing import Annotated, Final

from litestar import get, post
from litestar.params import JSONBody, QueryParameter

from appliance.accounts.access import InvalidInputError, Permission, requires
from appliance.accounts.deps import Acting, Id
from appliance.accounts.forms import Handlers
from appliance.projects.deps import Projects
from appliance.projects.schemas import NewProject, ProjectBody, ProjectPage, ProjectView
from appliance.web.formats import iso

MAX_LIMIT: Final = 100
TAGS: Final = ["projects"]

Limit = Annotated[int, QueryParameter(ge=1, le=MAX_LIMIT, description="How many at most.")]
Cursor = Annotated[str | None, QueryParameter(max_length=20, description="`next` of the page before.")]


@get("/api/v1/projects", opt=requires(Permission.PROJECTS_READ), tags=TAGS, summary="List projects")
async def api_projects(actor: Acting, projects: Projects, limit: Limit = 50, cursor: Cursor = None) -> ProjectPage:
    """The projects that the token's user sees, by id."""
    if cursor is not None and not (cursor.isascii() and cursor.isdigit()):
        raise InvalidInputError({"cursor": "This cursor is none of ours: use `next` of the page before, as it is."})
    after = int(cursor or 0)
    found = sorted((view for view in await projects.list(actor) if view.id > after), key=lambda view: view.id)
    shown = found[:limit]
    return ProjectPage(
        items=[_body(view) for view in shown], next=str(shown[-1].id) if len(found) > len(shown) else None
    )


@post("/api/v1/projects", opt=requires(Permission.PROJECTS_MANAGE), tags=TAGS, summary="Create a project")
async def api_create_project(actor: Acting, projects: Projects, data: JSONBody[NewProject]) -> ProjectBody:
    """Create a project with one key and the usual alert rules."""
    return _body(await projects.create(actor, data.name, data.slug))


@get("/api/v1/projects/{project_id:int}", opt=requires(Permission.PROJECTS_READ), tags=TAGS, summary="Get a project")
async def api_project(actor: Acting, projects: Projects, project_id: Id) -> ProjectBody:
    """One project."""
    return _body(await projects.get(actor, project_id))


def _body(view: ProjectView) -> ProjectBody:
    key = next(iter(view.live_keys), None)
    return ProjectBody(
        id=view.id,
        slug=view.slug,
        name=view.name,
        key=key.key if key else "",
        dsn=key.dsn if key else "",
        condev_dsn=key.condev_dsn if key else "",
        allowed_origins=view.allowed_origins,
        event_count=view.event_count,
        created_at=iso(view.created_at),
        first_event_at=iso(view.first_event_at) if view.first_event_at is not None else None,
        last_event_at=iso(view.last_event_at) if view.last_event_at is not None else None,
    )


api_routes: Handlers = [api_projects, api_create_project, api_project]
