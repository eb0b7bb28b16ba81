"""config.toml as typed structs, with every default. Reading and checking a file is `appliance.config_file`.

Plugins' own tables stay raw here: each plugin's struct decodes its own.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, Literal

from msgspec import Struct, field

from appliance.model import JsonObject
from appliance.secret import Secret

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB


class ByteSize(int):
    """A number of bytes; in the file a number, or a text such as "512m", "20 MiB" or "10g"."""


class Site(Struct, kw_only=True, forbid_unknown_fields=True):
    """Where people reach the appliance."""

    url: str = ""  # "" → http://HOST:PORT of `condev serve`; links in mail come from here alone
    name: str = "Condev Monitor"
    trusted_proxies: list[str] = field(default_factory=list)  # addresses or networks whose X-Forwarded-For is believed


class Mail(Struct, kw_only=True, forbid_unknown_fields=True):
    """Mail as a sender."""

    sender: str = field(default="Condev Monitor <monitor@localhost>", name="from")


class Ingest(Struct, kw_only=True, forbid_unknown_fields=True):
    """What is accepted, and how much of it."""

    requests_per_second: float = 200.0  # per project; 0 = off
    requests_per_second_per_address: float = 50.0  # 0 = off
    burst_seconds: float = 10.0  # how many seconds' worth may come at once
    max_body: ByteSize = ByteSize(20 * MIB)  # decompressed; what Sentry's servers take
    max_compressed_body: ByteSize = ByteSize(10 * MIB)
    max_bytes_in_flight: ByteSize = ByteSize(64 * MIB)  # of all bodies being received, in one process
    body_timeout_seconds: float = 30.0
    spool_max_bytes: ByteSize = ByteSize(1 * GIB)
    spool_min_free_bytes: ByteSize = ByteSize(256 * MIB)  # of the disk; below it everything is refused with 429


# First parts of addresses that lead elsewhere; a test compares them with the routes that there are.
TAKEN_NAMES: Final = frozenset((
    "account", "accounts", "alerts", "api", "app-config", "deliveries", "dsn-api", "events", "example",
    "forgot-password", "healthz", "invitation", "issues", "metrics", "outcomes", "performance", "plugins", "profile",
    "projects", "readyz", "releases", "replay", "replay-frame", "replays", "reset", "sessions", "settings", "setup",
    "sign-in", "sign-out", "static", "system", "tokens", "traces", "tracking", "users",
))  # fmt: skip
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")


class Sdk(Struct, kw_only=True, forbid_unknown_fields=True):
    """Under which names the browser SDK is served and reports. Ad blockers go by names; the old ones go on working."""

    script: str = "sdk.js"  # /sdk.js, and /sdk/VERSION/…
    path: str = "v2"  # /v2/KEY

    def problems(self) -> list[tuple[str, str]]:
        """Dotted keys, and what is wrong with them."""
        found: list[tuple[str, str]] = []
        stem = self.script.removesuffix(".js")
        if stem == self.script or not _NAME.fullmatch(stem) or stem in TAKEN_NAMES:
            found.append(("sdk.script", f"expected a file name such as shop.js that no page has; got {self.script!r}"))
        if not _NAME.fullmatch(self.path) or self.path in TAKEN_NAMES:
            found.append(("sdk.path", f"expected a name such as collect that no page has; got {self.path!r}"))
        if stem == self.path:
            found.append(("sdk.path", f"must differ from the script's name; both are {self.path!r}"))
        return found


class Pipeline(Struct, kw_only=True, forbid_unknown_fields=True):
    """How records are applied."""

    batch_records: int = 1_000
    batch_bytes: ByteSize = ByteSize(12 * MIB)  # 1,000 events of 10 KB; a tenth less CPU an event than 8
    decode_timeout_seconds: float = 20.0
    shutdown_seconds: float = 15.0
    new_issues_per_hour: int = 1_000  # per project; 0 = no bound; then one overflow issue
    payloads_per_hour_per_issue: int = 500  # beyond it events keep their row and lose their payload; 0 = no bound
    payloads_per_hour_per_project: int = 50_000
    dead_letter_days: int = 14
    dead_letter_max_bytes: ByteSize = ByteSize(256 * MIB)
    duplicate_window_hours: int = 72  # how long the same event id is taken for the same event


class Retention(Struct, kw_only=True, forbid_unknown_fields=True):
    """How long and how much is kept; 0 = no bound."""

    days: int = 30
    bytes: ByteSize = ByteSize(10 * GIB)


class Storage(Struct, kw_only=True, forbid_unknown_fields=True):
    """Which plugins keep events and blobs."""

    backend: str = "clickhouse"
    blobs: str = "local"


class Metadata(Struct, kw_only=True, forbid_unknown_fields=True):
    """Where projects, issues and accounts live."""

    url: Secret | None = None  # None → SQLite in the data directory; else postgresql://…


class Accounts(Struct, kw_only=True, forbid_unknown_fields=True):
    """Sign-in."""

    session_days: int = 14
    link_hours: int = 24  # how long an invitation, reset or set-up link works
    sign_in_attempts: int = 10  # failures per account or address in a quarter of an hour before it waits


class Alerts(Struct, kw_only=True, forbid_unknown_fields=True):
    """Delivery of notifications."""

    throttle_minutes: int = 5  # per rule: the first is sent at once, the rest of this time as one digest
    attempts: int = 8
    breaker_failures: int = 3  # this many in a row and a notifier is left alone for a while
    breaker_minutes: int = 5
    delivery_log_days: int = 30


class Monitoring(Struct, kw_only=True, forbid_unknown_fields=True):
    """What the appliance watches about itself; docs/operations.md."""

    channel: str = "email"  # tried first; where it fails, the next one that works
    disk_days: float = 7.0  # a week: over a holiday somebody must still be able to act; 0 = off
    certificate_days: float = 14.0  # renewal begins at 30 of 90 days; by now it failed for two weeks; 0 = off
    backup_hours: float = 50.0  # two nightly ones, and the time they take; 0 = off
    watchdog: bool = True  # end the process when the event store hangs, so that it is started anew


class Backup(Struct, kw_only=True, forbid_unknown_fields=True):
    """Backups that make themselves; `condev backup FILE` works without any of this."""

    schedule: Literal["off", "hourly", "daily", "weekly"] = "off"  # they take disk: somebody must have wanted them
    keep: int = 7  # a week of daily ones
    directory: str = ""  # "" → DATA_DIR/backups
    passphrase: Secret | None = None  # None → not encrypted, and without the secrets


class Outbound(Struct, kw_only=True, forbid_unknown_fields=True):
    """Requests that the appliance itself makes."""

    proxy: str = ""  # http://host:port; "" = none. Proxies in the environment are not used
    allow_private: list[str] = field(default_factory=list)  # networks that URLs typed in the dashboard may lead to


class PluginsTable(Struct, kw_only=True):
    """`[plugins]`: what to install and where to look; every other key is a plugin's own table."""

    install: list[str] = field(default_factory=list)
    directory: str = ""  # "" → DATA_DIR/plugins.d
    disabled: list[str] = field(default_factory=list)


class Deploy(Struct, kw_only=True, forbid_unknown_fields=True):
    """For `condev plan` and `condev render`."""

    target: Literal["compose", "behind-proxy", "coolify", "tunnel"] = "compose"
    memory: ByteSize = ByteSize(0)  # of the host; 0 = as found
    cpus: float = 0.0  # of the host; 0 = as found
    disk: ByteSize = ByteSize(0)  # of the file system that holds everything; 0 = as found
    reserve: ByteSize = ByteSize(0)  # memory for other things on this host, beside what the system itself is left
    domain: str = ""
    tls: Literal["auto", "internal", "off"] = "auto"  # auto: a public certificate when there is a domain
    port: int = 8080  # behind-proxy: on the loopback address
    subnet: str = "172.30.57.0/24"  # of the network condev; forwarded addresses are believed from here alone
    ipv6: bool = False  # the network has IPv6 too, so that visitors over it keep their addresses; needs Docker 27
    stores: Literal["auto", "embedded", "servers"] = "auto"
    events_per_day: int = 100_000  # the rate at which `condev plan` counts days


class Doctor(Struct, kw_only=True, forbid_unknown_fields=True):
    """Where `condev doctor` knocks to see what this host can reach. Hosts that must not reach these name others."""

    https: list[str] = field(
        default_factory=lambda: [
            "https://acme-v02.api.letsencrypt.org/directory",  # where automatic certificates come from
            "https://registry-1.docker.io/v2/",  # where images come from
        ]
    )
    smtp_host: str = "smtp.mailgun.org"  # greets on 25, 465, 587 and 2525; nothing is sent


class Log(Struct, kw_only=True, forbid_unknown_fields=True):
    """The process's own log, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "text", "json"] = "auto"  # auto: text on a terminal, else JSON


class Config(Struct, kw_only=True, forbid_unknown_fields=True):
    """Everything, with its defaults: `Config()` is what runs without a file."""

    site: Site = field(default_factory=Site)
    mail: Mail = field(default_factory=Mail)
    channels: dict[str, list[str]] = field(default_factory=lambda: {"email": ["resend", "smtp"]})
    ingest: Ingest = field(default_factory=Ingest)
    sdk: Sdk = field(default_factory=Sdk)
    pipeline: Pipeline = field(default_factory=Pipeline)
    retention: Retention = field(default_factory=Retention)
    storage: Storage = field(default_factory=Storage)
    metadata: Metadata = field(default_factory=Metadata)
    accounts: Accounts = field(default_factory=Accounts)
    alerts: Alerts = field(default_factory=Alerts)
    monitoring: Monitoring = field(default_factory=Monitoring)
    backup: Backup = field(default_factory=Backup)
    outbound: Outbound = field(default_factory=Outbound)
    plugins: PluginsTable = field(default_factory=PluginsTable)
    deploy: Deploy = field(default_factory=Deploy)
    doctor: Doctor = field(default_factory=Doctor)
    log: Log = field(default_factory=Log)
    # Raw tables of the plugins, secrets already resolved to `Secret`; their plugin decodes them strictly.
    plugin_tables: dict[str, JsonObject] = field(default_factory=dict)
    source: Path | None = None  # the file it came from
    # Dotted names of the keys that the file or the environment set: what the plan may not size by itself.
    given: frozenset[str] = frozenset()
    # Where secrets are kept, by dotted key: ("env" | "file", name). The stack must bring them to its processes.
    references: dict[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
