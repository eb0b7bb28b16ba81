"""On 2 vCPU and 2 GiB: what can happen to a machine. The stack comes back, and nothing acknowledged is lost."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tests.stack.lab.machines import Home
from tests.stack.lab.site import (
    container,
    containers_of,
    kill,
    kill_by_memory,
    services_well,
    wait_until,
)
from tests.stack.lab.storm import Steady, survives_a_storm

MIB = 1 << 20
SERVICES = ("caddy", "ingest", "core")


@pytest.fixture(autouse=True)
def _installed(small: Home) -> None:
    assert small.site


def test_half_an_hours_worth_of_events_in_a_minute_costs_nothing_that_was_accepted(small: Home) -> None:
    survives_a_storm(small.site, "stack-2c2g-storm")
    assert small.vps.oom_kills() == 0
    small.site.report()


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_that_is_killed_comes_back(small: Home, service: str) -> None:
    with Steady(small.site) as steady:
        steady.wait_for(200)
        before = containers_of(small.vps)
        kill(small.vps, service)
        wait_until(lambda: containers_of(small.vps) != before, f"{service} is started again")
        steady.wait_for(200)
    steady.check()


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_that_is_killed_for_memory_comes_back(small: Home, service: str) -> None:
    with Steady(small.site) as steady:
        steady.wait_for(200)
        before, kills = containers_of(small.vps), small.vps.oom_kills()
        kill_by_memory(small.vps, service)
        wait_until(lambda: containers_of(small.vps) != before, f"{service} is started again")
        assert small.vps.oom_kills() > kills
        steady.wait_for(200)
    steady.check()
    if service == SERVICES[-1]:
        wait_until(lambda: services_well(small.vps), "all services are well again")


def test_what_is_accepted_while_the_core_is_away_is_there_when_it_is_back(small: Home) -> None:
    vps, site = small.vps, small.site
    vps.docker("stop", container(vps, "core"))
    vps.docker("container", "prune", "--force")  # as platforms that tidy up do
    status, event_id = site.send()
    assert status == 200
    assert site.request("GET", "/sign-in").status_code == 503
    vps.run("condev", "apply", "--yes", seconds=300.0)
    wait_until(lambda: site.has(event_id), "the event that waited")


def test_pruned_networks_do_no_harm_and_one_that_was_taken_away_is_said_and_mended(small: Home) -> None:
    vps, before = small.vps, small.site.report()
    vps.docker("network", "prune", "--force")
    small.site.report()
    for service in SERVICES:
        vps.docker("network", "disconnect", "--force", "condev", container(vps, service))
    vps.docker("network", "rm", "condev")
    said = vps.run("condev", "status", check=False)
    assert (said.returncode, said.stdout.count("on no network: run `condev apply`")) == (1, len(SERVICES)), said.stdout
    assert "service-cut-off" in vps.run("condev", "doctor", check=False).stdout
    vps.run("condev", "apply", "--yes", seconds=300.0)
    assert services_well(vps)
    assert small.site.has(before)
    # Stopped containers know their network by an id, which is another one when it is made again.
    vps.docker("stop", *(container(vps, service) for service in SERVICES))
    vps.docker("network", "prune", "--force")
    vps.run("condev", "restart", seconds=300.0)
    assert services_well(vps)
    small.site.report()


def test_a_full_disk_is_said_to_senders_and_once_there_is_room_everything_goes_on(small: Home) -> None:
    vps = small.vps
    filler = vps.path("/opt/of somebody else")
    with Steady(small.site) as steady:
        steady.wait_for(200)
        fill(filler, leave=100 * MIB)  # less than ingest leaves to the stores
        steady.wait_for(429)
        fill(filler, leave=0)
        steady.wait_for(429)
        said = vps.run("condev", "doctor", check=False).stdout
        assert "disk-" in said
        filler.unlink()
        steady.wait_for(200)
    steady.check()
    assert set(steady.statuses) <= {200, 429}, steady.statuses
    wait_until(lambda: services_well(vps), "all services are well again")


def fill(path: Path, leave: int) -> None:
    """Take all of its file system but so many bytes."""
    with path.open("ab") as file:
        stats = os.fstatvfs(file.fileno())
        more = stats.f_bavail * stats.f_frsize - leave
        try:
            os.posix_fallocate(file.fileno(), file.tell(), max(1, more))
        except OSError as error:  # the file's own blocks were not counted, or another writer was first
            if leave or error.errno != errno.ENOSPC:
                raise


def test_after_a_reboot_everything_is_there(small: Home) -> None:
    event_id = small.site.report()
    small.vps.stop()
    small.vps.start()
    wait_until(lambda: services_well(small.vps), "the stack after a reboot")
    assert small.site.has(event_id)
    small.site.report()
