"""Pages of projects: list, new, connect (snippets and the first event), settings, keys, members."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import msgspec
from litestar import get, post
from litestar.response import Response, Template

from appliance.accounts.access import AccessError, InvalidInputError, Permission, requires
from appliance.accounts.deps import Accounts, Acting, Configured, Id, PathText
from appliance.accounts.forms import AnyRequest, Handlers, errors_of, form_values, numbers, refused
from appliance.projects import sdk_settings
from appliance.projects.addresses import Addresses, Snippet, sdk_script, snippets
from appliance.projects.deps import Projects
from appliance.projects.schemas import ProjectChange, ProjectView
from appliance.web.pages import page, redirect
from appliance.web.sdk_files import find_build

READ: Final = requires(Permission.PROJECTS_READ)
WRITE: Final = requires(Permission.PROJECTS_WRITE)
MANAGE: Final = requires(Permission.PROJECTS_MANAGE)
MEMBERS: Final = requires(Permission.USERS_MANAGE)
_DONE: Final = {
    "saved": "Saved. It is in force.",
    "deleted": "The project is deleted.",
    "key": "The key is made. It works from now on.",
    "disabled": "The key is disabled: what comes with it is refused.",
    "enabled": "The key works again.",
    "added": "They see this project now.",
    "removed": "They no longer see this project.",
}


@get("/projects", opt=READ)
async def project_list(request: AnyRequest, actor: Acting, projects: Projects) -> Template:
    """Those one sees."""
    return page(request, "projects/list.html", projects=await projects.list(actor), done=_done(request))


@get("/projects/new", opt=MANAGE)
async def new_project(request: AnyRequest) -> Template:
    """The form."""
    return page(request, "projects/new.html", errors=errors_of(None), name="", slug="")


@post("/projects", opt=MANAGE)
async def create_project(request: AnyRequest, actor: Acting, projects: Projects) -> Response[Any] | Template:
    """Create it, and on to what to paste."""
    form = await form_values(request)
    name, slug = form.get("name", ""), form.get("slug", "")
    try:
        project = await projects.create(actor, name, slug)
    except InvalidInputError as error:
        return refused(request, "projects/new.html", error, name=name, slug=slug)
    return redirect(request, f"/projects/{project.slug}/connect")


@get("/projects/{slug:str}", opt=READ)
async def project_page(request: AnyRequest, actor: Acting, projects: Projects, slug: PathText) -> Response[Any]:
    """Where to go for a project without saying for what: what to paste until something came, then the settings."""
    project = await projects.by_slug(actor, slug)
    return redirect(request, f"/projects/{slug}/{'settings' if project.first_event_at else 'connect'}")


@get("/projects/{slug:str}/connect", opt=READ)
async def connect(
    request: AnyRequest, actor: Acting, projects: Projects, config: Configured, slug: PathText
) -> Template:
    """What to paste, and whether the first event has come."""
    project = await projects.by_slug(actor, slug)
    key = next(iter(project.live_keys), None)
    shown: tuple[Snippet, ...] = ()
    if key:
        build = await asyncio.to_thread(find_build)
        script = sdk_script(key.sdk_dsn, config.sdk, build)
        shown = snippets(Addresses(dsn=key.dsn, condev_dsn=key.condev_dsn, sdk_dsn=key.sdk_dsn), script)
    return page(request, "projects/connect.html", project=project, key=key, snippets=shown)


@get("/projects/{slug:str}/waiting", opt=READ)
async def waiting(request: AnyRequest, actor: Acting, projects: Projects, slug: PathText) -> Template:
    """The line that says whether the first event has come; asked every two seconds until it has."""
    return page(request, "projects/waiting.html", project=await projects.by_slug(actor, slug))


@get("/projects/{slug:str}/settings", opt=READ)
async def settings_page(request: AnyRequest, actor: Acting, projects: Projects, slug: PathText) -> Template:
    """The settings; readable for who may not change them."""
    project = await projects.by_slug(actor, slug)
    return _settings(request, project, _as_typed(project))


@post("/projects/{slug:str}/settings", opt=WRITE)
async def save_settings(
    request: AnyRequest, actor: Acting, projects: Projects, slug: PathText
) -> Response[Any] | Template:
    """Save them."""
    project, form = await projects.by_slug(actor, slug), await form_values(request)
    change = ProjectChange(
        name=form.get("name", ""),
        allowed_origins=form.get("allowed_origins", ""),
        replay_enabled="replay_enabled" in form,
        requests_per_second=form.get("requests_per_second", ""),
        settings=form.get("settings", ""),
        sample_rates={kind: form.get(f"rate_{kind}", "") for kind, _, _ in sdk_settings.KINDS},
        ignore_errors=form.get("ignore_errors", ""),
    )
    try:
        await projects.change(actor, project.id, change)
    except InvalidInputError as error:
        return _settings(request, project, change, error)
    return redirect(request, f"/projects/{slug}/settings?done=saved")


@post("/projects/{slug:str}/delete", opt=MANAGE)
async def delete_project(
    request: AnyRequest, actor: Acting, projects: Projects, slug: PathText
) -> Response[Any] | Template:
    """Delete it, when its short name was typed out."""
    project = await projects.by_slug(actor, slug)
    try:
        await projects.delete(actor, project.id, (await form_values(request)).get("confirm", ""))
    except InvalidInputError as error:
        return _settings(request, project, _as_typed(project), error)
    return redirect(request, "/projects?done=deleted")


@get("/projects/{slug:str}/keys", opt=READ)
async def keys_page(request: AnyRequest, actor: Acting, projects: Projects, slug: PathText) -> Template:
    """Its keys and DSNs."""
    return _keys(request, await projects.by_slug(actor, slug))


@post("/projects/{slug:str}/keys", opt=WRITE)
async def add_key(request: AnyRequest, actor: Acting, projects: Projects, slug: PathText) -> Response[Any] | Template:
    """One more."""
    project = await projects.by_slug(actor, slug)
    label = (await form_values(request)).get("label", "")
    try:
        await projects.add_key(actor, project.id, label)
    except InvalidInputError as error:
        return _keys(request, project, label, error)
    return redirect(request, f"/projects/{slug}/keys?done=key")


@post("/projects/{slug:str}/keys/{key_id:int}", opt=WRITE)
async def set_key(request: AnyRequest, actor: Acting, projects: Projects, slug: PathText, key_id: Id) -> Response[Any]:
    """Disable or enable one."""
    project = await projects.by_slug(actor, slug)
    disabled = (await form_values(request)).get("disabled", "") == "yes"
    await projects.set_key_disabled(actor, project.id, key_id, disabled)
    return redirect(request, f"/projects/{slug}/keys?done={'disabled' if disabled else 'enabled'}")


@get("/projects/{slug:str}/members", opt=MEMBERS)
async def members_page(
    request: AnyRequest, actor: Acting, projects: Projects, accounts: Accounts, slug: PathText
) -> Template:
    """Who sees it."""
    project = await projects.by_slug(actor, slug)
    users = [user for user in await accounts.users.list(actor) if not user.disabled]
    inside = [user for user in users if user.role in ("owner", "admin") or project.id in user.projects]
    outside = [(user.id, user.name or user.email) for user in users if user not in inside]
    return page(request, "projects/members.html", project=project, inside=inside, outside=outside, done=_done(request))


@post("/projects/{slug:str}/members", opt=MEMBERS)
async def set_member(
    request: AnyRequest, actor: Acting, projects: Projects, accounts: Accounts, slug: PathText
) -> Response[Any]:
    """Let somebody see it, or no longer."""
    project, form = await projects.by_slug(actor, slug), await form_values(request)
    member = form.get("member", "") == "yes"
    user_ids = numbers([form.get("user", "")])
    if not user_ids:
        raise InvalidInputError({"user": "Choose somebody from the list."})
    await accounts.users.set_member(actor, project.id, user_ids[0], member)
    return redirect(request, f"/projects/{slug}/members?done={'added' if member else 'removed'}")


def _settings(
    request: AnyRequest, project: ProjectView, change: ProjectChange, error: AccessError | None = None
) -> Template:
    return page(
        request,
        "projects/settings.html",
        status=error.status if error else 200,
        errors=errors_of(error),
        project=project,
        change=change,
        kinds=sdk_settings.KINDS,
        done=_done(request),
    )


def _keys(request: AnyRequest, project: ProjectView, label: str = "", error: AccessError | None = None) -> Template:
    return page(
        request,
        "projects/keys.html",
        status=error.status if error else 200,
        errors=errors_of(error),
        project=project,
        label=label,
        done=_done(request),
    )


def _as_typed(project: ProjectView) -> ProjectChange:
    rate = project.requests_per_second
    further = msgspec.json.encode(sdk_settings.others(project.settings))
    rates, ignored = sdk_settings.as_typed(project.settings)
    return ProjectChange(
        name=project.name,
        allowed_origins="\n".join(project.allowed_origins),
        replay_enabled=project.replay_enabled,
        requests_per_second="" if rate is None else f"{rate:g}",
        settings=msgspec.json.format(further, indent=2).decode(),
        sample_rates=rates,
        ignore_errors=ignored,
    )


def _done(request: AnyRequest) -> str:
    return _DONE.get(request.query_params.get("done", ""), "")


page_routes: Handlers = [
    project_list,
    new_project,
    create_project,
    project_page,
    connect,
    waiting,
    settings_page,
    save_settings,
    delete_project,
    keys_page,
    add_key,
    set_key,
    members_page,
    set_member,
]
