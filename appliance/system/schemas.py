"""What the System page shows, with times in µs; and its API in `answers.py`. Sizes are bytes."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct, field

from appliance.alerts.schemas import ChannelItem
from appliance.pipeline.pipeline import PipelineStatus
from appliance.schedule import JobState
from appliance.system.memory import ProcessMemory

Tone = Literal["good", "warn", "bad"]


class Headline(Struct, frozen=True, kw_only=True):
    """The word beside "System" in the navigation."""

    word: str
    tone: Tone


class Problem(Struct, frozen=True, kw_only=True):
    """Something a person should know, and what to do."""

    text: str
    mend: str
    tone: Tone = "warn"
    href: str = ""  # the page where it is looked into
    code: str = ""  # of a condition, see docs/operations.md; "" for what is only shown here
    since: int | None = None  # µs; of a condition that was told, or would have been


class SpoolState(Struct, frozen=True, kw_only=True):
    """What was accepted and waits to be applied."""

    records: int
    bytes: int
    oldest_seconds: float
    max_bytes: int


class DropLine(Struct, frozen=True, kw_only=True):
    """What was not kept, for one reason, by days."""

    source: str  # ingest, pipeline, client
    reason: str
    today: int
    week: int
    month: int


class TableState(Struct, frozen=True, kw_only=True):
    """One table of the event store."""

    table: str
    rows: int
    bytes_on_disk: int
    oldest: int
    parts: int


class StoreState(Struct, frozen=True, kw_only=True):
    """The event store; `problem` is set, and the rest empty, when it does not answer."""

    backend: str = ""
    version: str = ""
    schema_version: int = 0
    bytes_on_disk: int = 0
    memory_bytes: int = 0
    memory_limit_bytes: int = 0
    tables: list[TableState] = field(default_factory=list[TableState])
    settings: dict[str, str] = field(default_factory=dict[str, str])
    notes: list[str] = field(default_factory=list[str])
    problem: str = ""


class CheckState(Struct, frozen=True, kw_only=True):
    """A health check of a plugin."""

    name: str
    ok: bool
    detail: str
    mend: str = ""


class PluginState(Struct, frozen=True, kw_only=True):
    """A plugin, and how it is."""

    name: str
    version: str
    origin: str
    summary: str
    hooks: list[str]
    errors: list[str]
    checks: list[CheckState]


class NotifierState(Struct, frozen=True, kw_only=True):
    """What a notifier did in the last day."""

    notifier: str
    delivered: int
    failed: int
    skipped: int
    last_reply: str


class Undelivered(Struct, frozen=True, kw_only=True):
    """What was to be told to people and was not, and what rules count on."""

    failed: int = 0  # messages that were given up by the appliance, and by nobody since
    late: int = 0  # refused by everyone so far, and tried again
    rules: dict[str, int] = field(default_factory=dict[str, int])  # enabled ones, by the channel they tell


class BackupState(Struct, frozen=True, kw_only=True):
    """How backups stand, as whoever makes them says."""

    scheduled: bool  # nobody is told of backups that were never asked for
    last_good_at: int | None = None  # µs
    last_error: str = ""  # of the last try; "" when it was good
    bytes: int = 0  # of the last good one


class SystemState(Struct, frozen=True, kw_only=True):
    """Everything at one moment."""

    now: int
    spool: SpoolState
    pipeline: PipelineStatus | None  # None: it runs in another process
    totals: dict[str, int]
    drops: list[DropLine]
    dead_letters: int
    dead_letter_bytes: int
    store: StoreState
    processes: list[ProcessMemory]
    plugins: list[PluginState]
    jobs: list[JobState]
    notifiers: list[NotifierState]
    channels: list[ChannelItem]
    problems: list[Problem]
    retention_days: int
    retention_bytes: int
    backup: BackupState | None = None  # None: this process makes none
    conditions: list[str] = field(default_factory=list[str])  # names of those that are raised


class DeadLetterItem(Struct, frozen=True, kw_only=True):
    """A record that could not be processed."""

    id: int
    record_id: str
    protocol: str
    route: str
    project_id: int
    received_at: int
    created_at: int
    reason: str
    detail: str
    bytes: int
    state: str


class DeadLetterContent(Struct, frozen=True, kw_only=True):
    """What was received, before any scrubbing: for owners and admins alone."""

    item: DeadLetterItem
    headers: dict[str, str]
    query: str
    address: str
    body: str  # decompressed if it can be, cut, unreadable bytes replaced
    body_bytes: int
    cut: bool
    problem: str  # why the body is shown as it was received, or not at all


class DeadLetterList(Struct, frozen=True, kw_only=True):
    """One page of them, newest first."""

    items: list[DeadLetterItem]
    next: str | None
