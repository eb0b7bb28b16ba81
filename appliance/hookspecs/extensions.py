"""What else a plugin may add to the appliance: pages, verbs, checks, services."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal

from msgspec import Struct, field

from appliance.model import JsonObject


class PluginPage(Struct, frozen=True, kw_only=True):
    """A page under /plugins/NAME/PATH, inside the dashboard's layout, behind its sign-in and CSRF check."""

    path: str
    title: str
    role: Literal["owner", "admin", "member", "viewer"]
    render: Callable[
        [Mapping[str, str]], Awaitable[str]
    ]  # query or form → the page's main part, HTML escaped by the plugin
    methods: tuple[str, ...] = ("GET",)


class Command(Struct, frozen=True, kw_only=True):
    """A verb `condev NAME ARG…` of a plugin."""

    name: str
    help: str
    run: Callable[[Sequence[str]], int]


class HealthResult(Struct, frozen=True, kw_only=True):
    """One finding: what is so, and what to do if it is bad."""

    ok: bool
    detail: str
    mend: str = ""


class HealthCheck(Struct, frozen=True, kw_only=True):
    """A named check, shown on the System page."""

    name: str
    check: Callable[[], Awaitable[HealthResult]]


class ServiceSpec(Struct, frozen=True, kw_only=True):
    """A Compose service and the files it needs, merged in by `condev render`."""

    name: str
    compose: JsonObject
    files: Mapping[str, str] = field(default_factory=dict[str, str])
