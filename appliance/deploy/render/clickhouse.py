"""What a ClickHouse server in the stack reads: caps, caches and pools from the plan; no logs of its own in tables."""

from __future__ import annotations

from typing import Final

from appliance.deploy.plan import Plan
from appliance.deploy.render.text import template

CONFIG_FILE: Final = "clickhouse/config.d/condev.xml"
USERS_FILE: Final = "clickhouse/users.d/condev.xml"
# Each writes a table of its own, merges it, and holds buffers for it: a third of a small server's memory.
SYSTEM_LOGS: Final = (
    "asynchronous_insert_log", "asynchronous_metric_log", "backup_log", "blob_storage_log", "error_log", "latency_log",
    "metric_log", "opentelemetry_span_log", "part_log", "processors_profile_log", "query_log", "query_metric_log",
    "query_thread_log", "query_views_log", "s3queue_log", "session_log", "text_log", "trace_log", "zookeeper_log",
)  # fmt: skip


def clickhouse_files(plan: Plan) -> dict[str, str]:
    """The two files that are mounted into the server's config.d and users.d."""
    own = [setting for setting in plan.settings if setting.part == "clickhouse"]
    server = [setting for setting in own if not setting.name.startswith("query.")]
    query = {setting.name.removeprefix("query."): setting for setting in own if setting.name.startswith("query.")}
    spill = int(query["max_memory_usage"].value) * 3 // 10
    return {
        CONFIG_FILE: template("clickhouse-config.xml.j2", settings=server, logs=SYSTEM_LOGS),
        USERS_FILE: template("clickhouse-users.xml.j2", settings=query, spill=spill),
    }
