"""What can be done with projects: create, settings, keys, delete. Every change is published to ingest at once."""

from __future__ import annotations

import builtins
import math
import re
import secrets
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from appliance.accounts import audit
from appliance.accounts.access import Actor, InvalidInputError, NotFoundError, Permission
from appliance.accounts.inputs import MAX_NAME, clean
from appliance.hookspecs import Clock
from appliance.metadata.database import Database
from appliance.model import JsonObject
from appliance.projects import sdk_settings
from appliance.projects.addresses import DEFAULT_PATH, addresses, join_origins, parse_origins
from appliance.projects.models import IngestKeyModel, ProjectModel
from appliance.projects.publishing import publish_admission
from appliance.projects.schemas import KeyView, ProjectChange, ProjectName, ProjectView

MAX_SLUG: Final = 64  # the column
MAX_PROJECTS: Final = 10_000  # admission.json is read whole: 10,000 are 3 MB
MAX_KEYS: Final = 20  # a project; more is a misunderstanding of what a key is for
MAX_SETTINGS: Final = 16 * 1024  # characters of JSON: every page view of a monitored site may fetch them
MAX_RATE: Final = 100_000.0  # requests/s: ten times what one appliance takes
NO_PROJECT: Final = "There is no such project, or you are not a member of it."
_RESERVED: Final = frozenset({"new"})  # /projects/new is a page
_SLUG: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


class ProjectService:
    """Projects, as one actor may see and change them."""

    def __init__(
        self, database: Database, clock: Clock, site_url: str, admission: Path, sdk_path: str = DEFAULT_PATH
    ) -> None:
        """Wire it.

        Args:
            database: the metadata.
            clock: time.
            site_url: what DSNs are made from.
            admission: path of `admission.json`.
            sdk_path: `[sdk] path`: the name of the endpoint that our SDK reports to.
        """
        self._database = database
        self._clock = clock
        self._site_url = site_url
        self._admission = admission
        self._sdk_path = sdk_path

    async def list(self, actor: Actor) -> list[ProjectView]:
        """Those they see, by name."""
        actor.require(Permission.PROJECTS_READ)
        query = select(ProjectModel).where(ProjectModel.deleted_at.is_(None))
        if actor.project_ids is not None:
            query = query.where(ProjectModel.id.in_(actor.project_ids))
        async with self._database.read() as session:
            projects = (await session.scalars(query)).all()
            keys = await _keys_of(session, [project.id for project in projects])
        views = [self._view(project, keys.get(project.id, [])) for project in projects]
        return sorted(views, key=lambda view: (view.name.casefold(), view.id))

    async def names(self, actor: Actor) -> builtins.list[ProjectName]:
        """Those they see, by name, for a menu: asked with every page, so without keys and settings."""
        actor.require(Permission.PROJECTS_READ)
        query = select(ProjectModel.id, ProjectModel.slug, ProjectModel.name).where(ProjectModel.deleted_at.is_(None))
        if actor.project_ids is not None:
            query = query.where(ProjectModel.id.in_(actor.project_ids))
        async with self._database.read() as session:
            found = [ProjectName(*row) for row in await session.execute(query)]
        return sorted(found, key=lambda project: (project.name.casefold(), project.id))

    async def by_slug(self, actor: Actor, slug: str) -> ProjectView:
        """One of them. Raises `NotFoundError`."""
        return await self._one(actor, ProjectModel.slug == slug)

    async def get(self, actor: Actor, project_id: int) -> ProjectView:
        """One of them. Raises `NotFoundError`."""
        return await self._one(actor, ProjectModel.id == project_id)

    async def create(self, actor: Actor, name: str, slug: str = "") -> ProjectView:
        """Make a project with one key, and the alert rules that everybody wants first.

        Args:
            actor: who.
            name: as people say it.
            slug: for addresses; made from the name when empty.

        Raises:
            InvalidInputError: the name or slug cannot be used, or the slug is taken.
        """
        from appliance.alerts.service import create_default_rules

        actor.require(Permission.PROJECTS_MANAGE)
        name, slug = clean(name, MAX_NAME), slug.strip()
        errors = {"name": _name_problem(name), "slug": _slug_problem(slug) if slug else ""}
        _raise(errors)
        now = self._clock.now()
        async with self._database.write() as session:
            if (await session.scalar(select(func.count()).select_from(ProjectModel)) or 0) >= MAX_PROJECTS:
                raise InvalidInputError({"": f"There are {MAX_PROJECTS:,} projects already: no more are taken."})
            if slug and await _taken(session, slug):
                raise InvalidInputError({"slug": f"There is a project {slug} already. Choose another."})
            project = ProjectModel(slug=slug or await _free_slug(session, name), name=name, created_at=now)
            session.add(project)
            await session.flush()
            session.add(_new_key(project.id, "Default", now))
            await create_default_rules(session, project.id, now)
            audit.record(session, actor, "project.created", now, target=project.slug)
            keys = await _keys_of(session, [project.id])
        await self.publish()
        return self._view(project, keys[project.id])

    async def change(self, actor: Actor, project_id: int, change: ProjectChange) -> ProjectView:
        """Save the settings form. Raises `InvalidInputError` with what is wrong beside each field."""
        actor.require_project(project_id, Permission.PROJECTS_WRITE)
        name = clean(change.name, MAX_NAME)
        origins, origins_problem = parse_origins(change.allowed_origins)
        rate, rate_problem = _rate(change.requests_per_second)
        settings, settings_problem = _settings(change.settings)
        options, option_problems = sdk_settings.read_form(change.sample_rates, change.ignore_errors)
        _raise(
            {
                "name": _name_problem(name),
                "allowed_origins": origins_problem,
                "requests_per_second": rate_problem,
                "settings": settings_problem,
                **option_problems,
            }
        )
        wanted = {
            "name": name,
            "allowed_origins": join_origins(origins),
            "replay_enabled": change.replay_enabled,
            "requests_per_second": rate,
            "settings": msgspec.json.encode({**sdk_settings.others(settings), **options}).decode(),
        }
        async with self._database.write() as session:
            project = await _live(session, project_id)
            changed = [column for column, value in wanted.items() if getattr(project, column) != value]
            for column in changed:
                setattr(project, column, wanted[column])
            now, what = self._clock.now(), ", ".join(changed)
            audit.record(session, actor, "project.changed", now, target=project.slug, detail=what)
        await self.publish()
        return await self.get(actor, project_id)

    async def delete(self, actor: Actor, project_id: int, typed: str) -> None:
        """Delete a project: its keys stop at once, its data goes with retention.

        Args:
            actor: who.
            project_id: which.
            typed: the project's slug, typed out.

        Raises:
            InvalidInputError: something else was typed.
        """
        actor.require_project(project_id, Permission.PROJECTS_MANAGE)
        now = self._clock.now()
        async with self._database.write() as session:
            project = await _live(session, project_id)
            if typed.strip() != project.slug:
                raise InvalidInputError({"confirm": f"Type {project.slug} to delete it."})
            audit.record(session, actor, "project.deleted", now, target=project.slug)
            project.deleted_at = now
            project.slug = f"deleted-{project.id}-{secrets.token_hex(4)}"  # the old one may be used again
            await session.execute(
                update(IngestKeyModel)
                .where(IngestKeyModel.project_id == project_id, IngestKeyModel.disabled_at.is_(None))
                .values(disabled_at=now)
            )
        await self.publish()

    async def add_key(self, actor: Actor, project_id: int, label: str) -> KeyView:
        """One more key, as when the old one is to be retired. Raises `InvalidInputError` when there are too many."""
        actor.require_project(project_id, Permission.PROJECTS_WRITE)
        label = clean(label, MAX_NAME)
        if not label:
            raise InvalidInputError({"label": "Say what it is for, such as “Checkout” or “2026”."})
        now = self._clock.now()
        async with self._database.write() as session:
            project = await _live(session, project_id)
            if len((await _keys_of(session, [project_id])).get(project_id, [])) >= MAX_KEYS:
                raise InvalidInputError({"label": f"A project has at most {MAX_KEYS} keys, disabled ones included."})
            key = _new_key(project_id, label, now)
            session.add(key)
            await session.flush()
            audit.record(session, actor, "key.created", now, target=project.slug, detail=label)
        await self.publish()
        return self._key(key)

    async def set_key_disabled(self, actor: Actor, project_id: int, key_id: int, disabled: bool) -> None:
        """Stop accepting a key, or accept it again. Raises `NotFoundError`."""
        actor.require_project(project_id, Permission.PROJECTS_WRITE)
        now = self._clock.now()
        async with self._database.write() as session:
            project = await _live(session, project_id)
            key = await session.get(IngestKeyModel, key_id)
            if key is None or key.project_id != project_id:
                raise NotFoundError("There is no such key in this project.")
            key.disabled_at = now if disabled else None
            action = "key.disabled" if disabled else "key.enabled"
            audit.record(session, actor, action, now, target=project.slug, detail=key.label)
        await self.publish()

    async def publish(self) -> None:
        """Tell ingest. Called after each change, at start, and by the scheduler."""
        await publish_admission(self._database, self._admission, self._clock)

    async def _one(self, actor: Actor, where: ColumnElement[bool]) -> ProjectView:
        actor.require(Permission.PROJECTS_READ)
        async with self._database.read() as session:
            project = await session.scalar(select(ProjectModel).where(where, ProjectModel.deleted_at.is_(None)))
            if project is None or not actor.sees(project.id):
                raise NotFoundError(NO_PROJECT)
            keys = await _keys_of(session, [project.id])
        return self._view(project, keys.get(project.id, []))

    def _view(self, project: ProjectModel, keys: Sequence[IngestKeyModel]) -> ProjectView:
        return ProjectView(
            id=project.id,
            slug=project.slug,
            name=project.name,
            created_at=project.created_at,
            allowed_origins=tuple(project.allowed_origins.split("\n")),
            replay_enabled=project.replay_enabled,
            requests_per_second=project.requests_per_second,
            settings=msgspec.json.decode(project.settings, type=JsonObject),
            first_event_at=project.first_event_at,
            last_event_at=project.last_event_at,
            event_count=project.event_count,
            keys=tuple(self._key(key) for key in keys),
        )

    def _key(self, key: IngestKeyModel) -> KeyView:
        found = addresses(self._site_url, key.project_id, key.key, self._sdk_path)
        return KeyView(
            id=key.id,
            key=key.key,
            label=key.label,
            created_at=key.created_at,
            disabled_at=key.disabled_at,
            dsn=found.dsn,
            condev_dsn=found.condev_dsn,
            sdk_dsn=found.sdk_dsn,
        )


async def _live(session: AsyncSession, project_id: int) -> ProjectModel:
    project = await session.get(ProjectModel, project_id)
    if project is None or project.deleted_at is not None:
        raise NotFoundError(NO_PROJECT)
    return project


async def _keys_of(session: AsyncSession, project_ids: Sequence[int]) -> dict[int, list[IngestKeyModel]]:
    keys: dict[int, list[IngestKeyModel]] = {}
    rows = await session.scalars(
        select(IngestKeyModel).where(IngestKeyModel.project_id.in_(project_ids)).order_by(IngestKeyModel.id)
    )
    for row in rows:
        keys.setdefault(row.project_id, []).append(row)
    return keys


def _new_key(project_id: int, label: str, now: int) -> IngestKeyModel:
    return IngestKeyModel(project_id=project_id, key=secrets.token_hex(16), label=label, created_at=now)


async def _taken(session: AsyncSession, slug: str) -> bool:
    return await session.scalar(select(ProjectModel.id).where(ProjectModel.slug == slug)) is not None


async def _free_slug(session: AsyncSession, name: str) -> str:
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    base = "-".join(re.findall(r"[a-z0-9]+", plain))[: MAX_SLUG - 6].strip("-") or "project"
    if base in _RESERVED or base.startswith("deleted-"):
        base = f"project-{base}"
    slug, number = base, 1
    while await _taken(session, slug):
        number += 1
        slug = f"{base}-{number}"
    return slug


def _name_problem(name: str) -> str:
    return "" if name else "Give it a name, such as the application's."


def _slug_problem(slug: str) -> str:
    if len(slug) > MAX_SLUG or _SLUG.fullmatch(slug) is None:
        return f"Use small letters a–z, digits and single hyphens, at most {MAX_SLUG}, such as web-shop."
    if slug in _RESERVED or slug.startswith("deleted-"):
        return f"{slug} is used by the appliance itself. Choose another."
    return ""


def _rate(text: str) -> tuple[float | None, str]:
    if not text.strip():
        return None, ""
    try:
        rate = float(text.strip().replace(",", "."))
    except ValueError:
        return None, "Enter a number of requests a second, 0 for no bound, or leave it empty."
    if not math.isfinite(rate) or not 0 <= rate <= MAX_RATE:
        return None, f"Enter a number from 0 to {MAX_RATE:,.0f}, or leave it empty."
    return rate, ""


def _settings(text: str) -> tuple[JsonObject, str]:
    if len(text) > MAX_SETTINGS:
        return {}, f"At most {MAX_SETTINGS // 1024} KiB: every visitor of the monitored site may fetch it."
    try:
        value = msgspec.json.decode(text.strip() or "{}", type=JsonObject)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        return {}, f"This is not a JSON object: {error}."
    return value, ""


def _raise(errors: dict[str, str]) -> None:
    found = {field: problem for field, problem in errors.items() if problem}
    if found:
        raise InvalidInputError(found)
