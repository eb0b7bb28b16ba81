"""Outgoing HTTPS and the clock: whether certificates, images and mail can be fetched and sent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct

from appliance.deploy.doctor.context import DoctorContext
from appliance.deploy.doctor.findings import Finding, Reporter
from appliance.deploy.doctor.knock import is_known
from appliance.hookspecs import DeliveryError

say: Final = Reporter("network")

NAME_SHARE: Final = 0.6  # of the time for a connection: both together stay below a check's deadline
SKEW_NOTICED: Final = 30.0  # seconds: one step of the codes of a second factor
SKEW_HARMFUL: Final = 600.0  # certificates just issued are not valid yet, signed requests are refused


class Reached(Struct, frozen=True, kw_only=True):
    """What one place answered."""

    host: str
    stage: str = ""  # how far it came when it failed
    error: str = ""
    skew: float | None = None  # seconds that our clock is ahead


async def check_https(context: DoctorContext) -> list[Finding]:
    """The places of `[doctor] https` answer, with certificates that this machine trusts; and what time they have."""
    found = await asyncio.gather(*(_reach(context, url) for url in dict.fromkeys(context.config.doctor.https)))
    findings = [
        _failed(kind, [one for one in found if one.error and _kind(one) == kind])
        for kind in dict.fromkeys(_kind(one) for one in found if one.error)
    ]
    if reached := [one.host for one in found if not one.error]:
        findings.append(say.ok("https", f"{', '.join(reached)} can be reached."))
    skews = [one.skew for one in found if one.skew is not None]
    return [*findings, *([_clock(min(skews, key=abs))] if skews else [])]


CHECKS: Final = (check_https,)


async def _reach(context: DoctorContext, url: str) -> Reached:
    host = urlsplit(url).hostname or url
    direct = not context.config.outbound.proxy  # a proxy looks names up itself
    if direct and not await is_known(host, context.probes.seconds * NAME_SHARE):
        return Reached(host=host, stage="dns", error=f"{host} could not be resolved.")
    try:
        answer = await context.http.request("GET", url, timeout=context.probes.seconds, trusted=True)
    except DeliveryError as error:
        return Reached(host=host, stage=error.stage, error=str(error))
    return Reached(host=host, skew=_skew(answer.headers.get("date", ""), time.time()))


def _skew(date: str, now: float) -> float | None:
    """How far `now` is ahead of a Date header; None without a readable one."""
    try:
        return now - parsedate_to_datetime(date).timestamp()
    except ValueError:
        return None


def _kind(one: Reached) -> str:
    """How it failed; what failed alike is one finding."""
    return one.stage if one.stage in {"tls", "dns"} else ""


def _failed(kind: str, ones: Sequence[Reached]) -> Finding:
    fact = " ".join(one.error for one in ones)
    if kind == "tls":
        return say.warn(
            "https-not-trusted",
            fact,
            "Somebody reads along (a company's proxy), the list of authorities is old, or the clock is wrong.",
            "Install ca-certificates, set the clock, or give the proxy's authority to the system.",
        )
    if kind == "dns":
        return say.warn(
            "dns-broken",
            f"These names could not be resolved: {', '.join(one.host for one in ones)}.",
            "Certificates, images and mail need names. If the rest of doctor says the same, this machine has no DNS.",
            "Look into /etc/resolv.conf; `getent hosts` with the name says what this machine knows.",
        )
    return say.warn(
        "https-blocked",
        fact,
        "Certificates come from acme-v02.api.letsencrypt.org and images from a registry: without them there is no"
        " automatic HTTPS, or no upgrade.",
        "Allow outgoing TCP 443, or set [outbound] proxy. Without a way out: --offline, and certificates of your own."
        " Where this place is blocked on purpose, name others in [doctor] https.",
    )


def _clock(skew: float) -> Finding:
    side = "ahead" if skew > 0 else "behind"
    mend = "As root: timedatectl set-ntp true (or install chrony); `date -u` should show the time of the world."
    if abs(skew) > SKEW_HARMFUL:
        return say.error(
            "clock-wrong",
            f"This machine's clock is {abs(skew):,.0f} s {side}.",
            "Certificates are refused or not issued, and times of events are wrong.",
            mend,
        )
    if abs(skew) > SKEW_NOTICED:
        return say.warn(
            "clock-off",
            f"This machine's clock is {abs(skew):.0f} s {side}.",
            "Codes of a second factor are refused, and times of events are off by as much.",
            mend,
        )
    return say.ok("clock", f"Within {max(1, round(abs(skew)))} s of others'.")
