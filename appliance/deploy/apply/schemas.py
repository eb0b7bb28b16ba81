"""Which schemas the stores have, which this version makes of them, and whether the version before can read those.

A running core says in `DATA_DIR/running.json` what it found and made; nothing here opens a store, because the embedded
one is open in the core already.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
from msgspec import Struct

from appliance.config import Config
from appliance.running_file import Running, read_running


class Schemas(Struct, frozen=True, kw_only=True):
    """What a version makes of the stores."""

    revision: str  # of the metadata
    known_revisions: tuple[str, ...]  # those it can bring up to its own, and its own
    revision_readable_by: tuple[str, ...]
    event_store: int  # 0: the backend has no schema
    event_store_readable_from: int


class Migrations(Struct, frozen=True, kw_only=True):
    """What an upgrade changes in the stores."""

    steps: tuple[str, ...]  # in words; empty: nothing
    readable_by_previous: bool  # whether the version that runs now can go on with the result

    @property
    def pending(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.steps)


def known_schemas(config: Config, data_dir: Path) -> Schemas:
    """What this version makes. Loads the plugins, opens nothing."""
    # Here: `condev status` asks for nothing but `running_of`, and need not load the stores' libraries for it.
    from appliance.deploy.extensions import load_plugins
    from appliance.metadata.migrate import known_revisions, known_schema

    metadata = known_schema()
    store = load_plugins(config, data_dir).event_store().schema()
    return Schemas(
        revision=metadata.revision,
        known_revisions=tuple(sorted(known_revisions())),
        revision_readable_by=metadata.readable_by,
        event_store=store.version,
        event_store_readable_from=store.readable_from,
    )


def migrations(wanted: Schemas, running: Running | None) -> Migrations:
    """The difference between what is there and what this version makes.

    Args:
        wanted: of the version to come.
        running: of the one that runs; None when none ever ran, and there is nothing to migrate.
    """
    if running is None:
        return Migrations(steps=(), readable_by_previous=True)
    steps: list[str] = []
    readable = True
    # A revision that this version does not know is a newer one's, after a way back: it is left as it is, here and in
    # `migrate`. The same holds for a higher number of the event store.
    if running.revision != wanted.revision and running.revision in wanted.known_revisions:
        steps.append(f"metadata: revision {running.revision} → {wanted.revision}")
        readable = running.revision in wanted.revision_readable_by
    if running.event_store < wanted.event_store:
        steps.append(f"event store: version {running.event_store} → {wanted.event_store}")
        readable = readable and running.event_store >= wanted.event_store_readable_from
    return Migrations(steps=tuple(steps), readable_by_previous=readable)


def running_of(data_dir: Path) -> Running | None:
    """What the core that ran last said of itself; None when none did.

    Raises:
        msgspec.DecodeError: the file is damaged.
    """
    try:
        return read_running(data_dir)
    except msgspec.DecodeError:
        return None
