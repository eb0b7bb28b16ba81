"""On 4 vCPU and 8 GiB: ClickHouse and Postgres as servers of their own, and the small machine's backup in them.

ClickHouse is the stand-in of tests/stack/lab: its wire and SQL are real, its memory is not what a server's would be.
The machine has no more processors than this one.
"""

from __future__ import annotations

import pytest

from tests.stack.lab.machines import LARGE, Handed, Home
from tests.stack.lab.site import (
    ROOT,
    Site,
    containers_of,
    kill,
    kill_by_memory,
    memory_of,
    services_well,
    wait_until,
    write_result,
)
from tests.stack.lab.storm import Steady, survives_a_storm

STORES = ("clickhouse", "postgres")


def test_events_go_through_both_servers_and_back(large: Home) -> None:
    large.site.report()
    names = large.vps.docker("ps", "--format", "{{.Names}}")
    assert all(name in names for name in ("clickhouse", "postgres", "core", "ingest", "caddy"))
    write_result("stack-4c8g-idle", {"cpus": large.vps.cpus, "mebibytes": memory_of(large.vps)})


def test_secrets_of_the_servers_were_made_and_those_of_before_kept(large: Home) -> None:
    assert large.installed
    text = large.vps.path(f"{ROOT}/.env").read_text()
    assert text.startswith(LARGE.env)
    assert "POSTGRES_PASSWORD=" in text
    assert "CLICKHOUSE_PASSWORD=" in text


def test_half_an_hours_worth_of_events_in_a_minute_costs_nothing_that_was_accepted(large: Home) -> None:
    survives_a_storm(large.site, "stack-4c8g-storm")
    assert large.vps.oom_kills() == 0


def test_a_backup_of_the_small_machine_is_restored_into_the_servers(large: Home, handed: Handed) -> None:
    vps, before = large.vps, large.site.report()
    for path in (handed.file, handed.passphrase):
        vps.path(f"/root/{path.name}").write_bytes(path.read_bytes())
    words = ("condev", "restore", f"/root/{handed.file.name}", "--passphrase-file", f"/root/{handed.passphrase.name}")
    refused = vps.run(*words, check=False, seconds=300.0)
    assert (refused.returncode, "--replace" in refused.stderr + refused.stdout) == (1, True), refused
    vps.run(*words, "--replace", seconds=300.0)
    there = Site(vps, handed.site.token, handed.site.project)  # of the backup, as are people and keys
    wait_until(lambda: all(there.has(event_id) for event_id in handed.events), "the events of the backup")
    assert not there.has(before)
    there.report()
    large.site = there


@pytest.mark.parametrize("service", STORES)
def test_a_store_that_is_killed_costs_nothing_that_was_accepted(large: Home, service: str) -> None:
    with Steady(large.site) as steady:
        steady.wait_for(200)
        before = containers_of(large.vps)
        kill(large.vps, service)
        wait_until(lambda: containers_of(large.vps) != before, f"{service} is started again")
        steady.wait_for(200)
    steady.check()
    assert set(steady.statuses) == {200}
    assert large.vps.oom_kills() == 0


@pytest.mark.parametrize("service", STORES)
def test_a_store_that_is_killed_for_memory_costs_nothing_that_was_accepted(large: Home, service: str) -> None:
    with Steady(large.site) as steady:
        steady.wait_for(200)
        kills = large.vps.oom_kills()
        kill_by_memory(large.vps, service)
        wait_until(lambda: large.vps.oom_kills() > kills, f"{service} was killed")
        steady.wait_for(200)
    steady.check()
    assert set(steady.statuses) == {200}
    if service == STORES[-1]:
        wait_until(lambda: services_well(large.vps), "all services are well again")
