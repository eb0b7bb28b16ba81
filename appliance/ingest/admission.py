"""What ingest may accept: `admission.json`, which the core publishes and ingest reads. Ingest opens no database.

For: the core's `publish`, ingest's `AdmissionFile`. Not for accounts or anything secret: ingest keys are public, and
even they stand in the file as hashes only.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Final

import msgspec
import structlog
from msgspec import Struct, field

from appliance.hookspecs import Clock, ProjectSettings
from appliance.model import JsonObject

ADMISSION_FILE: Final = "admission.json"  # in the data directory
FORMAT: Final = 1
RELOAD_SECONDS: Final = 0.5  # a new key works within this time; a stat() costs 1 µs, so twice a second is free
MAX_FILE_BYTES: Final = 64 * 1024 * 1024  # about 100,000 projects; more is not our file
MAX_KNOWN_KEYS: Final = 10_000  # clear keys remembered to save the hashing; beyond it we hash

log = structlog.get_logger(__name__)


class AdmittedProject(Struct, kw_only=True, frozen=True):
    """One project that accepts data. Deleted projects and disabled keys are left out of the table."""

    id: int
    key_hashes: list[str]  # `hash_key` of each enabled key
    origins: list[str] = field(
        default_factory=lambda: ["*"]
    )  # "*", "https://shop.example.com", "https://*.example.com"
    requests_per_second: float | None = None  # None: the appliance's; 0: no bound
    replay_enabled: bool = True
    sdk: JsonObject = field(default_factory=dict)


class AdmissionTable(Struct, kw_only=True, frozen=True):
    """Everything that ingest knows about projects."""

    projects: list[AdmittedProject]
    published_at: int = 0  # µs
    format: int = FORMAT


def hash_key(key: str) -> str:
    """How an ingest key is named in the table: hexadecimal SHA-256."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def publish(path: Path, table: AdmissionTable) -> None:
    """Replace the file at once and durably; readers see the old one or the new one, never a part.

    Raises:
        OSError: it could not be written; the old file stays.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(msgspec.json.encode(table))
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


class Origins:
    """Which web origins may send to a project."""

    __slots__ = ("_everywhere", "_exact", "_wild")

    def __init__(self, patterns: list[str]) -> None:
        """Args: patterns: `*`, an origin, or one whose host starts with `*.`: any subdomain, not the domain itself."""
        cleaned = [pattern.strip().rstrip("/").lower() for pattern in patterns]
        self._everywhere = "*" in cleaned
        self._exact = frozenset(cleaned)
        split = [(p.split("://", 1) if "://" in p else ["", p]) for p in cleaned]
        self._wild = tuple(
            (f"{scheme}://" if scheme else "", host[1:]) for scheme, host in split if host.startswith("*.")
        )

    def allow(self, origin: str) -> bool:
        """Whether a request with this `Origin` header is welcome; "" is a client that is no browser."""
        if self._everywhere or not origin:
            return True
        origin = origin.lower()
        if origin in self._exact:
            return True
        return any(origin.startswith(scheme) and origin.endswith(suffix) and len(origin) > len(scheme) + len(suffix)
                   for scheme, suffix in self._wild)  # fmt: skip


class Admitted:
    """A project, made ready for the request path."""

    __slots__ = ("id", "origins", "requests_per_second", "settings")

    def __init__(self, project: AdmittedProject) -> None:
        self.id = project.id
        self.origins = Origins(project.origins)
        self.requests_per_second = project.requests_per_second
        self.settings = ProjectSettings(project_id=project.id, replay_enabled=project.replay_enabled, sdk=project.sdk)


class Admission:
    """A table, indexed by key."""

    __slots__ = ("_by_hash", "_known", "projects", "published_at")

    def __init__(self, table: AdmissionTable) -> None:
        self.projects = len(table.projects)
        self.published_at = table.published_at
        self._by_hash: dict[str, Admitted] = {}
        self._known: dict[str, Admitted] = {}
        for project in table.projects:
            admitted = Admitted(project)
            for key_hash in project.key_hashes:
                self._by_hash[key_hash] = admitted

    def find(self, key: str) -> Admitted | None:
        """The project of an ingest key."""
        found = self._known.get(key)
        if found is None and key:
            found = self._by_hash.get(hash_key(key))
            if found is not None and len(self._known) < MAX_KNOWN_KEYS:
                self._known[key] = found
        return found


class AdmissionFile:
    """Reads the published table again when it changed. A damaged or missing file keeps the last good, and says so."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._seen: tuple[int, int, int] | None = None
        self._next_look = float("-inf")
        self._admission: Admission | None = None
        self.problem = ""  # one sentence for the log; "" when all is well

    def current(self) -> Admission | None:
        """The table in force; None until a good one was ever read."""
        now = self._clock.monotonic()
        if now >= self._next_look:
            self._next_look = now + RELOAD_SECONDS
            self._look()
        return self._admission

    def _look(self) -> None:
        try:
            stat = self._path.stat()
        except OSError as error:
            self._say(f"{self._path} cannot be read ({error.strerror}); it is written when the core starts")
            self._seen = None
            return
        seen = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._admission = self._read(stat.st_size)
        except (OSError, ValueError, msgspec.MsgspecError) as error:
            self._say(f"{self._path} is damaged ({error}); restart the core, which writes it anew")
        else:
            self.problem = ""

    def _read(self, size: int) -> Admission:
        if size > MAX_FILE_BYTES:
            raise ValueError(f"{size} bytes, at most {MAX_FILE_BYTES} are read")
        table = msgspec.json.decode(self._path.read_bytes(), type=AdmissionTable)
        if table.format != FORMAT:
            raise ValueError(f"format {table.format}, this version reads {FORMAT}")
        return Admission(table)

    def _say(self, problem: str) -> None:
        if problem != self.problem:
            log.warning("admission_unreadable", problem=problem, keeps_last=self._admission is not None)
        self.problem = problem
