"""The embedded engine: chDB in this process, with the settings that keep it inside a small machine's memory.

One path per process; a second process on the same path is refused by the engine. Open after any fork, never before one.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, cast

from appliance.hookspecs import EventStoreError, StoreUnavailableError

from .config import MIB, Caps
from .engine import Block, Client, Engine, Role, quote, select
from .handover import Handover
from .native import native_block
from .processor import refuse_unfit_processor

# jemalloc inside chDB reads this when the library is loaded. Freed memory goes back after 1 s, not 5 s: the next batch,
# a third of a second later, finds most of it. After 0.3 s each event cost three page faults more, for 18 MB less at the
# peak of a drain. chDB builds jemalloc with the prefix je_, hence the name.
JEMALLOC: Final = ("JE_MALLOC_CONF", "dirty_decay_ms:1000,muzzy_decay_ms:0")
# Read by glibc when a process starts: only who starts the process can set these (condev does, for its own).
PROCESS_ENVIRONMENT: Final = {
    "JE_MALLOC_CONF": JEMALLOC[1],
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_TRIM_THRESHOLD_": "131072",
    "TZ": "UTC",
}
# chDB and clickhouse-connect import these when they find them, and use them for data frames only: 45 MB for nothing.
UNUSED_PACKAGES: Final = ("numpy", "pandas", "pyarrow", "polars")


class EmbeddedEngine(Engine):
    """chDB behind clickhouse-connect."""

    name = "embedded"

    def __init__(self, path: Path, database: str, caps: Caps, query_seconds: float) -> None:
        """Args: path: the engine's directory; made when absent, mode 0700."""
        super().__init__(database, caps, query_seconds)
        self.path = path
        self._types: dict[str, dict[str, str]] = {}  # these two are used in the writing thread only
        self._handover: Handover | None = None

    def options(self) -> dict[str, object]:
        """Engine-wide options; the first connection in a process decides them."""
        caps = self.caps
        return {
            "max_server_memory_usage": caps.server_memory,
            "merges_mutations_memory_usage_soft_limit": caps.merge_memory,
            "background_pool_size": caps.merge_threads,
            "background_merges_mutations_concurrency_ratio": 1,
            "background_schedule_pool_size": 1,
            "mark_cache_size": caps.mark_cache,
            "index_mark_cache_size": 8 * MIB,
            "primary_index_cache_size": caps.mark_cache,
            "query_condition_cache_size": 8 * MIB,
            "compiled_expression_cache_size": 8 * MIB,
            "max_thread_pool_size": 100,
            "max_memory_usage": caps.query_memory,
            "max_threads": caps.threads,
            "max_insert_threads": 1,
            "max_bytes_before_external_group_by": caps.spill,
            "max_bytes_before_external_sort": caps.spill,
            "max_block_size": 8192,  # rows; a scan over payloads holds this many at a time
            "backups.allowed_path": f"{self.path.parent / 'backups'}/",
        }

    def connect(self, role: Role, *, database: str | None) -> Client:
        """Open a client of the one engine in this process."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        refuse_unfit_processor()
        driver = load_driver()
        try:
            client = driver.get_client(
                interface="chdb",
                path=str(self.path),
                database=database,
                chdb_options=self.options(),
                settings=self.settings(role),
            )
        except Exception as error:
            raise StoreUnavailableError(self._why_not_open(str(error))) from error
        return cast(Client, client)

    def insert(self, client: Client, block: Block, settings: dict[str, object]) -> None:
        """Through a file in memory."""
        types = self._types.get(block.table)
        if types is None:
            types = self._types[block.table] = column_types(client, self.database, block.table)
        pieces = native_block(block.names, [types[name] for name in block.names], block.data, block.count)
        self._hand_over(client, block.table, block.names, pieces)

    def insert_raw(self, client: Client, table: str, names: Sequence[str], body: bytes) -> None:
        """Through the same file."""
        self._hand_over(client, table, names, [body])

    def _hand_over(self, client: Client, table: str, names: Sequence[str], pieces: list[bytes]) -> None:
        if self._handover is None:
            self._handover = Handover()
        self._handover.write(pieces)
        pieces.clear()  # as much again as the file
        columns = ", ".join(map(quote, names))
        try:
            client.command(
                f"INSERT INTO {quote(table)} ({columns}) FROM INFILE '{self._handover.path}' "
                "COMPRESSION 'none' FORMAT Native"
            )
        finally:
            self._handover.release()

    async def stop(self) -> None:
        """Let what runs end, then release everything."""
        await super().stop()
        if self._handover is not None:
            self._handover.close()
            self._handover = None

    def _why_not_open(self, detail: str) -> str:
        if _is_held(self.path / "status"):
            return (
                f"Another process holds the event store in {self.path}: stop it, or give this one another --data-dir."
            )
        if "already initialized with path" in detail:
            return (
                "This process has another event store open, and only one embedded store per process is possible: "
                f"close that one first. ({_without_options(detail)})"
            )
        return (
            f"The embedded engine could not open {self.path}: {_without_options(detail)} "
            "Look at the disk and at the directory's rights; standard error may hold more of the engine's own words."
        )

    def check(self, client: Client) -> None:
        """Read the caps back: the engine ignores unknown names and keeps the first connection's options in silence."""
        wanted = self.options()
        found = read_settings(client, tuple(wanted))
        wrong = {
            name: f"{found[name]} instead of {value}"
            for name, value in wanted.items()
            if name in found and found[name] != str(value)
        }
        absent = [name for name in wanted if name not in found and "." not in name]
        for name in ("max_server_memory_usage", "max_memory_usage"):
            if name in wrong or name in absent:
                raise EventStoreError(
                    f"The embedded engine did not take its memory cap {name} ({wrong.get(name, 'unknown to it')}), "
                    "so it could take the whole machine. Open only one event store per process, and keep chdb-core "
                    "within the versions that pyproject.toml names."
                )
        notes = [f"Engine setting {name} is {text}." for name, text in wrong.items()]
        notes += [f"The engine does not know the setting {name}." for name in absent]
        self.notes = tuple(notes + environment_notes())


def _is_held(status: Path) -> bool:
    """True when the engine's lock file is locked; its own message about that goes to standard error alone."""
    import fcntl

    try:
        with status.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _without_options(detail: str) -> str:
    """The engine's words without our long list of options in the middle."""
    return re.sub(r"\?[^']*'", "'", detail)[:400]


def read_settings(client: Client, names: tuple[str, ...]) -> dict[str, str]:
    """Values in force by name, of server settings and query settings."""
    sql = """
        SELECT name, value FROM system.server_settings WHERE name IN {names:Array(String)}
        UNION ALL
        SELECT name, value FROM system.settings WHERE name IN {names:Array(String)}
    """
    return {str(name): str(value) for name, value in select(client, sql, {"names": list(names)})}


def column_types(client: Client, database: str, table: str) -> dict[str, str]:
    """The types of a table's columns by name.

    Raises:
        StoreUnavailableError: the table is not there, as while it is loaded anew: nobody may keep that for an answer.
    """
    sql = "SELECT name, type FROM system.columns WHERE database = {database:String} AND table = {table:String}"
    types = {str(name): str(kind) for name, kind in select(client, sql, {"database": database, "table": table})}
    if not types:
        raise StoreUnavailableError(
            f"The event store's table {table} is not there now: it is tried again. "
            "If it stays so, restart the appliance, which migrates."
        )
    return types


def environment_notes() -> list[str]:
    """What the process was not given at its start and cannot be given any more."""
    notes: list[str] = []
    if not os.environ.get("MALLOC_ARENA_MAX"):
        notes.append(
            "MALLOC_ARENA_MAX is not set: the process may hold some 50 MB more than it needs; start it with 2."
        )
    if _on_tmpfs(Path(tempfile.gettempdir())):
        notes.append(f"Temporary files are in memory ({tempfile.gettempdir()}): set TMPDIR to a directory on disk.")
    return notes


def _on_tmpfs(directory: Path) -> bool:
    best, kind = "", ""
    try:
        for line in Path("/proc/mounts").read_text().splitlines():
            _, mount, filesystem = line.split()[:3]
            inside = str(directory) == mount or str(directory).startswith(mount.rstrip("/") + "/")
            if inside and len(mount) >= len(best):
                best, kind = mount, filesystem
    except OSError:
        return False  # no /proc: not Linux, nothing to warn of
    return kind in {"tmpfs", "ramfs"}


def load_driver() -> Any:
    """Import chDB and clickhouse-connect, without the data frame packages that they would pull in."""
    if "clickhouse_connect" in sys.modules and "chdb" in sys.modules:
        return sys.modules["clickhouse_connect"]
    os.environ.setdefault(*JEMALLOC)
    with _hidden(UNUSED_PACKAGES):
        importlib.import_module("chdb")
        return load_client_library()


def load_client_library() -> Any:
    """Import clickhouse-connect alone; the server engine needs no more."""
    with _hidden(UNUSED_PACKAGES):
        driver = importlib.import_module("clickhouse_connect")
        lazy = importlib.import_module("clickhouse_connect.driver.options")
        # Looked up at each insert: deciding it here keeps pandas out of the process for good.
        vars(lazy).update({"np": None, "pd": None, "arrow": None, "pl": None, "pd_time_test": None})
    return driver


@contextmanager
def _hidden(names: tuple[str, ...]) -> Generator[None]:
    """Make `import NAME` fail for packages that are not loaded yet; others may load them afterwards."""
    modules = cast("dict[str, object]", sys.modules)
    absent = [name for name in names if name not in modules]
    modules.update(dict.fromkeys(absent))
    try:
        yield
    finally:
        for name in absent:
            modules.pop(name, None)
