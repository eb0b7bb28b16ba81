"""`condev notify`: try a channel out, step by step, without the serving process."""

from __future__ import annotations

import sys
from typing import Any, cast

import click
import structlog
from msgspec import Struct
from sqlalchemy import select
from structlog.typing import FilteringBoundLogger

from appliance.cli.context import CliContext, fail, print_json, run
from appliance.cli.host import load_plugins
from appliance.hookspecs import CheckStep, Notification
from appliance.plugins import PluginHost

log = cast("FilteringBoundLogger", structlog.get_logger(__name__))


class NotifierCheck(Struct, frozen=True, kw_only=True):
    """What one notifier of the chain did."""

    notifier: str
    steps: list[CheckStep]
    delivered: bool


@click.group()
def notify() -> None:
    """Try out the channels that alerts go through."""


@notify.command()
@click.argument("channel")
@click.option("--to", "to", multiple=True, help="Mail address to send to; may be repeated.  [default: the owners]")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_obj
def test(context: CliContext, channel: str, to: tuple[str, ...], as_json: bool) -> None:
    """Send a test message through CHANNEL, such as email, and show each step.

    The notifiers are tried in their order; the first that takes the message delivers it, the others are only checked.
    Exit code 1 when nobody delivered.
    """
    from appliance.alerts.facts import malformed_addresses

    chain = context.config.channels.get(channel)
    if chain is None:
        known = ", ".join(sorted(context.config.channels)) or "none"
        fail(f"there is no channel {channel!r} in [channels]; there is: {known}", code=2)
    if wrong := malformed_addresses("\n".join(to)):
        fail(f"not a mail address: {', '.join(wrong)}", code=2)
    plugins = load_plugins(context)
    recipients = to or run(_owners, context)
    checks = run(_check_chain, context, plugins, channel, chain, recipients)
    delivered = any(check.delivered for check in checks)
    if as_json:
        print_json({"channel": channel, "to": list(recipients), "delivered": delivered, "notifiers": _plain(checks)})
    else:
        _show(checks, channel, recipients)
    sys.exit(0 if delivered else 1)


async def _owners(context: CliContext) -> tuple[str, ...]:
    """The owners' addresses; without one, the sender writes to itself."""
    from appliance.accounts.models import UserModel
    from appliance.alerts.facts import addresses

    query = select(UserModel.email).where(UserModel.role == "owner", UserModel.disabled_at.is_(None))
    async with context.open_metadata() as database, database.read() as session:
        owners = addresses("\n".join(await session.scalars(query)))
    sender = context.config.mail.sender.rpartition("<")[2].rstrip("> ")
    return owners or addresses(sender)


async def _check_chain(
    context: CliContext, plugins: PluginHost, channel: str, chain: list[str], recipients: tuple[str, ...]
) -> list[NotifierCheck]:
    from appliance.alerts.compose import Site, compose_test
    from appliance.clock import SystemClock

    site = Site(url=context.site_url, name=context.config.site.name)
    why = "Somebody ran condev notify test."
    message = compose_test(site, channel, recipients, at=SystemClock().now(), why=why)
    checks: list[NotifierCheck] = []
    for name in chain:
        delivered = any(check.delivered for check in checks)
        checks.append(await _check_one(plugins, name, None if delivered else message))
    return checks


async def _check_one(plugins: PluginHost, name: str, message: Notification | None) -> NotifierCheck:
    try:
        steps = await plugins.notifiers[name].check(message)
    except Exception as error:  # its contract says never, and a person waits for words
        log.warning("notifier raised", notifier=name, exc_info=error)
        steps = [CheckStep(name="config", ok=False, detail=f"{name} has a bug: {type(error).__name__}: {error}")]
    accepted = any(step.name == "accept" and step.ok for step in steps)
    return NotifierCheck(notifier=name, steps=steps, delivered=message is not None and accepted)


def _plain(checks: list[NotifierCheck]) -> list[dict[str, Any]]:
    return [
        {
            "notifier": check.notifier,
            "delivered": check.delivered,
            "steps": [
                {
                    "name": step.name,
                    "ok": step.ok,
                    "detail": step.detail,
                    "mend": step.mend,
                    "seconds": round(step.seconds, 3),
                }
                for step in check.steps
            ],
        }
        for check in checks
    ]


def _show(checks: list[NotifierCheck], channel: str, recipients: tuple[str, ...]) -> None:
    for check in checks:
        click.echo(check.notifier)
        for step in check.steps:
            took = f"  ({step.seconds * 1000:.0f} ms)" if step.seconds >= 0.001 else ""
            click.echo(f"  {'ok  ' if step.ok else 'FAIL'} {step.name:8} {step.detail}{took}")
            if not step.ok and step.mend:
                click.echo(f"       {'':8} → {step.mend}")
    by = next((check.notifier for check in checks if check.delivered), "")
    if by:
        click.echo(f"delivered through {by} to {', '.join(recipients)}")
    else:
        click.echo(f"condev: nothing was delivered through {channel}: mend what is marked FAIL", err=True)
