"""Ways out for mail: SMTP on the four usual ports, Resend's API, and what the configured notifiers say themselves.

Most providers of small servers block port 25, many block all of SMTP: found out here, not at the first lost alert.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from appliance.deploy.doctor.context import DoctorContext
from appliance.deploy.doctor.findings import Finding, Reporter
from appliance.deploy.doctor.knock import Knocked, greeting, is_known
from appliance.deploy.doctor.mail_advice import PORTS, MailAdvice, advise
from appliance.hookspecs import CheckStep, DeliveryError, Notifier

say: Final = Reporter("mail")

IMPLICIT_TLS: Final = 465
RESEND: Final = "https://api.resend.com"
NAME_SHARE: Final = 0.6  # as in `network`
CHECK_SECONDS: Final = 8.0  # a notifier's own check: name, connection, TLS, signing in


async def check_mail(context: DoctorContext) -> list[Finding]:
    """Knock at SMTP and Resend, ask the configured notifiers, and recommend a chain."""
    ports, resend, steps = await asyncio.gather(_ports(context), _resend(context), _notifiers(context))
    advice = advise(ports, resend)
    context.mail_advice = advice
    chain = context.config.channels.get("email", [])
    findings = _notifier_findings(steps, advice)
    working = [name for name in chain if name in steps and steps[name][-1].ok]
    open_ports = [port for port in PORTS if ports[port] == "open"]
    told = ", ".join(f"{port} {ports[port]}" for port in sorted(ports))
    if open_ports or "smtp" in working or (working and resend):
        findings.append(say.ok("smtp", f"Outgoing SMTP: {told} (asked {context.config.doctor.smtp_host})."))
    else:
        findings.append(_blocked(context, told, resend))
    findings.append(_resend_finding(context, resend, working))
    if not working:
        findings.append(_no_way(advice, chain))
    if not advice.email:
        return findings
    words = f"[channels] email = {list(advice.email)}".replace("'", '"')
    findings.append(say.ok("mail-chain", f"{advice.why} Recommended: {words}{_smtp_words(advice)}"))
    return findings


CHECKS: Final = (check_mail,)


async def _ports(context: DoctorContext) -> dict[int, Knocked]:
    probes, host = context.probes, context.config.doctor.smtp_host
    if not await is_known(host, probes.seconds * NAME_SHARE):
        return dict.fromkeys(probes.smtp_ports, "unresolved")
    found = await asyncio.gather(
        *(
            greeting(host, actual, tls=port == IMPLICIT_TLS, seconds=probes.seconds)
            for port, actual in probes.smtp_ports.items()
        )
    )
    return dict(zip(probes.smtp_ports, found, strict=True))


async def _resend(context: DoctorContext) -> bool:
    table = context.config.plugin_tables.get("resend", {})
    base = table.get("base_url")
    try:
        await context.http.request(
            "GET", base if isinstance(base, str) and base else RESEND, timeout=context.probes.seconds, trusted=True
        )
    except DeliveryError:
        return False
    return True  # whatever it answered, it answered


async def _notifiers(context: DoctorContext) -> dict[str, list[CheckStep]]:
    """Notifier of the email chain → the steps of its own check; only those that are configured."""
    chain = context.config.channels.get("email", [])
    chosen = {name: context.notifiers[name] for name in chain if context.notifiers and name in context.notifiers}
    ready = {name: notifier for name, notifier in chosen.items() if not notifier.configured()}
    found = await asyncio.gather(*(_steps(notifier) for notifier in ready.values()))
    return dict(zip(ready, found, strict=True))


async def _steps(notifier: Notifier) -> list[CheckStep]:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            return await notifier.check() or [CheckStep(name="config", ok=True, detail="nothing to check")]
    except TimeoutError:
        detail = f"no answer within {CHECK_SECONDS:g} s"
        return [CheckStep(name="connect", ok=False, detail=detail, mend="Look whether the port is blocked.")]


def _notifier_findings(steps: Mapping[str, list[CheckStep]], advice: MailAdvice) -> list[Finding]:
    findings: list[Finding] = []
    for name, found in steps.items():
        last = found[-1]
        if last.ok:
            findings.append(say.ok("notifier", f"{name}: {'; '.join(step.detail for step in found)}"))
            continue
        hint = f" From here, SMTP works on port {advice.smtp_port}." if name == "smtp" and advice.smtp_port else ""
        findings.append(
            say.warn(
                "notifier-failing",
                f"{name} fails at {last.name}: {last.detail}",
                "Mail goes through the next notifier of the chain, or waits and is tried again.",
                f"{last.mend}{hint} `condev notify test email` tries it again.".strip(),
            )
        )
    return findings


def _blocked(context: DoctorContext, told: str, resend: bool) -> Finding:
    host = context.config.doctor.smtp_host
    mend = "Use Resend, which needs HTTPS alone" if resend else "Ask your provider to open port 587 or 465"
    return say.warn(
        "smtp-blocked",
        f"No mail server greets on any SMTP port: {told} (asked {host}).",
        "Invitations, links to set a password, and alerts by mail cannot leave this host by SMTP.",
        f"{mend}: docs/no-outbound-smtp.md has the ways round it.",
    )


def _resend_finding(context: DoctorContext, resend: bool, working: list[str]) -> Finding:
    if resend:
        return say.ok("resend", "Resend's API answers.")
    uses = "resend" in context.config.channels.get("email", []) and "resend" not in working
    if not uses or "smtp" in working:
        return say.ok("resend", "Resend's API does not answer; mail leaves by another way.")
    return say.warn(
        "resend-blocked",
        "Resend's API does not answer.",
        "Mail cannot go through Resend.",
        "Allow outgoing TCP 443 to api.resend.com, or set [outbound] proxy; or use SMTP.",
    )


def _no_way(advice: MailAdvice, chain: list[str]) -> Finding:
    return say.warn(
        "mail-no-way-out",
        f"None of {', '.join(chain) or 'no notifiers'} in [channels] email can deliver as things are.",
        "Nobody is invited or alerted by mail. The first owner's link is in the log; webhooks work without mail.",
        f"{advice.why} Set up one of them (docs/alerts.md, docs/no-outbound-smtp.md), then: condev notify test email",
    )


def _smtp_words(advice: MailAdvice) -> str:
    if advice.smtp_port is None:
        return "."
    return f', with [plugins.smtp] port = {advice.smtp_port} and security = "{advice.smtp_security}".'
