"""Whether the domain leads here: what its name resolves to, and a request to each address that only we can answer.

Before there is a stack, a listener on port 80 answers for some seconds; with one, /healthz proves that it is ours.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import secrets
from typing import Final, Literal

from appliance.deploy.doctor.context import DoctorContext
from appliance.deploy.doctor.engine_api import EngineError
from appliance.deploy.doctor.findings import Finding, Reporter
from appliance.deploy.doctor.knock import PROOF_PATH, Answered, ask, listener
from appliance.deploy.doctor.ports import listeners, publisher
from appliance.deploy.topology import domain as domain_of
from appliance.instance import prove

say: Final = Reporter("network")

# unproven: somebody answers who may be we: our own proxy or a CDN in front of what is down, or not started yet.
Seen = Literal["ours", "ours, untrusted", "unproven", "stranger", "silent"]
DNS_MEND: Final = "At whoever keeps your DNS: an A record of {domain} with this machine's public address."
OUTSIDE: Final = "This was asked from the machine itself: whether your provider's firewall lets others in is not seen."


async def check_domain(context: DoctorContext) -> list[Finding]:
    """`[deploy] domain` resolves, and each of its addresses leads here."""
    domain = _as_in_dns(domain_of(context.config))
    if not domain or _is_address(domain) or context.config.deploy.target not in {"compose", "behind-proxy"}:
        return []
    try:
        async with asyncio.timeout(context.probes.seconds):
            addresses = list(await context.resolver(domain, context.probes.http_port))
    except OSError as error:
        return [
            say.error(
                "domain-unresolved",
                f"{domain} has no address: {error.strerror or 'no answer from DNS'}.",
                "No browser finds the appliance, and no certificate is issued.",
                DNS_MEND.format(domain=domain) + " It may take minutes until it is seen.",
            )
        ]
    seen = await _look(context, domain, addresses)
    own = own_addresses(context)
    if seen is None:
        return [_by_address_alone(domain, addresses, own)]
    return _judged(domain, seen, own)


CHECKS: Final = (check_domain,)


def own_addresses(context: DoctorContext) -> frozenset[str]:
    """The addresses of this host's interfaces, loopback among them."""
    found: set[str] = set()
    address = ""
    for line in context.text("proc/net/fib_trie").splitlines():
        if match := re.match(r"\s*\|-- ([\d.]+)", line):
            address = match[1]
        elif "/32 host LOCAL" in line:
            found.add(address)
    for line in context.text("proc/net/if_inet6").splitlines():
        digits = line.split(" ", 1)[0]
        if len(digits) == 32:
            found.add(str(ipaddress.IPv6Address(int(digits, 16))))
    return frozenset(found)


async def _look(context: DoctorContext, domain: str, addresses: list[str]) -> dict[str, Seen] | None:
    """Address → who answers there; None when it cannot be tried."""
    if await _is_ours(context):
        return dict(
            zip(addresses, await asyncio.gather(*(_ask_stack(context, domain, one) for one in addresses)), strict=True)
        )
    if context.config.deploy.target != "compose" or _is_taken(context):
        return None
    token = secrets.token_hex(16)
    try:
        async with listener(context.probes.listen, context.probes.http_port, token) as port:
            found = await asyncio.gather(*(_ask_listener(context, domain, one, port, token) for one in addresses))
    except OSError:  # not root: ports below 1024 are not ours
        return None
    return dict(zip(addresses, found, strict=True))


async def _is_ours(context: DoctorContext) -> bool:
    try:
        container = publisher(await context.engine_facts(), context.probes.http_port)
    except EngineError:
        return False
    return container is not None and container.project == context.project


def _is_taken(context: DoctorContext) -> bool:
    return any(one.port == context.probes.http_port for one in listeners(context))


async def _ask_listener(context: DoctorContext, domain: str, address: str, port: int, token: str) -> Seen:
    try:
        answer = await ask(address, port, domain, f"{PROOF_PATH}{token}", seconds=context.probes.seconds)
    except OSError:
        return "silent"
    if token.encode() in answer.body:
        return "ours"
    return "unproven" if _proves_nothing(answer) else "stranger"


async def _ask_stack(context: DoctorContext, domain: str, address: str) -> Seen:
    """Over HTTPS, else over HTTP: a stack without a certificate yet, or one that was told to do without."""
    nonce = secrets.token_hex(16)
    try:
        expected = prove(context.data_dir, nonce)
    except OSError:  # a stack of before it had a key: nothing to tell it by
        return "unproven"
    for port, tls in ((context.probes.https_port, True), (context.probes.http_port, False)):
        path = f"/healthz?nonce={nonce}"
        try:
            answer = await ask(address, port, domain, path, tls=tls, seconds=context.probes.seconds / 2)
        except OSError:
            continue
        if expected.encode() in answer.body:
            return "ours" if answer.trusted else "ours, untrusted"
        return "unproven" if _proves_nothing(answer) else "stranger"
    return "unproven"  # a proxy of ours that is down, or an address that is another's


def _proves_nothing(answer: Answered) -> bool:
    """A proxy in front of a service that is down, or on its way to HTTPS; an appliance from before the proof."""
    return answer.status >= 500 or 300 <= answer.status < 400 or b'"ok":true' in answer.body


def _judged(domain: str, seen: dict[str, Seen], own: frozenset[str]) -> list[Finding]:
    ours = [address for address, who in seen.items() if who.startswith("ours")]
    strangers = [address for address, who in seen.items() if who == "stranger"]
    silent = [address for address, who in seen.items() if who == "silent"]
    findings: list[Finding] = []
    unproven = [address for address, who in seen.items() if who == "unproven"]
    others = [*strangers, *silent, *unproven]
    if ours and others:
        findings.append(
            say.warn(
                "domain-partly-elsewhere",
                f"{domain} leads here at {', '.join(ours)}, but not at {', '.join(others)}.",
                "Some visitors, and the authority that issues certificates (it prefers IPv6), end up there.",
                f"Remove the record of {', '.join(others)} (an AAAA record, if it has colons), or let it lead here.",
            )
        )
    elif strangers:
        findings.append(
            say.error(
                "domain-answers-elsewhere",
                f"{domain} leads to {', '.join(strangers)}, where another server answers.",
                "Nobody reaches this appliance under its name, and no certificate is issued.",
                DNS_MEND.format(domain=domain) + " If a CDN stands in between, let it pass HTTP to this machine.",
            )
        )
    elif unproven:
        findings.append(_not_reached(domain, unproven))
    elif silent:
        findings.append(_by_address_alone(domain, silent, own, tried=True))
    else:
        findings.append(say.ok("domain", f"{domain} is {', '.join(ours)}, and leads here. {OUTSIDE}"))
    if any(who == "ours, untrusted" for who in seen.values()):
        findings.append(_untrusted(domain))
    return findings


def _untrusted(domain: str) -> Finding:
    return say.warn(
        "certificate-not-trusted",
        f"The certificate that this stack shows for {domain} is not one that browsers trust.",
        "Browsers warn, and SDKs in pages cannot send anything.",
        "Right after the first start, wait a minute. Then look for what the authority answered: condev logs caddy",
    )


def _by_address_alone(domain: str, addresses: list[str], own: frozenset[str], *, tried: bool = False) -> Finding:
    here = [address for address in addresses if address in own]
    public = sorted(address for address in own if _is_public(address))
    if len(here) == len(addresses) and not tried:
        return say.ok("domain", f"{domain} is {', '.join(addresses)}, this machine's own. It was not asked over HTTP.")
    if not here and public:
        return say.error(
            "domain-points-elsewhere",
            f"{domain} is {', '.join(addresses)}; this machine is {', '.join(public)}.",
            "Nobody reaches this appliance under its name, and no certificate is issued.",
            DNS_MEND.format(domain=domain),
        )
    return _not_reached(domain, addresses)


def _not_reached(domain: str, addresses: list[str]) -> Finding:
    return say.warn(
        "domain-not-reached",
        f"{domain} is {', '.join(addresses)}; whether that leads here could not be seen from this machine.",
        "If it does not, nobody reaches the appliance and no certificate is issued. Behind a router that does not send"
        " its own people back (no hairpin NAT), this is normal.",
        "Open TCP 80 and 443 to this machine in your provider's firewall, and try the address from elsewhere.",
    )


def _as_in_dns(name: str) -> str:
    """A name with other letters in the form that DNS and HTTP have for it; one without such a form as it is."""
    try:
        return name.encode("idna").decode("ascii")
    except UnicodeError:  # a label that is empty or too long: DNS says that there is none
        return name.encode("ascii", "replace").decode("ascii")


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return False
    return True


def _is_public(address: str) -> bool:
    return ipaddress.ip_address(address).is_global
