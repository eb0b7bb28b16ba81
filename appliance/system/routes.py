"""Pages and API of the appliance itself: /system, its dead letters, /api/v1/system, /metrics, /healthz, /readyz."""

from __future__ import annotations

import ipaddress
from typing import Any, Final
from urllib.parse import urlsplit

from litestar import Request, Response, Router, get, post
from litestar.datastructures import State
from litestar.response import Template
from msgspec import Struct
from sqlalchemy.exc import SQLAlchemyError

from appliance.accounts.access import PUBLIC, Permission, requires
from appliance.accounts.forms import MAX_FORM, form_list, form_values, numbers
from appliance.system import metrics
from appliance.system.answers import (
    Changed,
    DeadLetterDetail,
    DeadLetterPage,
    SystemAnswer,
    letter_detail,
    letters_page,
)
from appliance.system.deps import Accounts, Acting, Chosen, Cursor, LetterId, Limit, System
from appliance.web.pages import is_htmx, page, redirect

AnyRequest = Request[Any, Any, State]
READ: Final = requires(Permission.SYSTEM_READ)
WRITE: Final = requires(Permission.SYSTEM_WRITE)
TAGS: Final = ["system"]
_FORWARDED: Final = ("x-forwarded-", "forwarded", "x-real-ip", "x-client-ip", "true-client-ip", "cf-", "via")


class Ready(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`/readyz`."""

    ok: bool
    problems: tuple[str, ...] = ()  # why it is not, by name
    conditions: tuple[str, ...] = ()  # what is raised: see docs/operations.md


# ── pages ──


@get("/system", opt=READ, include_in_schema=False)
async def system_page(request: AnyRequest, actor: Acting, system: System) -> Template:
    """How it is; the figures ask for themselves again every few seconds."""
    part = request.query_params.get("part", "")
    return page(
        request,
        "system/overview.html",
        fragment="figures" if part == "figures" else "main",
        state=await system.state(actor),
    )


@get("/system/dead-letters", opt=WRITE, include_in_schema=False)
async def dead_letters_page(request: AnyRequest, actor: Acting, system: System) -> Template:
    """What could not be processed, newest first."""
    query = request.query_params
    rows = is_htmx(request) and query.get("part") == "rows"
    found = await system.dead_letters.list(actor, cursor=query.get("cursor", "")[:20])
    count, size = await system.dead_letters.kept()
    return page(
        request,
        "system/letter_rows.html" if rows else "system/letters.html",
        letters=found,
        count=count,
        size=size,
        said=_said(query.get("done", ""), query.get("changed", "")),
        oob=rows,
    )


@get("/system/dead-letters/{letter_id:int}", opt=WRITE, include_in_schema=False)
async def dead_letter_page(request: AnyRequest, actor: Acting, system: System, letter_id: LetterId) -> Template:
    """One, with what was received."""
    return page(request, "system/letter.html", letter=await system.dead_letters.content(actor, letter_id))


@post("/system/dead-letters", opt=WRITE, include_in_schema=False, status_code=200)
async def dead_letters_action(request: AnyRequest, actor: Acting, system: System) -> Response[Any]:
    """Try the selected ones, or all, again, or give them up."""
    form = await form_values(request)
    action = form.get("action", "")
    ids = None if form.get("which") == "all" else numbers(await form_list(request, "id"))
    if action == "retry":
        changed = await system.dead_letters.retry(actor, ids)
    elif action == "discard":
        changed = await system.dead_letters.discard(actor, ids)
    else:
        changed, action = 0, ""
    return redirect(request, f"/system/dead-letters?done={action}&changed={changed}")


def _said(done: str, changed: str) -> str:
    count = int(changed) if changed.isascii() and changed.isdigit() and len(changed) < 9 else 0
    words = {"retry": "tried again now; what fails comes back", "discard": "discarded and counted as dropped"}
    if done not in words:
        return ""
    if not count:
        return "Nothing was selected, or it was dealt with already."
    return f"{count:,} {'record is' if count == 1 else 'records are'} {words[done]}."


# ── API ──


@get("/api/v1/system", opt=READ, tags=TAGS, summary="How the appliance is")
async def api_system(actor: Acting, system: System) -> SystemAnswer:
    """Spool, pipeline, store, memory, drops, plugins, jobs and deliveries."""
    return await system.answer(actor)


@get("/api/v1/system/dead-letters", opt=WRITE, tags=TAGS, summary="List dead letters")
async def api_dead_letters(actor: Acting, system: System, limit: Limit = 50, cursor: Cursor = "") -> DeadLetterPage:
    """Records that could not be processed, newest first."""
    return letters_page(await system.dead_letters.list(actor, limit=limit, cursor=cursor))


@get("/api/v1/system/dead-letters/{letter_id:int}", opt=WRITE, tags=TAGS, summary="Get a dead letter")
async def api_dead_letter(actor: Acting, system: System, letter_id: LetterId) -> DeadLetterDetail:
    """One record with what was received, before any scrubbing."""
    return letter_detail(await system.dead_letters.content(actor, letter_id))


@post("/api/v1/system/dead-letters/retry", opt=WRITE, tags=TAGS, summary="Retry dead letters", status_code=200)
async def api_retry(actor: Acting, system: System, data: Chosen) -> Changed:
    """Have them processed again."""
    return Changed(changed=await system.dead_letters.retry(actor, data.ids))


@post("/api/v1/system/dead-letters/discard", opt=WRITE, tags=TAGS, summary="Discard dead letters", status_code=200)
async def api_discard(actor: Acting, system: System, data: Chosen) -> Changed:
    """Give them up; they are counted as dropped."""
    return Changed(changed=await system.dead_letters.discard(actor, data.ids))


# ── for machines beside us ──


@get("/metrics", opt=PUBLIC, include_in_schema=False)
async def metrics_text(request: AnyRequest, accounts: Accounts, system: System) -> Response[bytes]:
    """Prometheus: from this machine, or with a token that has the scope system:read."""
    if not _is_local(request):
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        actor = await accounts.tokens.actor(token.strip()) if scheme.lower() == "bearer" else None
        if actor is None or not actor.may(Permission.SYSTEM_READ):
            words = b"Send an API token with the scope system:read as `Authorization: Bearer ...`.\n"
            status, headers = (401, {"WWW-Authenticate": "Bearer"}) if actor is None else (403, {})
            return Response(words, status_code=status, headers=headers, media_type="text/plain")
    state, dropped = await system.metrics_state()
    return Response(metrics.render(state, dropped), headers={"content-type": metrics.CONTENT_TYPE})


@get("/healthz", opt=PUBLIC, include_in_schema=False)
async def healthz() -> dict[str, bool]:
    """This process answers. Where ingest runs beside, it answers this itself."""
    return {"ok": True}


@get("/readyz", opt=PUBLIC, include_in_schema=False)
async def readyz(system: System) -> Response[Ready]:
    """This process can serve pages. Strangers ask this: conditions by their names, nothing of their words."""
    try:
        return Response(Ready(ok=True, conditions=tuple(await system.ready())))  # they stand in the metadata
    except (SQLAlchemyError, OSError):  # a TimeoutError is an OSError
        return Response(Ready(ok=False, problems=("metadata",)), status_code=503)


def _is_local(request: AnyRequest) -> bool:
    """Asked from this machine itself, by its own name.

    A proxy on it, which speaks for others, says so in a header, or hands on the name that they asked for. A page in a
    browser on it, whose name was pointed at this machine, says that name, too.
    """
    if request.client is None or any(name.startswith(_FORWARDED) for name in request.headers):
        return False
    host = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    return _is_loopback(request.client.host) and (host == "localhost" or _is_loopback(host))


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


routes: Final = [
    Router(
        "/",
        route_handlers=[system_page, dead_letters_page, dead_letter_page, dead_letters_action],
        request_max_body_size=MAX_FORM,
        include_in_schema=False,
    ),
    Router(
        "/",
        route_handlers=[api_system, api_dead_letters, api_dead_letter, api_retry, api_discard],
        request_max_body_size=MAX_FORM,
    ),
    Router("/", route_handlers=[metrics_text, healthz, readyz]),
]
