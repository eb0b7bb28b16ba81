"""Projects: creating, settings, keys, deleting; each change reaches ingest's file; ownership is checked here."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import select

from appliance.accounts.access import Actor, ForbiddenError, InvalidInputError, NotFoundError, Role
from appliance.alerts.models import RuleModel
from appliance.ingest.admission import Admission, AdmissionTable, AdmittedProject
from appliance.metadata.database import Database
from appliance.projects.models import ProjectModel
from appliance.projects.schemas import ProjectChange
from appliance.projects.service import MAX_KEYS, ProjectService
from appliance.testing.clock import FakeClock


def table(admission: Path) -> AdmissionTable:
    return msgspec.json.decode(admission.read_bytes(), type=AdmissionTable)


def published(admission: Path, project_id: int) -> AdmittedProject | None:
    return next((project for project in table(admission).projects if project.id == project_id), None)


def change(**fields: object) -> ProjectChange:
    plain = ProjectChange(
        name="Web shop", allowed_origins="*", replay_enabled=True, requests_per_second="", settings="{}"
    )
    return msgspec.structs.replace(plain, **fields)


async def test_a_new_project_can_be_sent_to_at_once(projects: ProjectService, admin: Actor, admission: Path) -> None:
    project = await projects.create(admin, "Web shop")
    assert (project.slug, len(project.keys)) == ("web-shop", 1)
    key = project.keys[0]
    assert key.dsn == f"https://{key.key}@monitor.example.com/{project.id}"
    assert key.condev_dsn == f"https://monitor.example.com/tracking/{key.key}"
    found = Admission(table(admission)).find(key.key)
    assert found is not None
    assert found.id == project.id
    assert key.key.encode() not in admission.read_bytes()


async def test_a_new_project_has_the_usual_alert_rules(
    projects: ProjectService, admin: Actor, database: Database
) -> None:
    project = await projects.create(admin, "Web shop")
    async with database.read() as session:
        rules = await session.scalars(select(RuleModel).where(RuleModel.project_id == project.id))
        assert {(rule.condition, rule.channel) for rule in rules} == {("new_issue", "email"), ("regression", "email")}


@pytest.mark.parametrize(
    ("name", "slug"),
    [("Web shop", "web-shop"), ("  Käse & Größe! ", "kase-groe"), ("商店", "project"), ("New", "project-new"),
     ("x" * 120, "x" * 58), ("a\x00b", "a-b")],
)  # fmt: skip
async def test_slugs_are_made_from_names(projects: ProjectService, admin: Actor, name: str, slug: str) -> None:
    assert (await projects.create(admin, name)).slug == slug


async def test_a_slug_that_is_taken_gets_a_number_or_an_error(projects: ProjectService, admin: Actor) -> None:
    slugs = [(await projects.create(admin, "Web shop")).slug for _ in range(3)]
    assert slugs == ["web-shop", "web-shop-2", "web-shop-3"]
    with pytest.raises(InvalidInputError) as caught:
        await projects.create(admin, "Another", "web-shop")
    assert "slug" in caught.value.errors


@pytest.mark.parametrize("slug", ["new", "Web", "a--b", "-a", "a/b", "../x", "x" * 65, "deleted-1", "ä"])
async def test_slugs_that_no_address_takes_are_refused(projects: ProjectService, admin: Actor, slug: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        await projects.create(admin, "Name", slug)
    assert list(caught.value.errors) == ["slug"]


async def test_settings_are_saved_and_published(projects: ProjectService, admin: Actor, admission: Path) -> None:
    project = await projects.create(admin, "Web shop")
    saved = await projects.change(
        admin,
        project.id,
        change(
            allowed_origins="https://Shop.example.com/\nhttps://*.example.com:8443",
            replay_enabled=False,
            requests_per_second="2,5",
            settings='{"sample": 0.5, "sample_rates": {"error": 0}, "replay": true}',
            sample_rates={"replay": "5"},
            ignore_errors="ResizeObserver loop",
        ),
    )
    assert saved.allowed_origins == ("https://shop.example.com", "https://*.example.com:8443")
    ingest = published(admission, project.id)
    assert ingest is not None
    assert ingest.origins == ["https://shop.example.com", "https://*.example.com:8443"]
    assert (ingest.replay_enabled, ingest.requests_per_second) == (False, 2.5)
    # What the form has fields for comes from the fields alone.
    assert ingest.sdk == {"sample": 0.5, "sample_rates": {"replay": 0.05}, "ignoreErrors": ["ResizeObserver loop"]}


async def test_a_settings_form_says_all_that_is_wrong_and_changes_nothing(
    projects: ProjectService, admin: Actor
) -> None:
    project = await projects.create(admin, "Web shop")
    with pytest.raises(InvalidInputError) as caught:
        await projects.change(
            admin,
            project.id,
            change(
                name=" ",
                allowed_origins="shop.example.com",
                requests_per_second="many",
                settings="[1]",
                sample_rates={"error": "all"},
                ignore_errors="x" * 301,
            ),
        )
    assert set(caught.value.errors) == {
        "name", "allowed_origins", "requests_per_second", "settings", "rate_error", "ignore_errors",
    }  # fmt: skip
    assert (await projects.get(admin, project.id)).name == "Web shop"


@pytest.mark.parametrize("rate", ["-1", "nan", "inf", "1e9", "١٢x"])
async def test_rates_that_make_no_sense_are_refused(projects: ProjectService, admin: Actor, rate: str) -> None:
    project = await projects.create(admin, "Web shop")
    with pytest.raises(InvalidInputError):
        await projects.change(admin, project.id, change(requests_per_second=rate))


@pytest.mark.parametrize("settings", ["{", "[]", "null", "1", "[" * 100_000, '{"a": NaN}', '"\ud800"', "x" * 20_000])
async def test_settings_that_are_no_object_are_refused(projects: ProjectService, admin: Actor, settings: str) -> None:
    project = await projects.create(admin, "Web shop")
    with pytest.raises(InvalidInputError) as caught:
        await projects.change(admin, project.id, change(settings=settings))
    assert list(caught.value.errors) == ["settings"]


async def test_keys_come_and_go_without_a_gap(projects: ProjectService, admin: Actor, admission: Path) -> None:
    project = await projects.create(admin, "Web shop")
    old = project.keys[0]
    new = await projects.add_key(admin, project.id, "2026")
    assert Admission(table(admission)).find(old.key) is not None
    await projects.set_key_disabled(admin, project.id, old.id, True)
    assert Admission(table(admission)).find(old.key) is None
    assert Admission(table(admission)).find(new.key) is not None
    await projects.set_key_disabled(admin, project.id, old.id, False)
    assert Admission(table(admission)).find(old.key) is not None


async def test_a_key_is_changed_through_its_own_project_alone(projects: ProjectService, admin: Actor) -> None:
    first, second = await projects.create(admin, "One"), await projects.create(admin, "Two")
    with pytest.raises(NotFoundError):
        await projects.set_key_disabled(admin, first.id, second.keys[0].id, True)


async def test_a_project_has_a_bounded_number_of_keys(projects: ProjectService, admin: Actor) -> None:
    project = await projects.create(admin, "Web shop")
    for number in range(MAX_KEYS - 1):
        await projects.add_key(admin, project.id, f"key {number}")
    with pytest.raises(InvalidInputError):
        await projects.add_key(admin, project.id, "one more")


async def test_deleting_takes_the_typed_name_and_stops_the_keys(
    projects: ProjectService, admin: Actor, admission: Path, database: Database
) -> None:
    project = await projects.create(admin, "Web shop")
    with pytest.raises(InvalidInputError):
        await projects.delete(admin, project.id, "web shop")
    await projects.delete(admin, project.id, " web-shop ")
    assert published(admission, project.id) is None
    with pytest.raises(NotFoundError):
        await projects.get(admin, project.id)
    async with database.read() as session:
        row = await session.get(ProjectModel, project.id)
        assert row is not None
        assert row.deleted_at is not None
    again = await projects.create(admin, "Web shop")
    assert (again.slug, again.id) == ("web-shop", project.id + 1)


async def test_changes_at_once_are_all_published(projects: ProjectService, admin: Actor, admission: Path) -> None:
    made = await asyncio.gather(*(projects.create(admin, f"Project {number}") for number in range(8)))
    assert {project.id for project in table(admission).projects} == {project.id for project in made}


async def test_publishing_heals_a_lost_file(
    projects: ProjectService, admin: Actor, admission: Path, clock: FakeClock
) -> None:
    project = await projects.create(admin, "Web shop")
    admission.unlink()
    clock.advance(60)
    await projects.publish()
    assert published(admission, project.id) is not None
    assert table(admission).published_at == clock.now()


async def test_what_is_not_ones_own_is_not_found_and_what_is_not_allowed_is_refused(
    projects: ProjectService, admin: Actor
) -> None:
    own, other = await projects.create(admin, "Own"), await projects.create(admin, "Other")
    only = frozenset({own.id})
    member = Actor(user_id=3, email="member@example.com", role=Role.MEMBER, project_ids=only)
    viewer = Actor(user_id=4, email="viewer@example.com", role=Role.VIEWER, project_ids=only)
    assert [project.id for project in await projects.list(viewer)] == [own.id]
    for actor in (member, viewer):
        hidden: list[Callable[[], Awaitable[object]]] = [
            lambda actor=actor: projects.get(actor, other.id),
            lambda actor=actor: projects.by_slug(actor, "other"),
            lambda actor=actor: projects.change(actor, other.id, change()),
            lambda actor=actor: projects.add_key(actor, other.id, "x"),
            lambda actor=actor: projects.set_key_disabled(actor, other.id, other.keys[0].id, True),
            lambda actor=actor: projects.delete(actor, other.id, "other"),
        ]
        for call in hidden:
            with pytest.raises(NotFoundError):
                await call()
        with pytest.raises(ForbiddenError):
            await projects.create(actor, "Third")
        with pytest.raises(ForbiddenError):
            await projects.delete(actor, own.id, "own")
    await projects.change(member, own.id, change(name="Renamed"))
    for call in (
        lambda: projects.change(viewer, own.id, change()),
        lambda: projects.add_key(viewer, own.id, "x"),
        lambda: projects.set_key_disabled(viewer, own.id, own.keys[0].id, True),
    ):
        with pytest.raises(ForbiddenError):
            await call()


async def test_a_menu_names_the_projects_that_its_reader_sees(projects: ProjectService, admin: Actor) -> None:
    shop, blog = await projects.create(admin, "web shop"), await projects.create(admin, "Blog")
    assert [(one.id, one.slug, one.name) for one in await projects.names(admin)] == [
        (blog.id, "blog", "Blog"),
        (shop.id, "web-shop", "web shop"),
    ]
    member = msgspec.structs.replace(admin, role=Role.MEMBER, project_ids=frozenset({shop.id}))
    assert [one.slug for one in await projects.names(member)] == ["web-shop"]
    await projects.delete(admin, shop.id, "web-shop")
    assert await projects.names(member) == []
