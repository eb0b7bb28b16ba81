"""How long the certificate of the site is valid, by a TLS handshake with it. It is trusted for its dates, no more.

Nothing is sent and nothing is believed: who answers, and whether browsers would trust the certificate, is not judged
here (`condev doctor` does that). A site behind an address that the core cannot reach stays unknown.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct

from appliance.model import MICROSECONDS

HANDSHAKE_SECONDS: Final = 10.0
_EXPIRED: Final = 10  # OpenSSL's X509_V_ERR_CERT_HAS_EXPIRED
_NOT_YET: Final = 9  # X509_V_ERR_CERT_NOT_YET_VALID


class Certificate(Struct, frozen=True, kw_only=True):
    """What the handshake showed. Times are µs; 0 where an expired certificate did not tell."""

    host: str
    checked_at: int
    not_before: int = 0
    not_after: int = 0
    is_expired: bool = False


class CertificateUnknownError(Exception):
    """There was no handshake; the text says why."""


async def read_certificate(url: str, now: int, *, seconds: float = HANDSHAKE_SECONDS) -> Certificate | None:
    """Ask the site for its certificate.

    Args:
        url: `site.url`.
        now: µs.
        seconds: for each of two handshakes.

    Returns:
        None for a site without https.

    Raises:
        CertificateUnknownError: nobody answers there, or not with TLS.
    """
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname:
        return None
    host, port = parts.hostname, parts.port or 443
    try:
        leaf = await _leaf(host, port, seconds)
        return await _dates(host, port, leaf, now, seconds)
    except TimeoutError:
        raise CertificateUnknownError(f"{host}:{port} did not finish a TLS handshake within {seconds:g} s") from None
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise CertificateUnknownError(f"no TLS handshake with {host}:{port}: {error}") from error


async def _leaf(host: str, port: int, seconds: float) -> bytes:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    transport = await _handshake(host, port, context, seconds)
    return transport.getpeercert(binary_form=True) or b""


async def _dates(host: str, port: int, leaf: bytes, now: int, seconds: float) -> Certificate:
    """Once more, with that very certificate as the only authority: then the ssl module tells what it says."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # a leaf may be the anchor
    context.load_verify_locations(cadata=leaf)
    try:
        transport = await _handshake(host, port, context, seconds)
    except ssl.SSLCertVerificationError as error:
        if error.verify_code in (_EXPIRED, _NOT_YET):
            return Certificate(host=host, checked_at=now, is_expired=error.verify_code == _EXPIRED)
        raise
    said = transport.getpeercert() or {}
    return Certificate(
        host=host, checked_at=now, not_before=_time(said.get("notBefore")), not_after=_time(said.get("notAfter"))
    )


async def _handshake(host: str, port: int, context: ssl.SSLContext, seconds: float) -> ssl.SSLObject:
    async with asyncio.timeout(seconds):
        _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=host)
    try:
        found: object = writer.get_extra_info("ssl_object")
        if not isinstance(found, ssl.SSLObject):
            raise CertificateUnknownError(f"{host}:{port} speaks no TLS")
        return found
    finally:
        writer.transport.abort()  # nothing was said that an orderly end would save


def _time(text: object) -> int:
    return int(ssl.cert_time_to_seconds(text)) * MICROSECONDS if isinstance(text, str) else 0
