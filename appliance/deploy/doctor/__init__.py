"""Preflight, and the same later against the running stack: every check at once, each with a deadline, nothing changed.

`run(context)` gives all findings; a file a group of checks. Who calls it gathers the context (`appliance.cli.doctor`).
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from appliance.deploy.doctor import configuration, docker, domain, machine, mail, network, platforms, ports, running
from appliance.deploy.doctor.context import DoctorContext, Probes
from appliance.deploy.doctor.findings import GROUPS, Finding, Group, Level, Reporter
from appliance.deploy.doctor.mail_advice import MailAdvice
from appliance.deploy.doctor.volumes import check_volumes

__all__ = [
    "CHECKS",
    "GROUPS",
    "DoctorContext",
    "Finding",
    "Group",
    "Level",
    "MailAdvice",
    "Probes",
    "check_volumes",
    "run",
]

Check = Callable[[DoctorContext], Awaitable[list[Finding]]]

MODULES: Final = (configuration, machine, docker, ports, platforms, network, domain, mail, running)
CHECKS: Final[tuple[tuple[Group, Check], ...]] = tuple(
    (module.say.group, check) for module in MODULES for check in module.CHECKS
)
_ORDER: Final[dict[Level, int]] = {"error": 0, "warning": 1, "ok": 2}

log = structlog.stdlib.get_logger(__name__)


async def run(context: DoctorContext, checks: Sequence[tuple[Group, Check]] = CHECKS) -> list[Finding]:
    """Look at everything at once.

    Args:
        context: what is looked at; `context.seconds` bounds each check, and so, as they run beside each other, all.
        checks: each with its group; all of them by default.

    Returns:
        Findings in the order of the groups, the worst of a group first.
    """
    found = await asyncio.gather(*(_guarded(context, group, check) for group, check in checks))
    findings = list(itertools.chain.from_iterable(found))
    return sorted(findings, key=lambda one: (GROUPS.index(one.group), _ORDER[one.level]))


async def _guarded(context: DoctorContext, group: Group, check: Check) -> list[Finding]:
    say = Reporter(group)
    name = check.__name__.removeprefix("check_").replace("_", " ")
    try:
        async with asyncio.timeout(context.seconds):
            return await check(context)
    except TimeoutError:
        return [
            say.warn(
                "check-timed-out",
                f"Looking at {name} took longer than {context.seconds:g} s and was given up.",
                "Whatever it would have said is not known.",
                "Run condev doctor again; a disk, DNS server or Docker engine that hangs is the usual cause.",
            )
        ]
    except Exception as error:
        log.warning("check failed", check=check.__name__, exc_info=error)
        return [
            say.warn(
                "check-failed",
                f"Looking at {name} failed: {type(error).__name__}: {error}",
                "Whatever it would have said is not known. This is a fault of condev doctor.",
                "Report it with the lines of the log above.",
            )
        ]
