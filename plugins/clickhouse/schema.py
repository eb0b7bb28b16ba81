"""The tables, as the ordered list of migrations that makes them. Statements already released are never edited.

Every row carries `batch_id` and `ordinal`: after a crash they tell what is there. Every table is partitioned by the day
on which its rows were received, so that retention drops whole parts. Times are DateTime64(6, 'UTC').
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

# index_granularity 1024: a list's page, an event by its id touch few rows; payloads make a granule small anyway.
# compress blocks of 32-64 KB: a wide part keeps two buffers a column, and 1 MB each cost 190 MB at the peak.
# fsync: a part is on disk before its insert is acknowledged, and a merged part before its sources go.
# merge_selector_base 8, not 5: parts wait for more of their size before they merge, so that a row is merged less often.
# Merging was the dearest part of draining; this took a third of it, for the same number of parts in the end.
# min_bytes_for_wide_part 16 MB: one batch is one file to sync, not a hundred; bigger compact parts cost memory to scan.
_SETTINGS: Final = """
    index_granularity = 1024,
    max_compress_block_size = 65536, min_compress_block_size = 32768,
    min_bytes_for_wide_part = 16777216,
    fsync_after_insert = 1, fsync_part_directory = 1,
    min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1,
    merge_selector_base = 8
"""
# Of tables with payloads: merge column by column and few rows at a time. A merge of ten 1,000-event parts took 190-250
# MB otherwise, more than everything else together; this way 110-190, at the same cost in time.
_MERGE_PAYLOADS: Final = """,
    vertical_merge_algorithm_min_rows_to_activate = 1, vertical_merge_algorithm_min_columns_to_activate = 1,
    merge_max_block_size = 256
"""
_TIME: Final = "DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1))"
_LABEL: Final = "LowCardinality(String)"
# Larger blocks for the one big column: payloads of a group resemble each other, and a 10 KB event takes 1.3 KB then.
# Level 3 saved nothing more and cost 20 µs an event at each merge.
_PAYLOAD: Final = "String CODEC(ZSTD(1)) SETTINGS (max_compress_block_size = 1048576, min_compress_block_size = 262144)"
_CLIENT: Final = f"browser {_LABEL}, os {_LABEL}, device {_LABEL}"
_PLACE: Final = "batch_id UInt128 CODEC(ZSTD(1)), ordinal UInt64 CODEC(Delta, ZSTD(1))"


class Migration(Struct, frozen=True):
    """One step. Its statements may be run again after a crash between any two of them."""

    version: int
    name: str
    statements: tuple[str, ...]
    # The oldest version whose program still reads and writes tables that have this step: a new table or a new column
    # with a default troubles nobody. 0: none but those that know it; an upgrade then says that it cannot go back.
    readable_from: int = 0


def _table(name: str, columns: str, order: str, day: str = "received_at", settings: str = "") -> str:
    return f"""
        CREATE TABLE IF NOT EXISTS {name} ({columns})
        ENGINE = MergeTree PARTITION BY toDate({day}) ORDER BY ({order})
        SETTINGS {_SETTINGS}{settings}
    """


_EVENTS: Final = f"""
    project_id UInt64, event_id String CODEC(ZSTD(1)), kind {_LABEL}, level {_LABEL},
    timestamp {_TIME}, received_at {_TIME}, group_hash UInt64, grouping_version UInt16,
    title String CODEC(ZSTD(1)), culprit String CODEC(ZSTD(1)), type String CODEC(ZSTD(1)),
    message String CODEC(ZSTD(3)), platform {_LABEL}, release {_LABEL}, dist {_LABEL}, environment {_LABEL},
    transaction String CODEC(ZSTD(1)), url String CODEC(ZSTD(1)), user_id String CODEC(ZSTD(1)), user_hash UInt64,
    browser {_LABEL}, browser_version {_LABEL}, os {_LABEL}, os_version {_LABEL}, device {_LABEL},
    sdk {_LABEL}, sdk_version {_LABEL}, handled Bool, trace_id String CODEC(ZSTD(1)), session_id String CODEC(ZSTD(1)),
    page_view_id String CODEC(ZSTD(1)), replay_id String CODEC(ZSTD(1)),
    tags Map(LowCardinality(String), String) CODEC(ZSTD(1)), payload {_PAYLOAD}, payload_withheld Bool, {_PLACE}
"""
# Of everything that is deduplicated, sorted by a 64-bit hash of (project, kind, id): 1,000 ids are looked up in a few
# ms. For events it also leads from an id to the row's place in `events`.
_EVENT_IDS: Final = f"""
    id_hash UInt64, project_id UInt64, kind {_LABEL}, id String CODEC(ZSTD(1)),
    timestamp {_TIME}, received_at {_TIME}, group_hash UInt64, {_PLACE}
"""
_MEASUREMENTS: Final = f"""
    project_id UInt64, measurement_id String CODEC(ZSTD(1)), metric {_LABEL}, value Float64 CODEC(ZSTD(1)),
    unit {_LABEL}, rating {_LABEL}, timestamp {_TIME}, received_at {_TIME},
    url String CODEC(ZSTD(1)), route String CODEC(ZSTD(1)), release {_LABEL}, environment {_LABEL},
    element String CODEC(ZSTD(1)), {_CLIENT}, user_hash UInt64,
    session_id String CODEC(ZSTD(1)), page_view_id String CODEC(ZSTD(1)), trace_id String CODEC(ZSTD(1)),
    attributes String CODEC(ZSTD(3)), {_PLACE}
"""
_PAGE_VIEWS: Final = f"""
    project_id UInt64, page_view_id String CODEC(ZSTD(1)), timestamp {_TIME}, received_at {_TIME},
    url String CODEC(ZSTD(1)), route String CODEC(ZSTD(1)), referrer String CODEC(ZSTD(1)),
    release {_LABEL}, environment {_LABEL}, {_CLIENT}, user_hash UInt64,
    session_id String CODEC(ZSTD(1)), last_sequence UInt64, {_PLACE}
"""
_SESSIONS: Final = f"""
    project_id UInt64, session_id String CODEC(ZSTD(1)), started {_TIME}, timestamp {_TIME}, received_at {_TIME},
    status {_LABEL}, errors UInt64, duration Float64, user_hash UInt64,
    release {_LABEL}, environment {_LABEL}, {_CLIENT}, quantity UInt64, {_PLACE}
"""
_SPANS: Final = f"""
    project_id UInt64, trace_id String CODEC(ZSTD(1)), span_id String CODEC(ZSTD(1)),
    parent_span_id String CODEC(ZSTD(1)),
    event_id String CODEC(ZSTD(1)), start {_TIME}, end {_TIME}, received_at {_TIME},
    op {_LABEL}, name String CODEC(ZSTD(1)), status {_LABEL}, is_segment Bool,
    release {_LABEL}, environment {_LABEL}, url String CODEC(ZSTD(1)), {_CLIENT}, user_hash UInt64,
    attributes String CODEC(ZSTD(3)), {_PLACE}
"""
_REPLAY_SEGMENTS: Final = f"""
    project_id UInt64, replay_id String CODEC(ZSTD(1)), segment UInt64,
    timestamp {_TIME}, received_at {_TIME}, started {_TIME},
    replay_type {_LABEL}, blob_key String CODEC(ZSTD(1)), blob_bytes UInt64, blob_sha256 String CODEC(ZSTD(1)),
    error_ids Array(String) CODEC(ZSTD(1)), trace_ids Array(String) CODEC(ZSTD(1)), urls Array(String) CODEC(ZSTD(1)),
    release {_LABEL}, environment {_LABEL}, {_CLIENT}, user_hash UInt64, {_PLACE}
"""
_OUTCOMES: Final = f"""
    project_id UInt64, timestamp {_TIME}, received_at {_TIME},
    source {_LABEL}, reason {_LABEL}, category {_LABEL}, quantity UInt64, {_PLACE}
"""
# Hourly sums of what was received for an hour of event time. `received_sum` (of received_at, wrapping) is beside the
# count what a summary is checked by against its base rows. Release and browser are not kept apart: a million events of
# a day in 2,000 groups came to 774,000 sums then, which took as long to read as the events.
_ISSUE_SUMMARY: Final = f"""
    project_id UInt64, group_hash UInt64, hour DateTime('UTC') CODEC(Delta, ZSTD(1)),
    environment {_LABEL}, level {_LABEL}, kind {_LABEL},
    events UInt64, users AggregateFunction(uniqCombined64(12), UInt64), received_sum UInt64,
    first_seen {_TIME}, last_seen {_TIME}
"""
_MEASUREMENT_SUMMARY: Final = f"""
    project_id UInt64, metric {_LABEL}, url String CODEC(ZSTD(1)), hour DateTime('UTC') CODEC(Delta, ZSTD(1)),
    environment {_LABEL}, release {_LABEL}, browser {_LABEL}, os {_LABEL}, device {_LABEL},
    samples UInt64, good UInt64, needs_improvement UInt64, poor UInt64, received_sum UInt64,
    percentiles AggregateFunction(quantilesTDigest(0.5, 0.75, 0.95), Float64)
"""
# For all of a project and for each of its routes, and no finer: sums by address, release and device came to as many as
# there were samples, and took longer to read than those.
_MEASUREMENT_HOURS: Final = f"""
    project_id UInt64, scope {_LABEL}, metric {_LABEL}, hour DateTime('UTC') CODEC(Delta, ZSTD(1)),
    route String CODEC(ZSTD(1)), samples UInt64, good UInt64, needs_improvement UInt64, poor UInt64,
    received_sum UInt64, percentiles AggregateFunction(quantilesTDigest(0.5, 0.75, 0.95), Float64)
"""
_ISSUE_ORDER: Final = "project_id, group_hash, hour, environment, level, kind"
_MEASUREMENT_ORDER: Final = "project_id, metric, url, hour, environment, release, browser, os, device"
_MEASUREMENT_HOURS_ORDER: Final = "project_id, scope, metric, hour, route"


def _summary(name: str, columns: str, order: str) -> tuple[str, str]:
    # The staging table is where a day is put together before it replaces the old one in a single step.
    return _table(name, columns, order, "hour"), _table(f"{name}_staging", columns, order, "hour")


MIGRATIONS: Final = (
    Migration(
        1,
        "the first tables",
        (
            _table("events", _EVENTS, "project_id, group_hash, timestamp", settings=_MERGE_PAYLOADS),
            _table("event_ids", _EVENT_IDS, "id_hash"),
            _table("measurements", _MEASUREMENTS, "project_id, metric, timestamp"),
            _table("page_views", _PAGE_VIEWS, "project_id, timestamp"),
            _table("sessions", _SESSIONS, "project_id, session_id, timestamp"),
            _table("spans", _SPANS, "project_id, trace_id, span_id"),
            _table("replay_segments", _REPLAY_SEGMENTS, "project_id, replay_id, segment"),
            _table("outcomes", _OUTCOMES, "project_id, timestamp"),
            *_summary("issue_summary", _ISSUE_SUMMARY, _ISSUE_ORDER),
            *_summary("measurement_summary", _MEASUREMENT_SUMMARY, _MEASUREMENT_ORDER),
        ),
    ),
    # An older program writes and reads all of these tables by column names: it leaves the new ones at their defaults.
    Migration(
        2,
        "page views by envelope, values that replace others, users of sessions",
        (
            "ALTER TABLE page_views ADD COLUMN IF NOT EXISTS envelope_id String CODEC(ZSTD(1))",
            "ALTER TABLE page_views ADD COLUMN IF NOT EXISTS title String CODEC(ZSTD(1))",
            "ALTER TABLE page_views ADD COLUMN IF NOT EXISTS sequences Array(UInt32) CODEC(ZSTD(1))",
            "ALTER TABLE measurements ADD COLUMN IF NOT EXISTS revision UInt64 CODEC(ZSTD(1))",
            # What values that replace each other are told by: looking ids up as texts took six times as long.
            "ALTER TABLE measurements ADD COLUMN IF NOT EXISTS value_hash UInt64 "
            "MATERIALIZED cityHash64(project_id, measurement_id)",
            "ALTER TABLE sessions ADD COLUMN IF NOT EXISTS user_id String CODEC(ZSTD(1))",
        ),
        readable_from=1,
    ),
    # The old sums stay as tables, emptied: a program that is gone back to makes its own again.
    Migration(
        3,
        "hourly sums of measurements for all and by route",
        (
            *_summary("measurement_hours", _MEASUREMENT_HOURS, _MEASUREMENT_HOURS_ORDER),
            "TRUNCATE TABLE IF EXISTS measurement_summary",
            "TRUNCATE TABLE IF EXISTS measurement_summary_staging",
        ),
        readable_from=1,
    ),
    Migration(
        4,
        "sessions of replays",
        ("ALTER TABLE replay_segments ADD COLUMN IF NOT EXISTS session_id String CODEC(ZSTD(1))",),
        readable_from=1,
    ),
)
SCHEMA_VERSION: Final = MIGRATIONS[-1].version
READABLE_FROM: Final = max(migration.readable_from or migration.version for migration in MIGRATIONS)
