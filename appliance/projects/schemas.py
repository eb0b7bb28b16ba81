"""Shapes of projects: what pages show, and what the JSON API takes and gives."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct, field

from appliance.model import JsonObject


class KeyView(Struct, frozen=True, kw_only=True):
    """An ingest key with its DSNs."""

    id: int
    key: str
    label: str
    created_at: int
    disabled_at: int | None
    dsn: str
    condev_dsn: str
    sdk_dsn: str


class ProjectName(Struct, frozen=True):
    """A project in a menu."""

    id: int
    slug: str
    name: str


class ProjectView(Struct, frozen=True, kw_only=True):
    """A project, as pages see it. Times are µs."""

    id: int
    slug: str
    name: str
    created_at: int
    allowed_origins: tuple[str, ...]
    replay_enabled: bool
    requests_per_second: float | None
    settings: JsonObject
    first_event_at: int | None
    last_event_at: int | None
    event_count: int
    keys: tuple[KeyView, ...]  # the oldest first

    @property
    def live_keys(self) -> tuple[KeyView, ...]:
        """Those that are not disabled."""
        return tuple(key for key in self.keys if key.disabled_at is None)


class ProjectChange(Struct, frozen=True, kw_only=True):
    """What the settings form sends: texts, as typed."""

    name: str
    allowed_origins: str
    replay_enabled: bool
    requests_per_second: str  # "" = the appliance's, "0" = no bound
    settings: str  # JSON: options of our SDK that the form has no field for
    sample_rates: dict[str, str] = field(default_factory=dict[str, str])  # percentages by kind; "" = the page decides
    ignore_errors: str = ""  # one pattern a line


class ProjectBody(Struct, kw_only=True):
    """A project in the API. `key` and the DSNs are of its oldest live key, empty when all are disabled."""

    id: int
    slug: str
    name: str
    key: str
    dsn: str
    condev_dsn: str
    allowed_origins: tuple[str, ...]
    event_count: int
    created_at: str  # RFC 3339, UTC
    first_event_at: str | None
    last_event_at: str | None


class ProjectPage(Struct, kw_only=True):
    """A page of projects."""

    items: list[ProjectBody]
    next: str | None


class NewProject(Struct, kw_only=True, forbid_unknown_fields=True):
    """What creating a project takes."""

    name: Annotated[str, Meta(min_length=1, max_length=120)]
    slug: Annotated[str, Meta(max_length=64)] = ""
