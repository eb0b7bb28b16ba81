"""For a tunnel: what the CDN answers when the appliance behind it cannot be reached, as a Cloudflare Worker."""

from __future__ import annotations

import json
from collections.abc import Sequence

from appliance.deploy.render.caddy import RETRY_SECONDS, away_words
from appliance.deploy.render.text import template
from appliance.hookspecs import Protocol


def cdn_files(protocols: Sequence[Protocol], script: str) -> dict[str, str]:
    """The Worker's source; docs/tunnel.md says where it goes. `script`: `[sdk] script`."""
    stem = script.removesuffix(".js")
    away = [
        {
            "pattern": words.pattern,
            "status": words.status,
            "headers": dict(words.headers),
            "body": words.body,
            "methods": words.methods,
        }
        for words in away_words(protocols)
    ]
    page = template("unavailable.html", site_name="The dashboard", retry=RETRY_SECONDS)
    return {
        "cdn/worker.js": template(
            "worker.js.j2",
            away=json.dumps(away, indent=2),
            page=json.dumps(page),
            retry=RETRY_SECONDS,
            folders="|".join(dict.fromkeys(("static", "sdk", "sdk-errors", stem, f"{stem}-errors"))),
        )
    }
