"""SIGKILL at random moments under load: what got a 2xx is stored once, and every counter agrees with the store."""

from __future__ import annotations

import contextlib
import os
import random
import time

import psutil
import pytest

from appliance.testing.running import Owner, RunningAppliance
from appliance.testing.traffic import Books, Traffic, check_books, read_books, system_of

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1_200)]

ROUNDS = int(os.environ.get("CONDEV_FAULT_ROUNDS", "1"))
# Fifty in all. A core takes seconds to come back, the worker is back at once.
APART = ["core"] * 7 * ROUNDS + ["ingest"] * 12 * ROUNDS + ["worker"] * 11 * ROUNDS
TOGETHER = ["all"] * 10 * ROUNDS + ["worker"] * 10 * ROUNDS
PER_SECOND = 120.0
KILLED_EARLY = "the decode worker was ended by SIGKILL while it started"  # by us, and said as an error


class Killer:
    """Kills parts of an appliance and starts them again."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)

    def kill(self, appliance: RunningAppliance) -> None:
        """A process, which is started again; one in three is killed while it starts."""
        if self.chance.random() < 1 / 3:
            time.sleep(self.chance.uniform(0, 2.0))
        else:
            appliance.wait_until_ready()
            time.sleep(self.chance.uniform(0, 1.0))
        appliance.kill()
        appliance.launch()

    def kill_worker(self, core: RunningAppliance) -> None:
        """The decode worker; the pipeline starts another by itself."""
        core.wait_until_ready()
        found: list[psutil.Process] = []

        def is_there() -> bool:
            found.clear()
            for child in psutil.Process(core.pid).children():
                with contextlib.suppress(psutil.Error):  # one of the last kill, which its parent has not missed yet
                    found.extend([child] if "appliance.pipeline.worker" in child.cmdline() else [])
            return bool(found)

        core.wait_until(is_there, "a decode worker", 60)
        time.sleep(self.chance.uniform(0, 0.5))
        with contextlib.suppress(psutil.NoSuchProcess):  # its core was killed just before
            found[0].kill()


def books_after_kills(appliance: RunningAppliance, owner: Owner) -> Books:
    """The books once everything is applied.

    A slow machine can be killed three times over one record, which is then taken for the cause and set aside whole:
    retried, as its page says, it must be stored as well.
    """
    books = read_books(appliance, owner)
    if books.dead_letters:
        assert "crashed: " in appliance.verb("dead-letters", "list")
        appliance.verb("dead-letters", "retry", "--all")
        appliance.wait_until(lambda: system_of(appliance, owner)["dead_letters"] == 0, "dead letters to be applied", 60)
        books = read_books(appliance, owner)
    assert books.dead_letters == 0
    return books


def test_what_got_a_2xx_is_stored_once_however_often_ingest_core_and_worker_are_killed(
    serve, owner, envelope_path, envelopes
):
    core, ingest = serve(role="core", expected_errors=[KILLED_EARLY]), serve(role="ingest")
    core.start()
    ingest.start()
    killer, plan = Killer(seed=1), APART.copy()
    killer.chance.shuffle(plan)
    with Traffic(ingest, envelope_path, envelopes(), per_second=PER_SECOND) as traffic:
        for what in plan:
            if what == "worker":
                killer.kill_worker(core)
            else:
                killer.kill(core if what == "core" else ingest)
        core.wait_until_ready()
        ingest.wait_until_ready()
        traffic.wait_for(50)
    check_books(books_after_kills(core, owner), traffic)
    assert traffic.oddities == []
    assert traffic.broken > 0
    ingest.stop()
    core.stop()
    core.check_log()  # both write to it


def test_what_got_a_2xx_is_stored_once_however_often_the_whole_appliance_is_killed(
    serve, owner, envelope_path, envelopes
):
    appliance = serve(expected_errors=[KILLED_EARLY])
    appliance.start()
    killer, plan = Killer(seed=2), TOGETHER.copy()
    killer.chance.shuffle(plan)
    with Traffic(appliance, envelope_path, envelopes(), per_second=PER_SECOND) as traffic:
        for what in plan:
            if what == "worker":
                killer.kill_worker(appliance)
            else:
                killer.kill(appliance)
        appliance.wait_until_ready()
        traffic.wait_for(50)
    check_books(books_after_kills(appliance, owner), traffic)
    assert traffic.oddities == []
    assert traffic.broken > 0
    appliance.stop()
    appliance.check_log()
