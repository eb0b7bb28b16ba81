"""Whose request it is: the client's address behind the proxies that `site.trusted_proxies` names.

Shared by ingest and the dashboard. The server must not rewrite the peer itself (uvicorn: proxy_headers=False).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Final, TypeAlias

MAX_HOPS: Final = 16  # entries of X-Forwarded-For that are looked at, from the right; more are a forger's
MAX_CACHED: Final = 4_096

_Network: TypeAlias = "ipaddress.IPv4Network | ipaddress.IPv6Network"


class TrustedProxies:
    """Finds the client's address."""

    def __init__(self, networks: Sequence[str]) -> None:
        """Args: networks: addresses or networks, as in config.toml.

        Raises:
            ValueError: one of them is neither; the text names it.
        """
        self._networks: list[_Network] = []
        for text in networks:
            try:
                self._networks.append(ipaddress.ip_network(text.strip(), strict=False))
            except ValueError as error:
                raise ValueError(f"[site] trusted_proxies: {text!r} is no address or network (10.0.0.0/8)") from error
        self._cache: dict[str, bool] = {}

    def trusts(self, address: str) -> bool:
        """Whether this peer's X-Forwarded-For is believed."""
        if not self._networks:
            return False
        known = self._cache.get(address)
        if known is None:
            if len(self._cache) >= MAX_CACHED:
                self._cache.clear()
            known = self._cache[address] = self._look_up(address)
        return known

    def client(self, peer: str, forwarded_for: str) -> str:
        """The address of the client: the rightmost one in the chain that is none of our proxies.

        Args:
            peer: who is connected; "" over a Unix socket, which is trusted when any proxy is.
            forwarded_for: all X-Forwarded-For headers, joined with commas in their order.

        Returns:
            The address, normalised; the peer itself when it is not trusted or says nothing sensible.
        """
        if not forwarded_for or not (self.trusts(peer) if peer else self._networks):
            return peer
        found = peer
        for entry in reversed(forwarded_for.rsplit(",", MAX_HOPS)[-MAX_HOPS:]):
            address = parse_address(entry)
            if not address:
                break
            found = address
            if not self.trusts(address):
                break
        return found

    def _look_up(self, text: str) -> bool:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        address = mapped or address
        return any(address.version == network.version and address in network for network in self._networks)


def parse_address(text: str) -> str:
    """An address as proxies write it (spaces, port, brackets), normalised; "" when it is none."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return ""
    return str(getattr(address, "ipv4_mapped", None) or address)


def rate_key(address: str) -> str:
    """What is counted as one sender: an IPv4 address, or the /64 that one IPv6 customer has for himself."""
    if ":" not in address:
        return address
    try:
        network = ipaddress.ip_network((address.partition("%")[0], 64), strict=False)
    except ValueError:
        return address
    return str(network.network_address)
