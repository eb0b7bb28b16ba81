"""Addresses of a project: its DSNs, the snippets to paste, and the web origins that may send to it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from html import escape
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from msgspec import Struct

from appliance.config import Sdk
from appliance.web.sdk_files import ENTRY, SdkBuild

DEFAULT_PATH: Final = "v2"  # of our SDK's endpoint
MAX_ORIGINS: Final = 50  # looked through at each request that names none of them exactly
MAX_ORIGIN: Final = 300  # characters: a scheme, a host name of 253, a port
_IMPORT: Final = "import * as Sentry from '@sentry/browser';"
# From a timer: what is thrown in the console itself never reaches the page's handlers.
_THROW: Final = "setTimeout(() => { throw new Error('Hello, monitor'); });"
SENTRY_VERSION: Final = "10"  # the major version of @sentry/browser that the snippet names
_HOST: Final = re.compile(r"(\*\.)?[a-z0-9]([a-z0-9-]{0,62}\.)*[a-z0-9-]{0,62}|\[[0-9a-f:.]{2,45}\]")


class Addresses(Struct, frozen=True, kw_only=True):
    """Where SDKs send to, for one key."""

    dsn: str  # for Sentry's SDKs
    condev_dsn: str  # for the earlier condev SDK
    sdk_dsn: str  # for ours


class SdkScript(Struct, frozen=True, kw_only=True):
    """Our SDK's script, as this appliance serves it."""

    url: str  # short: the newest
    pinned: str  # of one version; "" where the SDK was not built
    integrity: str
    path: str  # the endpoint's name when it is not the usual one, else ""


class Snippet(Struct, frozen=True, kw_only=True):
    """Something to paste."""

    title: str
    steps: tuple[tuple[str, str], ...]  # pairs of what to do and the text to copy
    instead: tuple[tuple[str, str], ...] = ()  # other ways to take the first step


def addresses(site_url: str, project_id: int, key: str, path: str = DEFAULT_PATH) -> Addresses:
    """The forms of a DSN.

    Args:
        site_url: where browsers reach the appliance; may have a path.
        project_id: the number in Sentry's form.
        key: an ingest key.
        path: the name of our SDK's endpoint.
    """
    site = urlsplit(site_url.rstrip("/"))
    dsn = urlunsplit((site.scheme, f"{key}@{site.netloc}", f"{site.path}/{project_id}", "", ""))
    base = site_url.rstrip("/")
    return Addresses(dsn=dsn, condev_dsn=f"{base}/tracking/{key}", sdk_dsn=f"{base}/{path}/{key}")


def sdk_script(sdk_dsn: str, names: Sdk, build: SdkBuild | None) -> SdkScript:
    """Where our SDK's script is.

    Args:
        sdk_dsn: of the same site.
        names: `[sdk]`.
        build: what is served; None where it was not built.
    """
    base = sdk_dsn.rsplit("/", 2)[0]
    stem = names.script.removesuffix(".js")
    return SdkScript(
        url=f"{base}/{names.script}",
        pinned=f"{base}/{stem}/{build.version}/{names.script}" if build else "",
        integrity=build.integrity[ENTRY] if build else "",
        path=names.path if names.path != DEFAULT_PATH else "",
    )


def _own(found: Addresses, script: SdkScript) -> Snippet:
    """Our own SDK: one tag; or the same pinned, or the package."""
    attributes = f'data-dsn="{escape(found.sdk_dsn)}"'
    if script.path:
        attributes += f' data-path="{escape(script.path)}"'
    path = f"\n  path: {json.dumps(script.path)}," if script.path else ""
    options = f"dsn: {json.dumps(found.sdk_dsn)},{path}\n  release: 'my-app@1.0.0',\n  environment: 'production',"
    code = f"import {{ init }} from '@condev-monitor/browser';\n\ninit({{\n  {options}\n}});"
    instead = [("In a bundle: npm install of the folder sdk/ of the appliance’s source, then", code)]
    if script.pinned:
        trusted = f'integrity="{script.integrity}"\n  crossorigin="anonymous"'
        pinned = f'<script src="{escape(script.pinned)}"\n  {trusted}\n  {attributes} defer></script>'
        instead.insert(0, ("This exact version, which the browser checks and this appliance keeps serving", pinned))
    return Snippet(
        title="Condev Monitor’s own SDK",
        steps=(
            (
                "Put this into the page, before its other scripts",
                f'<script src="{escape(script.url)}"\n  {attributes} defer></script>',
            ),
            ("Throw an error to see it arrive: in the page, or in the browser’s console", _THROW),
        ),
        instead=tuple(instead),
    )


def snippets(found: Addresses, script: SdkScript) -> tuple[Snippet, ...]:
    """What to paste into the monitored application, for each SDK that the appliance understands."""
    options = f"dsn: {json.dumps(found.dsn)},\n  release: 'my-app@1.0.0',\n  environment: 'production',"
    init = f"Sentry.init({{\n  {options}\n}});"
    return (
        _own(found, script),
        Snippet(
            title="Sentry’s browser SDK",
            steps=(
                ("Install it", f"npm install @sentry/browser@{SENTRY_VERSION}"),
                ("Call it before anything else in your application", f"{_IMPORT}\n\n{init}"),
                ("Throw an error to see it arrive: in the page, or in the browser’s console", _THROW),
            ),
        ),
        Snippet(title="The earlier condev SDK", steps=(("Give it this DSN", found.condev_dsn),)),
    )


def parse_origins(text: str) -> tuple[list[str], str]:
    """Read what a person typed: one origin a line.

    Returns:
        The origins in their plain form (empty input is "*": every origin), and what is wrong in a sentence, or "".
    """
    lines = [line.strip() for line in text.replace(",", "\n").splitlines() if line.strip()]
    if len(lines) > MAX_ORIGINS:
        return [], f"At most {MAX_ORIGINS} lines: use https://*.example.com for all sub-domains of one."
    origins: list[str] = []
    for line in lines:
        origin, problem = _origin(line)
        if problem:
            return [], problem
        if origin not in origins:
            origins.append(origin)
    return origins or ["*"], ""


def join_origins(origins: Sequence[str]) -> str:
    """As the column holds them."""
    return "\n".join(origins)


def _origin(line: str) -> tuple[str, str]:
    if line == "*":
        return "*", ""
    shown = line if len(line) <= MAX_ORIGIN else f"{line[:40]}…"
    try:
        parts = urlsplit(line.lower())
        port, host = parts.port, _ascii(parts.hostname or "")
    except ValueError:
        return "", f"“{shown}” is not an origin: its port is no number below 65536, or its host is broken."
    problem = ""
    if parts.scheme not in ("http", "https") or not host:
        problem = "needs a scheme and a host, like https://shop.example.com."
    elif parts.path not in ("", "/") or parts.query or parts.fragment or parts.username is not None:
        problem = "says more than an origin: leave out what follows the host, as in https://shop.example.com."
    elif len(line) > MAX_ORIGIN or _HOST.fullmatch(host) is None:
        problem = "has no valid host; a * may only stand for sub-domains, as in https://*.example.com."
    if problem:
        return "", f"“{shown}” {problem}"
    default = {"http": 80, "https": 443}[parts.scheme]  # browsers leave the usual port out of Origin
    return f"{parts.scheme}://{host}{f':{port}' if port is not None and port != default else ''}", ""


def _ascii(host: str) -> str:
    """As browsers write it in Origin: punycode, IPv6 in brackets."""
    if ":" in host:
        return f"[{host}]"
    return host if host.isascii() else host.encode("idna").decode()
