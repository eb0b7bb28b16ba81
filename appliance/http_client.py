"""The one guarded way out: bounded in time and size, and, for URLs that a person typed, never into private networks.

An untrusted URL is resolved here, every address that the name has is checked, and the connection goes to the checked
address itself (the certificate is still verified for the name): a name that answers differently the second time
leads nowhere. It is not a general HTTP client: no cookies, no streaming, no redirects to other hosts.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

import certifi
import httpx

from appliance.hookspecs import DeliveryError, HttpAnswer

Resolver: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]  # (host, port) → addresses
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_RESPONSE_BYTES: Final = 1024 * 1024  # replies of mail and chat services are a few KB; errors may be HTML pages
MAX_REDIRECTS: Final = 3  # http→https and a trailing slash are two
CONNECT_SECONDS: Final = 5.0  # a SYN and two retransmissions; a host that needs longer is down

# What `is_global` of the standard library lets through in some Python versions, or what wraps another address.
REFUSED: Final[tuple[Network, ...]] = tuple(
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.88.99.0/24", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4",
        "::/96", "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2002::/16", "fc00::/7",
        "fe80::/10", "fec0::/10", "ff00::/8",
    )
)  # fmt: skip


async def system_resolver(host: str, port: int) -> Sequence[str]:
    """Every address of a name, as the operating system knows it. Raises `OSError`."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def is_public(address: str) -> bool:
    """Whether an address is of the public internet: not private, loopback, link-local, multicast, nor wrapping one."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:  # "fe80::1%eth0" and the like
        return False
    if not parsed.is_global or parsed.is_multicast:
        return False
    return not any(parsed.version == network.version and parsed in network for network in REFUSED)


class _Clients(NamedTuple):
    trusted: httpx.AsyncClient
    pinned: httpx.AsyncClient  # keeps no connection: they are known by address alone, and two names may share one


class GuardedHttpClient:
    """Implements `hookspecs.HttpClient`. One for the whole process; `close()` at shutdown."""

    def __init__(
        self,
        *,
        proxy: str = "",
        allow_private: Sequence[str] = (),
        resolver: Resolver = system_resolver,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Open nothing yet.

        Args:
            proxy: `[outbound] proxy`; "" = none, whatever the environment says.
            allow_private: `[outbound] allow_private`: networks that untrusted URLs may lead to all the same.
            resolver: how names are looked up for untrusted URLs.
            tls: what certificates are checked against; None: the system's authorities and certifi's.
        """
        self._resolver = resolver
        self._allowed = tuple(ipaddress.ip_network(network, strict=False) for network in allow_private)
        self._proxy = proxy
        self._tls = tls
        self._made: _Clients | None = None

    async def close(self) -> None:
        """Close all connections."""
        if self._made is not None:
            await self._made.trusted.aclose()
            await self._made.pinned.aclose()

    @property
    def _clients(self) -> _Clients:
        """Made at the first request: to read the authorities takes longer than most verbs, which ask nobody."""
        if self._made is None:
            context = self._tls or _tls_context()
            self._made = _Clients(
                _client(self._proxy, context, keepalive=4), _client(self._proxy, context, keepalive=0)
            )
        return self._made

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        timeout: float = 10.0,
        trusted: bool = False,
    ) -> HttpAnswer:
        """Send one request; see `hookspecs.HttpClient.request`."""
        progress = _Progress()
        target = _parse(url)
        clients = self._clients  # the first time this takes a while, which is none of the other side's time
        try:
            async with asyncio.timeout(timeout):
                for _ in range(MAX_REDIRECTS + 1):
                    answer = await self._send(clients, method, target, dict(headers or {}), body, trusted, progress)
                    following = _redirect(method, target, answer)
                    if following is None:
                        return answer
                    target = following
        except TimeoutError as error:
            raise _timed_out(target, timeout, progress) from error
        except httpx.HTTPError as error:
            raise _failed(target, error, progress) from error
        raise DeliveryError(
            f"{target.host} redirected more than {MAX_REDIRECTS} times: use the final address.",
            retryable=False,
            stage="answer",
        )

    async def _send(
        self,
        clients: _Clients,
        method: str,
        url: httpx.URL,
        headers: dict[str, str],
        body: bytes,
        trusted: bool,
        progress: _Progress,
    ) -> HttpAnswer:
        client, target = clients.trusted, url
        extensions: dict[str, object] = {"trace": progress.trace}
        if not trusted:
            client, target = clients.pinned, url.copy_with(host=await self._checked_address(url))
            extensions["sni_hostname"] = url.raw_host.decode("ascii")
        names = {name.lower() for name in headers}
        if "host" not in names:
            headers["Host"] = url.netloc.decode("ascii")
        if "accept-encoding" not in names:
            headers["Accept-Encoding"] = "identity"  # a compressed reply could be a bomb
        request = client.build_request(method, target, headers=headers, content=body or None, extensions=extensions)
        response = await client.send(request, stream=True)
        try:
            received = bytearray()
            async for chunk in response.aiter_raw():
                received += chunk
                if len(received) >= MAX_RESPONSE_BYTES:
                    break
        finally:
            await response.aclose()
        answered = {name.lower(): value for name, value in response.headers.items()}
        return HttpAnswer(status=response.status_code, headers=answered, body=bytes(received[:MAX_RESPONSE_BYTES]))

    async def _checked_address(self, url: httpx.URL) -> str:
        host = url.raw_host.decode("ascii")
        try:
            addresses = await self._resolver(host, url.port or (443 if url.scheme == "https" else 80))
        except OSError as error:
            raise DeliveryError(
                f"The name {host} could not be resolved: {error}. Check the address.", stage="dns"
            ) from error
        if not addresses:
            raise DeliveryError(f"The name {host} has no address. Check the address.", stage="dns")
        for address in addresses:
            if not is_public(address) and not self._is_allowed(address):
                raise DeliveryError(
                    f"{host} leads to {address}, which is not a public address. If that is meant, put its network into"
                    " [outbound] allow_private in config.toml.",
                    retryable=False,
                    stage="dns",
                )
        return addresses[0]

    def _is_allowed(self, address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(parsed.version == network.version and parsed in network for network in self._allowed)


class _Progress:
    """How far a request came: decides whether it may have had its effect although nothing was answered."""

    def __init__(self) -> None:
        self.stage = "dns"
        self.sent = False

    async def trace(self, name: str, _info: Mapping[str, object]) -> None:
        """Called by httpcore."""
        if name.endswith("connect_tcp.started"):
            self.stage = "connect"
        elif name.endswith("start_tls.started"):
            self.stage = "tls"
        elif "send_request_headers.started" in name:
            self.stage, self.sent = "answer", True


def _client(proxy: str, context: ssl.SSLContext, *, keepalive: int) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        verify=context,
        proxy=proxy or None,
        trust_env=False,
        follow_redirects=False,
        timeout=httpx.Timeout(None, connect=CONNECT_SECONDS),  # the whole exchange has its own deadline
        limits=httpx.Limits(max_connections=20, max_keepalive_connections=keepalive, keepalive_expiry=30),
        headers={"User-Agent": "condev-monitor"},
    )


def _tls_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.load_verify_locations(cafile=certifi.where())  # slim images come without any authority
    return context


def _parse(url: str) -> httpx.URL:
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError) as error:
        raise DeliveryError(f"{url[:200]!r} is not an address: {error}.", retryable=False, stage="config") from error
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise DeliveryError(f"{url[:200]!r} is not an http or https address.", retryable=False, stage="config")
    if parsed.userinfo:
        raise DeliveryError(
            f"The address of {parsed.host} holds a user name or password: send those in a header.",
            retryable=False,
            stage="config",
        )
    return parsed


def _redirect(method: str, url: httpx.URL, answer: HttpAnswer) -> httpx.URL | None:
    """Where to go next; None when this is the answer."""
    location = answer.headers.get("location", "")
    if answer.status not in {301, 302, 303, 307, 308} or not location:
        return None
    if answer.status in {301, 302, 303} and method not in {"GET", "HEAD"}:
        return None  # following would turn it into a GET, which is not what was asked for
    following = _parse(str(url.join(location)))
    upgraded = url.scheme == "http" and following.scheme == "https" and following.port is None and url.port is None
    if following.host != url.host or not (upgraded or (following.scheme, following.port) == (url.scheme, url.port)):
        raise DeliveryError(
            f"{url.host} redirects to another server ({following.scheme}://{following.host}): use the final address.",
            retryable=False,
            stage="answer",
        )
    return following


def _timed_out(url: httpx.URL, seconds: float, progress: _Progress) -> DeliveryError:
    if progress.sent:
        text = f"{url.host} did not answer within {seconds:g} s; it may have taken the message all the same."
    else:
        text = f"{url.host} could not be reached within {seconds:g} s. Is it up, and does a firewall let us out?"
    return DeliveryError(text, ambiguous=progress.sent, stage=progress.stage)


def _failed(url: httpx.URL, error: httpx.HTTPError, progress: _Progress) -> DeliveryError:
    where = f"{url.host}:{url.port or (443 if url.scheme == 'https' else 80)}"
    causes = list(_causes(error))
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
        reason = next(cause for cause in causes if isinstance(cause, ssl.SSLCertVerificationError)).verify_message
        return DeliveryError(f"The certificate of {where} is not valid: {reason}.", stage="tls")
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return DeliveryError(f"The name {url.host} could not be resolved. Check the address and the DNS.", stage="dns")
    if isinstance(error, httpx.LocalProtocolError):
        return DeliveryError(f"The request to {where} could not be written: {error}.", retryable=False, stage="config")
    if progress.sent:
        return DeliveryError(
            f"{where} ended the connection without a proper answer ({_words(causes)}); it may have taken the message.",
            ambiguous=True,
            stage="answer",
        )
    stage = "tls" if progress.stage == "tls" else "connect"
    return DeliveryError(f"{where} could not be reached: {_words(causes)}.", stage=stage)


def _causes(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in found:
        found.append(following)
        following = following.__cause__ or following.__context__
    return found


def _words(causes: Sequence[BaseException]) -> str:
    for cause in reversed(causes):
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
    return next((str(cause) for cause in reversed(causes) if str(cause)), type(causes[0]).__name__)
