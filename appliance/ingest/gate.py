"""Admission after the peek: known key, allowed origin, replay wanted, rates, and the spool's watermark."""

from __future__ import annotations

import math
import random
from typing import Final

from appliance.config import Ingest
from appliance.hookspecs import Clock, Peek, VerdictKind
from appliance.ingest.addresses import rate_key
from appliance.ingest.admission import Admission, AdmissionFile, Admitted
from appliance.ingest.bodies import Intake, RefusalError
from appliance.ingest.buckets import Buckets
from appliance.ingest.drops import Drop
from appliance.ingest.shedding import is_shed
from appliance.model import Category
from appliance.spool import SpoolWriter

FULL_RETRY_SECONDS: Final = 30  # the pipeline frees a segment in well under this
FAILED_RETRY_SECONDS: Final = 10


class Gate:
    """Lets a request in, or raises RefusalError."""

    def __init__(self, admission: AdmissionFile, spool: SpoolWriter, config: Ingest, clock: Clock) -> None:
        self._admission = admission
        self._spool = spool
        self._config = config
        self._clock = clock
        self._projects = Buckets()
        self._addresses = Buckets()
        self.stopping = False

    def admit(self, intake: Intake, peek: Peek) -> None:
        """Decide on a request whose head is known; notes its project in `intake`."""
        project = self._project(self.ready(), peek)
        intake.project_id = project.id
        self.check_origin(project, intake.headers)
        if not project.settings.replay_enabled:
            if intake.category is Category.REPLAY:
                raise RefusalError(VerdictKind.GONE, Drop.REPLAY_DISABLED, "Replays are switched off for this project.")
            intake.refused = (Category.REPLAY,)
        self.charge_address(intake.address)
        self._charge_project(project)
        if is_shed(intake.category, self._spool.level()):
            detail = "The appliance is catching up; this kind of data has to wait."
            raise overloaded(Drop.SHED, detail, FULL_RETRY_SECONDS)

    def ready(self) -> Admission:
        """The table in force."""
        admission = self._admission.current()
        if admission is None or self.stopping:
            raise overloaded(Drop.NOT_READY, "The appliance is starting or stopping.", FAILED_RETRY_SECONDS)
        return admission

    def check_origin(self, project: Admitted, headers: dict[str, str]) -> None:
        """Requests without an Origin come from no browser, and anybody could leave it out: they are let in."""
        if not project.origins.allow(headers.get("origin", "")):
            detail = "This origin is not among the project's allowed origins."
            raise RefusalError(VerdictKind.FORBIDDEN_ORIGIN, Drop.FORBIDDEN_ORIGIN, detail)

    def charge_address(self, address: str) -> None:
        """One token of the client's address."""
        rate = self._config.requests_per_second_per_address
        if address and rate > 0:
            self._charge(self._addresses, rate_key(address), rate, Drop.RATE_LIMITED_ADDRESS, "address")

    def _project(self, admission: Admission, peek: Peek) -> Admitted:
        project = admission.find(peek.key)
        if project is None or (peek.project_id is not None and peek.project_id != project.id):
            detail = "No project has this key: copy the DSN again from the project's settings."
            raise RefusalError(VerdictKind.UNKNOWN_KEY, Drop.UNKNOWN_KEY, detail)
        return project

    def _charge_project(self, project: Admitted) -> None:
        rate = project.requests_per_second
        if rate is None:
            rate = self._config.requests_per_second
        if rate > 0:
            self._charge(self._projects, project.id, rate, Drop.RATE_LIMITED_PROJECT, "project")

    def _charge(self, buckets: Buckets, key: object, rate: float, reason: Drop, whose: str) -> None:
        burst = max(1.0, rate * self._config.burst_seconds)
        wait = buckets.take(key, rate, burst, self._clock.monotonic())
        if wait > 0:
            detail = f"Too many requests from this {whose}."
            raise RefusalError(VerdictKind.RATE_LIMITED, reason, detail, retry_after=math.ceil(wait))


def overloaded(reason: Drop, detail: str, seconds: int) -> RefusalError:
    """A refusal that is nobody's fault but ours. Spread over half as much again: not all come back in one second."""
    wait = seconds + random.randrange(seconds // 2 + 1)  # noqa: S311 - no secret
    return RefusalError(VerdictKind.OVERLOADED, reason, detail, retry_after=wait)
