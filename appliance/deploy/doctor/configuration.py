"""What can be said of the configuration before anything is started: addresses, sender, channels, secrets."""

from __future__ import annotations

import os
import re
import stat
from email.utils import parseaddr
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import urlsplit

from appliance.config_shown import exposed_secrets
from appliance.deploy.doctor.context import DoctorContext
from appliance.deploy.doctor.findings import Finding, Reporter
from appliance.deploy.render.state import APPLIANCE_USER
from appliance.deploy.topology import public_url

say: Final = Reporter("configuration")

# Mail that claims to come from these and does not is refused everywhere (DMARC); nobody can verify them at Resend.
FREE_MAIL: Final = frozenset({
    "gmail.com", "googlemail.com", "outlook.com", "hotmail.com", "live.com", "yahoo.com", "icloud.com", "aol.com",
    "gmx.de", "gmx.net", "web.de", "proton.me", "protonmail.com", "qq.com", "163.com", "126.com", "foxmail.com",
    "sina.com", "mail.ru", "yandex.ru",
})  # fmt: skip
NO_MAIL_DOMAINS: Final = ("localhost", "local", "internal", "invalid", "example", "test", "lan")
SENDER_MEND: Final = (
    '[mail] from = "Condev Monitor <monitor@your-domain>", with a domain that your mail provider sends for.'
)
NEEDED_SECRET: Final = re.compile(r"\$\{(\w+):?\?")  # ${NAME:?why} in compose.yaml: Compose refuses to start without


async def check_file(context: DoctorContext) -> list[Finding]:
    """config.toml and every plugin's table can be read; secrets in it are not for others."""
    findings = [
        say.error(
            "config-invalid",
            problem,
            "Nothing starts with this configuration.",
            "Mend the key; `condev config check` says whether all is right.",
        )
        for problem in context.config_problems
    ]
    findings += [
        say.warn(
            "secret-in-clear",
            problem.partition("; ")[0] + ".",
            "Every user of this host can use it.",
            'chmod 600 on the file, or keep the secret in .env: { env = "NAME" }.',
        )
        for problem in (exposed_secrets(context.config) if context.config.source is not None else [])
    ]
    return findings or [say.ok("config", f"{context.config.source or 'The defaults'}: all right.")]


async def check_address(context: DoctorContext) -> list[Finding]:
    """Links in mail and SDKs' addresses are made of the public address: `[site] url`, else the domain."""
    url = public_url(context.config)
    if not url:
        return [
            say.warn(
                "site-url-missing",
                "Neither [site] url nor [deploy] domain is set.",
                "Links in mail and SDKs' addresses name this machine as it sees itself, which others cannot.",
                '[deploy] domain = "monitor.example.com", or [site] url = "https://monitor.example.com"',
            )
        ]
    host = urlsplit(url).hostname or ""
    if not url.startswith("https:") and not _is_local(host):
        return [
            say.warn(
                "site-url-insecure",
                f"The appliance is reached at {url}.",
                "Passwords and session cookies cross the network in clear, and pages under https cannot send events.",
                f'[site] url = "https://{host}"; HTTPS is automatic with [deploy] domain and tls = "auto".',
            )
        ]
    return [say.ok("site-url", f"{url}.")]


async def check_sender(context: DoctorContext) -> list[Finding]:
    """`[mail] from` is an address that mail servers accept as a sender."""
    sender = parseaddr(context.config.mail.sender)[1]
    domain = sender.rpartition("@")[2].lower().rstrip(".")
    if not sender or "@" not in sender:
        return [
            say.warn(
                "mail-sender-invalid",
                f"[mail] from is {context.config.mail.sender!r}, which is not a mail address.",
                "No mail server takes mail without a sender.",
                SENDER_MEND,
            )
        ]
    if domain.rpartition(".")[2] in NO_MAIL_DOMAINS:
        return [
            say.warn(
                "mail-sender-local",
                f"[mail] from is {sender}, which is no address of the Internet.",
                "Mail servers refuse it, or put it with the unwanted.",
                SENDER_MEND,
            )
        ]
    if domain in FREE_MAIL:
        return [
            say.warn(
                "mail-sender-freemail",
                f"[mail] from is {sender}, an address of {domain}.",
                f"{domain} tells everybody to refuse mail that others send in its name; Resend does not take it.",
                "Use a domain of your own. With SMTP, the provider's own account and the same address work.",
            )
        ]
    return [say.ok("mail-sender", f"{sender}.")]


async def check_channels(context: DoctorContext) -> list[Finding]:
    """Every channel names notifiers that exist, and one of them at least is configured."""
    if context.notifiers is None:
        return []  # why they could not be loaded is among the problems of the file
    findings: list[Finding] = []
    for channel, chain in context.config.channels.items():
        findings += [
            say.error(
                "channel-unknown-notifier",
                f"[channels] {channel} names {name}, and no plugin has a notifier of that name.",
                "Nothing is delivered through it.",
                f"There are: {', '.join(sorted(context.notifiers))}. A plugin goes into [plugins] install.",
            )
            for name in chain
            if name not in context.notifiers
        ]
        known = {name: context.notifiers[name].configured() for name in chain if name in context.notifiers}
        if known and all(known.values()):
            findings.append(
                say.warn(
                    "channel-unusable",
                    f"No notifier of [channels] {channel} is configured.",
                    "Alerts that go through it are kept in the delivery log and reach nobody.",
                    " ".join(known.values()),
                )
            )
        elif known:
            ready = [name for name, problem in known.items() if not problem]
            findings.append(say.ok("channel", f"{channel}: {', '.join(ready)} configured."))
    return findings


async def check_secrets(context: DoctorContext) -> list[Finding]:
    """Every secret that compose.yaml asks for is in .env, and .env is for its owner alone."""
    place = str(context.directory / ".env")
    compose = context.text(str(context.directory / "compose.yaml"))
    if not compose:
        return []  # nothing is installed yet: secrets are written then
    found = {
        line.partition("=")[0].removeprefix("export ").strip()
        for line in context.text(place).splitlines()
        if "=" in line and line.partition("=")[2].strip() and not line.lstrip().startswith("#")
    }
    found |= {name for name, value in context.environ.items() if value}
    missing = sorted(set(NEEDED_SECRET.findall(compose)) - found)
    findings: list[Finding] = []
    if missing:
        findings.append(
            say.error(
                "secret-missing",
                f"{place} lacks {', '.join(missing)}, which compose.yaml asks for.",
                "Compose refuses to start the stack.",
                "Put back the .env of your backup: new values would not open what the old ones closed.",
            )
        )
    if context.exists(place) and context.on_host(place).stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        findings.append(
            say.warn(
                "secrets-readable",
                f"{place} can be read by other users of this host.",
                "They can act as the appliance: databases, mail, backups.",
                f"chmod 600 {place}",
            )
        )
    return findings or [say.ok("secrets", f"All that compose.yaml asks for is in {place}.")]


async def check_backups(context: DoctorContext) -> list[Finding]:
    """`[backup] directory`, where it is one of the host's, is there and the core may write in it."""
    place = PurePosixPath(context.config.backup.directory)
    if not place.is_absolute() or place.is_relative_to("/data"):
        return []
    try:
        found = context.on_host(str(place)).stat()
    except OSError:
        found = None
    if found is None or not stat.S_ISDIR(found.st_mode) or not _may_write(found):
        lack = "is not there" if found is None else f"is no directory that the user {APPLIANCE_USER} may write in"
        return [
            say.warn(
                "backup-directory-unusable",
                f"[backup] directory, {place}, {lack}.",
                "The core does not start without it, and no backup is made.",
                f"mount its disk, then: install -d -o {APPLIANCE_USER} -g {APPLIANCE_USER} -m 700 {place}",
            )
        ]
    return [say.ok("backup-directory", f"{place}.")]


CHECKS: Final = (check_file, check_address, check_sender, check_channels, check_secrets, check_backups)


def _may_write(found: os.stat_result) -> bool:
    """By its mode, for the user of the services, which is in one group and has no other rights."""
    mode = found.st_mode
    if found.st_uid == APPLIANCE_USER:
        return mode & 0o300 == 0o300
    return mode & 0o030 == 0o030 if found.st_gid == APPLIANCE_USER else mode & 0o003 == 0o003


def _is_local(host: str) -> bool:
    return host in {"localhost", "127.0.0.1", "::1"} or host.endswith(".localhost")
