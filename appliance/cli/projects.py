"""`condev project …`: works on the metadata, whether the appliance is running or not; ingest learns of it at once."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import click

from appliance.accounts.access import COMMAND_LINE, AccessError
from appliance.cli.context import CliContext, fail, print_json, run

if TYPE_CHECKING:
    from appliance.projects.schemas import ProjectView
    from appliance.projects.service import ProjectService


@asynccontextmanager
async def projects_of(context: CliContext) -> AsyncGenerator[ProjectService]:
    """The service on this data directory's metadata; refusals end the process with one clear line."""
    from appliance.clock import SystemClock
    from appliance.projects.service import ProjectService

    async with context.open_metadata() as database:
        try:
            yield ProjectService(database, SystemClock(), context.site_url, context.data_dir / "admission.json")
        except AccessError as error:
            fail(str(error))


@click.group()
def project() -> None:
    """Create and list projects, or show their keys."""


@project.command("create")
@click.option("--name", required=True, help="As people say it.")
@click.option("--slug", default="", help="For addresses.  [default: made from the name]")
@click.option("--json", "as_json", is_flag=True, help='Print {"id", "slug", "key", "dsn", "condev_dsn"}.')
@click.pass_obj
def create_project(context: CliContext, name: str, slug: str, as_json: bool) -> None:
    """Create a project with one ingest key."""

    async def create() -> ProjectView:
        async with projects_of(context) as projects:
            return await projects.create(COMMAND_LINE, name, slug)

    made = run(create)
    if as_json:
        print_json(_body(made))
        return
    click.echo(f"{made.name} ({made.slug})")
    click.echo(f"DSN for Sentry's SDKs:  {made.keys[0].dsn}")
    click.echo(f"DSN for the condev SDK: {made.keys[0].condev_dsn}")


@project.command("list")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_obj
def list_projects(context: CliContext, as_json: bool) -> None:
    """Show all projects."""

    async def load() -> list[ProjectView]:
        async with projects_of(context) as projects:
            return await projects.list(COMMAND_LINE)

    found = run(load)
    if as_json:
        print_json([{**_body(view), "name": view.name, "event_count": view.event_count} for view in found])
        return
    for view in found:
        click.echo(f"{view.id:6} {view.slug:30} {view.event_count:>12,} events  {view.name}")


@project.command("keys")
@click.argument("slug")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_obj
def show_keys(context: CliContext, slug: str, as_json: bool) -> None:
    """Show the keys of the project SLUG with their DSNs."""

    async def load() -> ProjectView:
        async with projects_of(context) as projects:
            return await projects.by_slug(COMMAND_LINE, slug)

    view = run(load)
    if as_json:
        print_json(
            [
                {
                    "id": key.id,
                    "label": key.label,
                    "key": key.key,
                    "enabled": key.disabled_at is None,
                    "dsn": key.dsn,
                    "condev_dsn": key.condev_dsn,
                }
                for key in view.keys
            ]
        )
        return
    for key in view.keys:
        click.echo(f"{key.label}{' (disabled)' if key.disabled_at else ''}\n  {key.dsn}\n  {key.condev_dsn}")


def _body(view: ProjectView) -> dict[str, object]:
    live = view.live_keys
    return {
        "id": view.id,
        "slug": view.slug,
        "key": live[0].key if live else "",
        "dsn": live[0].dsn if live else "",
        "condev_dsn": live[0].condev_dsn if live else "",
    }
