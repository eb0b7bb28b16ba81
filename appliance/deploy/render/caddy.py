"""The Caddyfile: what goes where, what is answered while a service is away, who is believed about addresses."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from appliance.config import KIB, MIB, Config
from appliance.deploy.plan import Plan
from appliance.deploy.render.paths import path_pattern, sdk_pattern
from appliance.deploy.render.text import template
from appliance.deploy.topology import domain, own_networks
from appliance.hookspecs import Protocol, Verdict, VerdictKind
from appliance.ingest.answers import cors_headers
from appliance.model import Category

# What a service takes to come back after a restart: ingest 2 s, core 5 to 10.
RETRY_SECONDS: Final = 10
# Of a form or an API call, as core itself allows (a test holds the two together); a page is never posted.
CORE_BODY: Final = 1 * MIB
# On top of ingest's own limits: whatever is over them is refused by ingest, in its protocol's own words.
BODY_MARGIN: Final = 64 * KIB


class Away(Struct, frozen=True):
    """How a protocol tells its SDK that ingest is away."""

    name: str
    pattern: str
    status: int
    headers: tuple[tuple[str, str], ...]
    body: str
    methods: str


def caddyfile(config: Config, plan: Plan, protocols: Sequence[Protocol]) -> str:
    """Write the Caddyfile of a plan's target."""
    behind = plan.target in ("behind-proxy", "tunnel")
    host = domain(config)
    tls = "off" if behind or not host else config.deploy.tls
    address = ":80" if behind or not host else f"http://{host}" if tls == "off" else host
    trusted = (own_networks(config) if behind else []) + config.site.trusted_proxies
    return template(
        "Caddyfile.j2",
        target=plan.target,
        address=address,
        tls=tls,
        trusted=list(dict.fromkeys(trusted)),
        away=away_words(protocols),
        sdk=sdk_pattern(config.sdk.script),
        quoted=quoted,
        ingest_body=max(config.ingest.max_body, config.ingest.max_compressed_body) + BODY_MARGIN,
        core_body=CORE_BODY,
        retry=RETRY_SECONDS,
        site_name=_plain(config.site.name),
    )


def away_words(protocols: Sequence[Protocol]) -> list[Away]:
    """What each protocol's clients are told while ingest is away."""
    return [_away(protocol) for protocol in protocols]


def _away(protocol: Protocol) -> Away:
    """Ask the protocol how it words "overloaded": its SDKs know what to make of that."""
    route = next((route for route in protocol.routes if route.takes_body), protocol.routes[0])
    verdict = Verdict(
        kind=VerdictKind.OVERLOADED,
        route=route.name,
        category=Category.ERROR,
        retry_after=RETRY_SECONDS,
        detail="The appliance restarts; try again in a moment.",
    )
    answer = protocol.answer(verdict)
    headers = [(name.decode(), value.decode()) for name, value in cors_headers(protocol)]
    headers += [("content-type", answer.content_type), *answer.headers]
    methods = sorted({method for route in protocol.routes for method in route.methods} | {"OPTIONS"})
    return Away(
        name=re.sub(r"[^a-z0-9_]", "_", protocol.name.lower()),
        pattern=path_pattern(protocol),
        status=answer.status,
        headers=tuple((name.lower(), value) for name, value in headers),
        body=answer.body.decode("utf-8", "replace"),
        methods=", ".join(methods),
    )


def quoted(text: str) -> str:
    """A Caddyfile token: in backquotes, which escape nothing, or in quotes when it holds one."""
    flat = " ".join(text.split())
    if "`" not in flat:
        return f"`{flat}`"
    return '"' + flat.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _plain(text: str) -> str:
    """A text that can stand in HTML and cannot be taken for one of Caddy's placeholders."""
    return re.sub(r"[<>&{}`\"']", "", text)
