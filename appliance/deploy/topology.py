"""Where the stack is reached, and whom its services believe about a client's address; the same for plan and render."""

from __future__ import annotations

import ipaddress
import json
from typing import Final
from urllib.parse import urlsplit

from appliance.config import Config
from appliance.deploy.plan import Setting

# Docker asks for an IPv6 network to be named; a local one out of the range for such (RFC 4193), random once.
IPV6_SUBNET: Final = "fd57:c0de:5a17::/64"
# Coolify chooses the networks itself, out of the private ranges. Nothing is published there, so that a peer with such
# an address is its proxy or one of the containers that it put beside ours.
PRIVATE_RANGES: Final = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fd00::/8")


def public_url(config: Config) -> str:
    """Where people reach the stack: `[site] url`, else the domain; "" when neither is known."""
    deploy = config.deploy
    if config.site.url:
        return config.site.url
    if not deploy.domain:
        return ""
    return f"{'http' if deploy.tls == 'off' and deploy.target == 'compose' else 'https'}://{deploy.domain}"


def domain(config: Config) -> str:
    """The host name that the stack answers to; "" when it answers to any."""
    if config.deploy.domain:
        return config.deploy.domain
    parts = urlsplit(config.site.url)
    return (parts.hostname or "") if parts.scheme == "https" and not _is_address(parts.hostname or "") else ""


def own_networks(config: Config) -> list[str]:
    """The subnets of the network condev."""
    return [config.deploy.subnet, *([IPV6_SUBNET] if config.deploy.ipv6 else [])]


def trusted_networks(config: Config) -> list[str]:
    """Whose X-Forwarded-For our services believe: our own proxy's network, and what the person named."""
    own = list(PRIVATE_RANGES) if config.deploy.target == "coolify" else own_networks(config)
    return own + [network for network in config.site.trusted_proxies if network not in own]


def topology_settings(config: Config) -> list[Setting]:
    """What ingest and core are told of the way to them."""
    settings = [
        Setting(
            part="config", name="site.trusted_proxies", value=json.dumps(trusted_networks(config)), unit="text",
            reason="X-Forwarded-For counts from these networks alone: the stack's own, and those of [site]",
        )
    ]  # fmt: skip
    url = public_url(config)
    if url and not config.site.url:
        settings.append(Setting(part="config", name="site.url", value=url, unit="text", reason="from [deploy] domain"))
    return settings


def check_topology(config: Config) -> list[str]:
    """What is wrong with `[deploy]` and `[site]`, a line each."""
    problems: list[str] = []
    try:
        network = ipaddress.ip_network(config.deploy.subnet)
        if not isinstance(network, ipaddress.IPv4Network) or network.prefixlen > 27 or not network.is_private:
            problems.append(f"[deploy] subnet: {network} is no private IPv4 network of at least 32 addresses (/27)")
    except ValueError:
        problems.append(f'[deploy] subnet: expected a network such as "172.30.57.0/24"; got {config.deploy.subnet!r}')
    for proxy in config.site.trusted_proxies:
        try:
            ipaddress.ip_network(proxy.strip(), strict=False)
        except ValueError:
            problems.append(f"[site] trusted_proxies: {proxy!r} is no address or network (10.0.0.0/8)")
    if not 1 <= config.deploy.port <= 65535:
        problems.append(f"[deploy] port: expected 1 to 65535; got {config.deploy.port}")
    stated = urlsplit(config.site.url).hostname
    named = config.deploy.domain
    if stated and named and stated != named:
        problems.append(f"[deploy] domain is {named!r}, but [site] url leads to {stated!r}: make them the same")
    if config.deploy.tls == "internal" and not domain(config):
        problems.append('[deploy] tls = "internal" needs a name to certify: set [deploy] domain')
    return problems


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
