"""The page with the values of a filter menu: a sheet over the list for htmx, a page of its own without scripts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from litestar.exceptions import NotFoundException
from litestar.response import Template

from appliance.web.filtering import Filters, value_choices
from appliance.web.pages import PROJECT_SECTIONS, AnyRequest, ShellProject, is_htmx, page


def menu_label(menus: Mapping[str, str], name: str) -> str:
    """The word over a menu. Raises `NotFoundException` for a name that has none; ask before the values are read."""
    if name not in menus:
        raise NotFoundException
    return menus[name]


def menu_page(
    request: AnyRequest,
    project: ShellProject,
    section: str,
    menu: tuple[str, str],
    filters: Filters,
    values: Iterable[tuple[str, int]],
) -> Template:
    """Show a menu's values.

    Args:
        request: the request.
        project: whose they are.
        section: the segment of the list's address, as in `PROJECT_SECTIONS`.
        menu: its name in the address, and its label.
        filters: where the list stands; each value adds itself to it, or takes itself away.
        values: each with how often it occurs, the most frequent first.
    """
    name, label = menu
    return page(
        request,
        "parts/values.html",
        fragment="sheet",
        key=name,
        label=label,
        crumbs=[(project.name, project.sections[0].href), (PROJECT_SECTIONS[section], filters.href())],
        fragment_only=is_htmx(request),
        choices=value_choices(filters, name, values),
    )
