"""`[plugins.clickhouse]` as a typed struct, and the memory caps that follow from the size of the appliance."""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

from appliance.hookspecs import Secret

MIB: Final = 1024 * 1024
GIB: Final = 1024 * MIB

# The embedded engine without a cap takes 0.9 of the machine and was killed in 500 and 700 MB cgroups. Measured: 300 MB
# for the engine and 150 MB a query served two million rows under inserts, merges and dashboard queries in a 600 MB one.
# More would be used, too: merges take what they may. So the caps do not grow with the machine unless somebody says so.
SMALL_APPLIANCE: Final = 2 * GIB
MIN_SERVER_MEMORY: Final = 250 * MIB  # the least with which 2.1 million rows were served in a 480 MB cgroup
MAX_SERVER_MEMORY: Final = 320 * MIB  # 400 let two rounds in nine peak at 510-527 MB in all; 480 is meant
MIN_QUERY_MEMORY: Final = 100 * MIB  # a 1,000-event insert needs 20-30 MB, a merge beside it the rest
MAX_THREADS: Final = 4  # of a query: each holds blocks of its own


class ClickHouseConfig(Struct, kw_only=True, forbid_unknown_fields=True):
    """Settings of the event store. 0 means: derived from the appliance's memory, with bounds, and cores."""

    engine: Literal["embedded", "server"] = "embedded"  # chDB inside the core process, or a ClickHouse server
    url: str = ""  # of the server: http://HOST:8123 or https://HOST:8443
    username: str = "default"
    password: Secret | None = None
    database: str = "condev"
    server_memory: int = 0  # bytes that the embedded engine may track in all
    query_memory: int = 0  # bytes that one query or insert may use
    threads: int = 0  # of one query
    readers: int = 0  # queries at a time
    query_timeout_seconds: float = 10.0
    # Inserts are refused (and retried later) and merges stopped when the disk has less free than this. Half of what
    # ingest leaves free by default: what was accepted can still be stored when ingest stops to accept.
    disk_reserve: int = 128 * MIB


class Caps(Struct, frozen=True, kw_only=True):
    """What the engine is told; read back after start."""

    server_memory: int
    query_memory: int
    spill: int  # bytes after which GROUP BY and ORDER BY go to disk
    threads: int
    readers: int
    merge_threads: int
    merge_memory: int
    mark_cache: int


def derive_caps(config: ClickHouseConfig, memory_bytes: int, cpus: float) -> Caps:
    """Fill in what the config leaves to us.

    Args:
        config: the plugin's table.
        memory_bytes: what the appliance may use in all.
        cpus: cores, possibly a fraction.
    """
    share = (memory_bytes or SMALL_APPLIANCE) * 3 // 20  # 300 MB of 2 GiB: what all of it may hold together is 480 MB
    server = config.server_memory or min(MAX_SERVER_MEMORY, max(MIN_SERVER_MEMORY, share))
    query = config.query_memory or max(MIN_QUERY_MEMORY, server // 2)
    threads = config.threads or max(1, min(MAX_THREADS, round(cpus)))
    return Caps(
        server_memory=server,
        query_memory=query,
        spill=query * 3 // 10,
        threads=threads,
        readers=config.readers or max(2, min(8, threads)),
        merge_threads=1 if server <= MAX_SERVER_MEMORY else max(1, min(4, threads // 2)),
        merge_memory=server * 2 // 5,
        mark_cache=max(8 * MIB, server // 40),
    )
