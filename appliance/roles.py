"""Which parts of the appliance a process runs."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """`condev serve --role`. The embedded engine needs pipeline and web in one process: `core`, or `all`."""

    ALL = "all"
    INGEST = "ingest"
    CORE = "core"
    PIPELINE = "pipeline"
    WEB = "web"

    @property
    def takes_in(self) -> bool:
        """Accepts SDK traffic into the spool."""
        return self in (Role.ALL, Role.INGEST)

    @property
    def applies(self) -> bool:
        """Applies the spool to the stores, runs jobs and delivers notifications."""
        return self in (Role.ALL, Role.CORE, Role.PIPELINE)

    @property
    def shows(self) -> bool:
        """Serves the dashboard and the API."""
        return self in (Role.ALL, Role.CORE, Role.WEB)
