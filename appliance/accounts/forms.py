"""What the handlers of account and project pages share: reading forms, going on, saying what was done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from litestar import Request
from litestar.datastructures import State
from litestar.response import Template
from litestar.types import ControllerRouterHandler

from appliance.accounts.access import AccessError, InvalidInputError
from appliance.web.pages import page

AnyRequest = Request[Any, Any, State]

Handlers = list[ControllerRouterHandler]

MAX_FORM: Final = 64 * 1024  # bytes: the largest field, SDK settings, is 16 KiB and may be percent-encoded
_LOCAL: Final = "/"


async def form_values(request: AnyRequest) -> dict[str, str]:
    """The first text of each field of a form; files are no answer to any question of ours."""
    found: dict[str, str] = {}
    for name, value in (await request.form()).multi_items():
        if isinstance(value, str):
            found.setdefault(name, value)
    return found


async def form_list(request: AnyRequest, name: str) -> list[str]:
    """All texts of one field, as of check boxes."""
    return [value for key, value in (await request.form()).multi_items() if key == name and isinstance(value, str)]


def numbers(texts: list[str]) -> list[int]:
    """Those that are ids of ours."""
    return [int(text) for text in texts if text.isascii() and text.isdigit() and len(text) <= 18]


def local_path(text: str) -> str:
    """Where to go after signing in: a path on this host, else the start page.

    Browsers read a backslash as a slash and drop tabs and line ends, so those are refused, not repaired.
    """
    bad = not text.startswith(_LOCAL) or text.startswith("//") or "\\" in text or len(text) > 2_000
    if bad or any(ord(sign) <= 32 or ord(sign) == 127 for sign in text):
        return _LOCAL
    return _LOCAL if text.startswith(("/sign-", "/api/")) else text


class FieldErrors(dict[str, str]):
    """What is wrong, by field; "" is the form as a whole. A field that nothing is wrong with has ""."""

    def __missing__(self, field: str) -> str:
        return ""


def errors_of(error: AccessError | None) -> FieldErrors:
    """What templates show beside the fields."""
    if error is None:
        return FieldErrors()
    return FieldErrors(error.errors if isinstance(error, InvalidInputError) else {"": str(error)})


def headers_of(error: AccessError) -> Mapping[str, str]:
    """More headers of the answer."""
    retry_after = getattr(error, "retry_after", 0)
    return {"Retry-After": str(retry_after)} if retry_after else {}


def refused(request: AnyRequest, template: str, error: AccessError, **shown: Any) -> Template:
    """The form again: what is wrong in words, and what was typed."""
    return page(request, template, status=error.status, headers=headers_of(error), errors=errors_of(error), **shown)
