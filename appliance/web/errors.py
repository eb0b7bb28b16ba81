"""What a failed request gets: a page with words and the request id, or for the API a problem document (RFC 9457).

Refusals of the nouns carry a `status` attribute and a text for the reader; `handle_refusal` words them without
knowing their classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final, cast
from urllib.parse import quote

import structlog
from litestar import Request
from litestar.datastructures import State
from litestar.enums import MediaType
from litestar.exceptions import HTTPException, ValidationException
from litestar.response import Redirect, Response, Template

from appliance.web.pages import base_context, is_htmx, request_id

AnyRequest = Request[Any, Any, State]

# Title and what to do, by status; what the error itself says comes between.
WORDS: Final[Mapping[int, tuple[str, str]]] = {
    400: ("That could not be understood", "Go back, check what was typed, and try again."),
    401: ("Please sign in", ""),
    403: ("This is not open to you", ""),
    404: ("There is nothing here", "It may have been deleted, or the address is mistyped."),
    405: ("That cannot be done here", "Use the buttons of the page, not its address."),
    408: ("That took too long to arrive", "Try again, on a better line."),
    409: ("Somebody was faster", "Load the page again to see how things stand."),
    413: ("That is too large", ""),
    422: ("That could not be taken", ""),
    429: ("Too many tries", "Wait a little, then try again."),
    500: ("Something broke on our side", "It is in the log under this request id. Trying again may help."),
    503: ("Not ready right now", "The appliance is starting or its store is busy. Try again in a moment."),
}
ROUTERS_WORDS: Final = frozenset({HTTPStatus.NOT_FOUND.phrase, HTTPStatus.METHOD_NOT_ALLOWED.phrase})
_log: Final = structlog.stdlib.get_logger(__name__)


class Problem(dict[str, Any]):
    """The JSON shape of an error, as `application/problem+json`."""


def error_response(
    request: AnyRequest,
    status: int,
    detail: str = "",
    *,
    headers: Mapping[str, str] | None = None,
    errors: object = None,
) -> Response[Any]:
    """Answer with an error, in the form that the asker reads.

    Args:
        request: the request that failed.
        status: HTTP status.
        detail: one sentence for the reader; nothing internal.
        headers: more headers, such as Retry-After or Allow.
        errors: for the API, what is wrong with which field, as JSON.
    """
    title, hint = WORDS.get(status, WORDS[500] if status >= 500 else WORDS[400])
    if request.url.path.startswith("/api/"):
        problem = Problem(
            type="about:blank", title=title, status=status, detail=detail or hint, request_id=request_id(request)
        )
        if errors:
            problem["errors"] = errors
        return Response(problem, status_code=status, media_type="application/problem+json", headers=dict(headers or {}))
    context = {**base_context(request), "status": status, "title": title, "detail": detail, "hint": hint}
    template = "errors/fragment.html" if is_htmx(request) else "errors/page.html"
    sent = {"Cache-Control": "no-store", **(headers or {})}
    if is_htmx(request):  # the old content stays; the words appear as a toast
        sent |= {"HX-Retarget": "#toast", "HX-Reswap": "beforeend"}
    return Template(template, context=context, status_code=status, headers=sent, media_type=MediaType.HTML)


def handle_http(request: AnyRequest, error: HTTPException) -> Response[Any]:
    """Litestar's own errors: unknown routes, wrong methods, invalid parameters, CSRF."""
    status = error.status_code
    if status >= 500:
        return handle_anything(request, error)
    # Texts are written for people, save for the router's own: a mere "Not Found" says nothing.
    detail = "" if error.detail in ROUTERS_WORDS else error.detail
    extra = cast("object", error.extra) if isinstance(error, ValidationException) else None
    errors = cast("list[Any]", extra) if isinstance(extra, list) else None
    return error_response(request, status, detail, headers=error.headers, errors=errors)


def handle_refusal(request: AnyRequest, error: Exception) -> Response[Any]:
    """An exception with a `status` attribute and a text for people, such as `accounts.access.AccessError`."""
    status = getattr(error, "status", 500)
    retry_after = getattr(error, "retry_after", None)
    headers = {"Retry-After": str(int(retry_after))} if retry_after else {}
    if status == 401 and not request.url.path.startswith("/api/"):
        return _sign_in(request)
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return error_response(request, status, str(error), headers=headers, errors=getattr(error, "errors", None))


def handle_missing(request: AnyRequest, error: Exception) -> Response[Any]:
    """For errors that mean: no such thing for this person."""
    return error_response(request, 404, str(error))


def handle_cursor(request: AnyRequest, error: Exception) -> Response[Any]:
    """For `BadCursorError`: the address of a page of another list, or an old one."""
    return error_response(request, 400, "This is not a page of this list (any more): start again from its first page.")


def handle_unprocessable(request: AnyRequest, error: Exception) -> Response[Any]:
    """For errors whose text says why something cannot be done and what to do instead."""
    return error_response(request, 422, str(error))


def handle_unavailable(request: AnyRequest, error: Exception) -> Response[Any]:
    """For `StoreUnavailableError`: the store says to try again."""
    _log.warning("store_unavailable", path=_logged(request), request_id=request_id(request), error=str(error))
    return error_response(request, 503, "", headers={"Retry-After": "5"})


def handle_anything(request: AnyRequest, error: Exception) -> Response[Any]:
    """What nobody expected: logged with its trace, shown without it."""
    _log.error("request_failed", path=_logged(request), request_id=request_id(request), exc_info=error)
    return error_response(request, 500)


def _logged(request: AnyRequest) -> str:
    """The path without the secret of a one-time link."""
    secret = request.path_params.get("secret")
    return request.url.path.replace(str(secret), "…") if secret else request.url.path


def _sign_in(request: AnyRequest) -> Response[Any]:
    back = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    wanted = request.method == "GET" and not is_htmx(request) and back != "/"
    target = f"/sign-in?next={quote(back, safe='')}" if wanted else "/sign-in"
    if is_htmx(request):
        return Response(b"", status_code=204, headers={"HX-Redirect": target})
    return Redirect(target, status_code=303)
