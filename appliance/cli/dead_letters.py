"""`condev dead-letters …`: works on the data directory, whether the appliance is running or not.

Retrying is the running appliance's work: the verb marks the records, and the pipeline takes them within a second.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click
import msgspec

from appliance.accounts.access import COMMAND_LINE
from appliance.cli.context import CliContext, fail, print_json, run

if TYPE_CHECKING:
    from appliance.system.dead_letters import DeadLetters
    from appliance.system.schemas import DeadLetterItem


@asynccontextmanager
async def _dead_letters_of(context: CliContext) -> AsyncGenerator[DeadLetters]:
    from appliance.clock import SystemClock
    from appliance.pipeline.dead_letters import DeadLetterFiles
    from appliance.system.dead_letters import DeadLetters

    async with context.open_metadata() as database:
        yield DeadLetters(database, DeadLetterFiles(context.data_dir / "dead_letters"), SystemClock())


@click.group(name="dead-letters")
def dead_letters() -> None:
    """List records that could not be processed, retry or discard them."""


@dead_letters.command("list")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 200), help="How many at most.")
@click.option("--all", "all_states", is_flag=True, help="Also those that were retried or discarded.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_obj
def list_letters(context: CliContext, limit: int, all_states: bool, as_json: bool) -> None:
    """Show dead letters, newest first."""

    async def found() -> list[DeadLetterItem]:
        async with _dead_letters_of(context) as letters:
            return (await letters.list(COMMAND_LINE, limit=limit, all_states=all_states)).items

    items = run(found)
    if as_json:
        print_json(msgspec.to_builtins(items))
        return
    if not items:
        click.echo("There are no dead letters.")
    for item in items:
        received = datetime.fromtimestamp(item.received_at / 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S")
        click.echo(f"{item.id}\t{received}\t{item.state}\t{item.protocol or '?'}\t{item.reason}: {item.detail}")


@dead_letters.command("retry")
@click.argument("ids", nargs=-1, type=click.IntRange(1))
@click.option("--all", "everything", is_flag=True, help="All that are kept.")
@click.pass_obj
def retry(context: CliContext, ids: tuple[int, ...], everything: bool) -> None:
    """Have dead letters processed again."""
    wanted = _wanted(ids, everything)

    async def again() -> int:
        async with _dead_letters_of(context) as letters:
            return await letters.retry(COMMAND_LINE, wanted)

    click.echo(f"{run(again)} will be tried again, at once if the appliance is running, else when it starts.")


@dead_letters.command("discard")
@click.argument("ids", nargs=-1, type=click.IntRange(1))
@click.option("--all", "everything", is_flag=True, help="All that are kept.")
@click.pass_obj
def discard(context: CliContext, ids: tuple[int, ...], everything: bool) -> None:
    """Give dead letters up for good; they are counted as dropped."""
    wanted = _wanted(ids, everything)

    async def away() -> int:
        async with _dead_letters_of(context) as letters:
            return await letters.discard(COMMAND_LINE, wanted)

    click.echo(f"{run(away)} discarded.")


def _wanted(ids: tuple[int, ...], everything: bool) -> list[int] | None:
    if everything == bool(ids):
        fail("name the ids that `condev dead-letters list` shows, or --all", code=2)
    return None if everything else list(ids)
