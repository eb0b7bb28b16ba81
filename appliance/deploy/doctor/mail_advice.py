"""Which way mail should leave this host, from what can be reached: a pure function, for doctor and the installer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from msgspec import Struct

from appliance.deploy.doctor.knock import Knocked

# In the order in which they are worth trying: the standard's own; TLS from the start; the spare that providers of
# mail offer because 587 is blocked so often; the one between servers, which wants a relay that knows this host.
PORTS: Final = (587, 465, 2525, 25)
SECURITY: Final[Mapping[int, Literal["starttls", "tls"]]] = {
    587: "starttls",
    465: "tls",
    2525: "starttls",
    25: "starttls",
}


class MailAdvice(Struct, frozen=True, kw_only=True):
    """Which notifiers mail should go through from here, in order; empty when there is no way out."""

    email: tuple[str, ...]
    smtp_port: int | None
    smtp_security: Literal["starttls", "tls", ""]
    why: str


def advise(ports: Mapping[int, Knocked], resend: bool) -> MailAdvice:
    """The chain for `[channels] email` that follows from what can be reached.

    Args:
        ports: SMTP port → what knocking there said.
        resend: whether Resend's API answers.
    """
    port = next((port for port in PORTS if ports.get(port) == "open"), None)
    if resend and port is not None:
        why = f"Both ways are open: Resend's API, and SMTP on port {port} when that fails."
    elif resend:
        why = "No SMTP port is open from here; Resend's API is."
    elif port is not None:
        why = f"Resend's API cannot be reached from here; SMTP on port {port} is open."
    else:
        why = "Neither SMTP nor Resend's API can be reached from here."
    return MailAdvice(
        email=(*(("resend",) if resend else ()), *(("smtp",) if port is not None else ())),
        smtp_port=port,
        smtp_security=SECURITY[port] if port is not None else "",
        why=why,
    )
