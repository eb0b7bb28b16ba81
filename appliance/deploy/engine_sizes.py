"""What the event store, Postgres and Caddy are told so that they stay within their containers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from appliance.config import MIB, Config
from appliance.deploy.plan import ServicePlan, Setting, size_text

# The embedded engine, as `plugins.clickhouse` derives them by itself outside a plan; a test holds the two together.
# 250 MiB served 2.1 million rows in a container of 480 MB; with 320 the whole process stays below 480 MB of its own.
LEAST_EMBEDDED: Final = 250 * MIB
MOST_EMBEDDED: Final = 320 * MIB
LEAST_QUERY: Final = 100 * MIB  # an insert of 1,000 events needs 20 to 30 MB, a merge beside it the rest

# What the server's tracking does not see: its program's own pages, stacks, allocator's spare.
SERVER_PERCENT: Final = 85
MOST_THREADS: Final = 8  # of a query; each holds blocks of its own
CONNECTIONS: Final = 40  # Postgres: a pool of 10 in core, the verbs, a backup, and a person with psql


def table_of(config: Config) -> Mapping[str, object]:
    """`[plugins.clickhouse]` as it stands in the file; empty when there is none."""
    return config.plugin_tables.get("clickhouse", {})


def embedded_settings(config: Config, memory: int, cpus: float) -> list[Setting]:
    """Caps of the engine inside core.

    Args:
        config: what `[plugins.clickhouse]` states goes before.
        memory: of the host, bytes.
        cpus: that core may use.
    """
    server = min(MOST_EMBEDDED, max(LEAST_EMBEDDED, memory * 3 // 20)) // MIB * MIB
    threads = max(1, min(4, round(cpus)))
    return _stated(
        config,
        [
            _config("engine", "embedded", "chDB inside core: a server of its own would not fit beside it", "text"),
            _config("server_memory", server, "what the engine may track in all: 15 % of the host, 250 to 320 MiB"),
            _config(
                "query_memory",
                max(LEAST_QUERY, server // 2 // MIB * MIB),
                "one query or insert: half of it, so that two fit",
            ),
            _config("threads", threads, "of one query: core's processors, at most 4", "number"),
            _config("readers", max(2, min(8, threads)), "queries at a time; each has its own connection", "number"),
        ],
    )


def server_settings(config: Config, service: ServicePlan) -> list[Setting]:
    """Caps of a ClickHouse server in a container of its own, and what core is told of it."""
    server = service.memory * SERVER_PERCENT // 100 // MIB * MIB
    query = server * 2 // 5 // MIB * MIB
    threads = max(1, min(MOST_THREADS, round(service.cpus)))
    merges = max(1, min(4, threads // 2))
    cache = max(16 * MIB, server // 20 // MIB * MIB)
    own = [
        ("max_server_memory_usage", server, f"{SERVER_PERCENT} % of the container: the rest is untracked", "bytes"),
        ("mark_cache_size", cache, "a twentieth: marks of a few million events take a few MB", "bytes"),
        ("index_mark_cache_size", 8 * MIB, "the bloom indexes' marks are small", "bytes"),
        ("primary_index_cache_size", cache, "as the marks", "bytes"),
        ("uncompressed_cache_size", 0, "the kernel's page cache holds compressed blocks already", "bytes"),
        ("query_condition_cache_size", 8 * MIB, "dashboards ask the same again", "bytes"),
        ("compiled_expression_cache_size", 8 * MIB, "a dozen kinds of query", "bytes"),
        ("merges_mutations_memory_usage_soft_limit", query, "merges wait rather than crowd out queries",
         "bytes"),
        ("background_pool_size", merges, "merges at a time: half the threads, 1 to 4", "number"),
        ("max_thread_pool_size", 500, "the default of 10,000 would exceed the container's pids", "number"),
        ("max_concurrent_queries", 32, "readers, writer, maintenance, a backup and a person", "number"),
        ("query.max_memory_usage", query, "one query: two fifths, so that two and a merge fit", "bytes"),
        ("query.max_threads", threads, f"of one query: the container's processors, at most {MOST_THREADS}", "number"),
    ]  # fmt: skip
    return [
        *_stated(
            config,
            [
                _config("engine", "server", "there is memory for a ClickHouse server", "text"),
                _config("url", "http://clickhouse:8123", "the service clickhouse, on the stack's own network", "text"),
                _config("query_memory", query, "as the server's own cap for a query"),
                _config("threads", threads, "as the server's own", "number"),
                _config("readers", max(2, min(8, threads)), "queries at a time", "number"),
            ],
        ),
        *(Setting(part="clickhouse", name=n, value=v, reason=r, unit="bytes" if u == "bytes" else "number")
          for n, v, r, u in own),
    ]  # fmt: skip


def postgres_settings(service: ServicePlan) -> list[Setting]:
    """Postgres' command line."""
    memory = service.memory

    def mebibytes(size: int, least: int, most: int) -> str:
        return f"{max(least, min(most, size // MIB))}MB"

    values = [
        ("shared_buffers", mebibytes(memory // 4, 32, 8192), "a quarter of the container"),
        ("effective_cache_size", mebibytes(memory // 2, 64, 65536), "what the planner may take to be cached"),
        ("work_mem", mebibytes(memory // 80, 4, 32), f"of a sort; {CONNECTIONS} of them at once would still fit"),
        ("maintenance_work_mem", mebibytes(memory // 16, 32, 512), "of a vacuum or an index build"),
        ("max_connections", CONNECTIONS, "core's pool of 10, the verbs, a backup and a person"),
        ("max_wal_size", "512MB", "bounds the log on disk; a checkpoint writes little here"),
        ("max_worker_processes", 4, "autovacuum and little else"),
        ("max_parallel_workers_per_gather", 0, "queries here are short look-ups"),
        ("autovacuum_max_workers", 2, "of maintenance_work_mem each"),
        ("jit", "off", "costs more than any query here takes"),
        ("random_page_cost", 1.1, "servers have SSDs"),
        ("huge_pages", "off", "the host has none set aside"),
    ]
    return [
        Setting(part="postgres", name=name, value=value, reason=reason, unit="text" if isinstance(value, str) else
                "number")
        for name, value, reason in values
    ]  # fmt: skip


def caddy_settings(service: ServicePlan) -> list[Setting]:
    """The Go runtime's own bound, without which it learns of the container's limit by being killed."""
    soft = service.memory * 85 // 100 // MIB
    reason = f"85 % of {size_text(service.memory)}: the collector works harder from here on"
    return [Setting(part="caddy", name="GOMEMLIMIT", value=f"{soft}MiB", reason=reason, unit="text")]


def _config(key: str, value: int | float | str, reason: str, unit: str = "bytes") -> Setting:
    kind = "text" if unit == "text" else "number" if unit == "number" else "bytes"
    return Setting(part="config", name=f"plugins.clickhouse.{key}", value=value, reason=reason, unit=kind)


def _stated(config: Config, settings: list[Setting]) -> list[Setting]:
    """What config.toml says itself stays as it is said: it is not planned, and not repeated."""
    return [setting for setting in settings if setting.name not in config.given]
