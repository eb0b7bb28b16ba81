"""The shapes of `/api/v1/system…`. Times are ISO 8601 in UTC, null where there is none; sizes are bytes."""

from __future__ import annotations

from msgspec import Struct

from appliance.pipeline.pipeline import PipelineStatus
from appliance.schedule import JobState
from appliance.system.memory import ProcessMemory
from appliance.system.schemas import (
    BackupState,
    DeadLetterContent,
    DeadLetterItem,
    DeadLetterList,
    NotifierState,
    PluginState,
    Problem,
    StoreState,
    SystemState,
)
from appliance.web.formats import iso


class SpoolAnswer(Struct, frozen=True, kw_only=True):
    """What was accepted and waits."""

    records: int
    bytes: int
    oldest_seconds: float


class TableAnswer(Struct, frozen=True, kw_only=True):
    """One table of the event store."""

    table: str
    rows: int
    bytes_on_disk: int
    oldest: str | None


class StoreAnswer(Struct, frozen=True, kw_only=True):
    """The event store; `problem` says why the rest is empty."""

    backend: str
    version: str
    schema_version: int
    bytes_on_disk: int
    memory_bytes: int
    memory_limit_bytes: int
    tables: list[TableAnswer]
    settings: dict[str, str]
    notes: list[str]
    problem: str


class PipelineAnswer(Struct, frozen=True, kw_only=True):
    """The pipeline of this process."""

    running: bool
    error: str
    waiting_for: str
    events_per_second: float
    records_per_second: float
    batch_seconds: float
    last_batch_at: str | None
    worker_starts: int
    withholding_payloads: bool


class JobAnswer(Struct, frozen=True, kw_only=True):
    """A periodic job."""

    name: str
    running: bool
    last_started_at: str | None
    last_finished_at: str | None
    last_error: str
    next_at: str


class BackupAnswer(Struct, frozen=True, kw_only=True):
    """Backups by schedule."""

    scheduled: bool
    last_good_at: str | None
    last_error: str  # of the last try; "" when it was good
    bytes: int  # of the last good one


class SystemAnswer(Struct, frozen=True, kw_only=True):
    """`GET /api/v1/system`."""

    spool: SpoolAnswer
    processed: int  # records applied, for life
    dead_letters: int  # kept now
    dropped: dict[str, int]  # by us, in the last 90 days: reason → how many
    client_dropped: dict[str, int]  # by SDKs, as they report it
    store: StoreAnswer
    totals: dict[str, int]  # for life, by kind
    pipeline: PipelineAnswer | None  # null where it runs in another process
    processes: list[ProcessMemory]
    plugins: list[PluginState]
    jobs: list[JobAnswer]
    notifiers: list[NotifierState]
    problems: list[Problem]
    backup: BackupAnswer | None  # null where the pipeline runs in another process


class DeadLetterBody(Struct, frozen=True, kw_only=True):
    """A record that could not be processed."""

    id: int
    record_id: str
    protocol: str
    route: str
    project_id: int
    received_at: str
    created_at: str
    reason: str
    detail: str
    bytes: int
    state: str


class DeadLetterPage(Struct, frozen=True, kw_only=True):
    """One page of them, newest first."""

    items: list[DeadLetterBody]
    next: str | None


class DeadLetterDetail(Struct, frozen=True, kw_only=True):
    """One with what was received, before any scrubbing."""

    item: DeadLetterBody
    headers: dict[str, str]
    query: str
    address: str
    body: str
    body_bytes: int
    cut: bool
    problem: str


class Changed(Struct, frozen=True, kw_only=True):
    """How many dead letters an action changed."""

    changed: int


def system_answer(state: SystemState, dropped: dict[str, int], client_dropped: dict[str, int]) -> SystemAnswer:
    """The state of one moment, for the API."""
    spool = state.spool
    return SystemAnswer(
        spool=SpoolAnswer(records=spool.records, bytes=spool.bytes, oldest_seconds=spool.oldest_seconds),
        processed=state.totals.get("records", 0),
        dead_letters=state.dead_letters,
        dropped=dropped,
        client_dropped=client_dropped,
        store=_store(state.store),
        totals=state.totals,
        pipeline=_pipeline(state.pipeline) if state.pipeline is not None else None,
        processes=state.processes,
        plugins=state.plugins,
        jobs=[_job(job) for job in state.jobs],
        notifiers=state.notifiers,
        problems=state.problems,
        backup=_backup(state.backup) if state.backup is not None else None,
    )


def letters_page(found: DeadLetterList) -> DeadLetterPage:
    """A page of dead letters."""
    return DeadLetterPage(items=[_letter(item) for item in found.items], next=found.next)


def letter_detail(content: DeadLetterContent) -> DeadLetterDetail:
    """One dead letter."""
    return DeadLetterDetail(
        item=_letter(content.item),
        headers=content.headers,
        query=content.query,
        address=content.address,
        body=content.body,
        body_bytes=content.body_bytes,
        cut=content.cut,
        problem=content.problem,
    )


def _backup(backup: BackupState) -> BackupAnswer:
    return BackupAnswer(
        scheduled=backup.scheduled,
        last_good_at=_when(backup.last_good_at),
        last_error=backup.last_error,
        bytes=backup.bytes,
    )


def _when(us: int | None) -> str | None:
    return iso(us) if us else None


def _store(store: StoreState) -> StoreAnswer:
    return StoreAnswer(
        backend=store.backend,
        version=store.version,
        schema_version=store.schema_version,
        bytes_on_disk=store.bytes_on_disk,
        memory_bytes=store.memory_bytes,
        memory_limit_bytes=store.memory_limit_bytes,
        tables=[
            TableAnswer(
                table=table.table, rows=table.rows, bytes_on_disk=table.bytes_on_disk, oldest=_when(table.oldest)
            )
            for table in store.tables
        ],
        settings=store.settings,
        notes=store.notes,
        problem=store.problem,
    )


def _pipeline(status: PipelineStatus) -> PipelineAnswer:
    return PipelineAnswer(
        running=status.running,
        error=status.error,
        waiting_for=status.waiting_for,
        events_per_second=round(status.events_per_second, 2),
        records_per_second=round(status.records_per_second, 2),
        batch_seconds=round(status.batch_seconds, 3),
        last_batch_at=_when(status.last_batch_at),
        worker_starts=status.worker_starts,
        withholding_payloads=status.withholding,
    )


def _job(job: JobState) -> JobAnswer:
    return JobAnswer(
        name=job.name,
        running=job.running,
        last_started_at=_when(job.last_started_at),
        last_finished_at=_when(job.last_finished_at),
        last_error=job.last_error,
        next_at=iso(job.next_at),
    )


def _letter(item: DeadLetterItem) -> DeadLetterBody:
    return DeadLetterBody(
        id=item.id,
        record_id=item.record_id,
        protocol=item.protocol,
        route=item.route,
        project_id=item.project_id,
        received_at=iso(item.received_at),
        created_at=iso(item.created_at),
        reason=item.reason,
        detail=item.detail,
        bytes=item.bytes,
        state=item.state,
    )
