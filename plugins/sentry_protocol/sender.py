"""Who sent a record and when, by its own account: what the items of one request share."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final
from urllib.parse import parse_qsl

from msgspec import Struct

from appliance.decoding import ClientClock, cut, hex_id, line, parse_seconds, text
from appliance.model import MAX_LABEL, MAX_URL, Json, JsonObject, Record

_CLIENT: Final = re.compile(r"([A-Za-z0-9_.\-]+)/([A-Za-z0-9_.+\-]+)")  # sentry.javascript.browser/11.12.0
_CACHEABLE: Final = 512  # characters; real ones have 100 to 200
_AUTH_PART: Final = re.compile(r"(sentry_[a-z]+)\s*=\s*([^,\s]+)")


class Sender(Struct, frozen=True, kw_only=True):
    """What a request says beside its items."""

    project_id: int
    clock: ClientClock
    address: str = ""
    user_agent: str = ""  # of the HTTP request: the browser's, or a server SDK's own
    sdk_name: str = ""
    sdk_version: str = ""
    event_id: str = ""  # of the envelope header, 32 hex
    sent_at: str = ""  # as the client wrote it
    release: str = ""
    environment: str = ""

    @classmethod
    def of(cls, record: Record, header: JsonObject) -> Sender:
        """Args: record: as accepted; header: of the envelope, {} where there is none."""
        credentials = credentials_of(record.query, record.headers.get("x-sentry-auth", ""))
        sent_at = header.get("sent_at")
        sent = parse_seconds(sent_at) or parse_seconds(credentials.get("sentry_timestamp"))
        sdk, trace = _object(header.get("sdk")), _object(header.get("trace"))
        client = _CLIENT.fullmatch(credentials.get("sentry_client", ""))
        return cls(
            project_id=record.project_id,
            clock=ClientClock.of(record.received_at, sent),
            address=record.address,
            user_agent=record.headers.get("user-agent", "")[:MAX_URL],
            sdk_name=cut(line(sdk.get("name")) or (client[1] if client else ""), MAX_LABEL),
            sdk_version=cut(line(sdk.get("version")) or (client[2] if client else ""), MAX_LABEL),
            event_id=hex_id(text(header.get("event_id"))),
            sent_at=cut(text(sent_at), MAX_LABEL),
            release=cut(line(trace.get("release")), MAX_LABEL),
            environment=cut(line(trace.get("environment")), MAX_LABEL),
        )


def credentials_of(query: str, auth_header: str) -> Mapping[str, str]:
    """`sentry_…` values of the query and, where the query has none, of X-Sentry-Auth."""
    if len(query) + len(auth_header) > _CACHEABLE:
        return _credentials(query[:8192], auth_header[:4096])
    return _cached_credentials(query, auth_header)


def _credentials(query: str, auth_header: str) -> Mapping[str, str]:
    found = dict(_AUTH_PART.findall(auth_header)) if auth_header else {}
    if "sentry_" in query:
        found.update((name, value) for name, value in parse_qsl(query) if name.startswith("sentry_"))
    return found


# All clients of one SDK version and project send the same: parsing them again would be a tenth of decoding an event.
_cached_credentials: Final = lru_cache(maxsize=256)(_credentials)


def _object(value: Json) -> JsonObject:
    return value if isinstance(value, dict) else {}
