"""On 8 GiB: ClickHouse and Postgres as servers of their own. Two CPUs, since no more can be shown than the machine has.

ClickHouse is the stand-in of tests/stack/lab: its wire and SQL are real, its memory is not what a server's would be.
"""

from __future__ import annotations

from collections.abc import Generator

import pytest

from tests.stack.lab.site import DOMAIN, ROOT, Site, install, kill, memory_of, services_well, wait_until, write_result
from tests.stack.lab.vps import Vps, machine

# A test machine may not raise its limit of open files to the 262144 that ClickHouse is given otherwise.
ENV = "CLICKHOUSE_NOFILE=20000\n"


@pytest.fixture(scope="module")
def vps(built: None) -> Generator[Vps]:
    with machine("large", memory=8192, cpus=2, hosts={DOMAIN: "VPS"}) as made:
        made.path(ROOT).mkdir(parents=True)
        made.path(f"{ROOT}/.env").write_text(ENV)
        made.path(f"{ROOT}/.env").chmod(0o600)
        yield made


@pytest.fixture(scope="module")
def site(vps: Vps) -> Generator[Site]:
    install(vps)
    made = Site(vps)
    yield made
    made.client.close()


def test_events_go_through_both_servers_and_back(vps: Vps, site: Site) -> None:
    site.report()
    names = vps.docker("ps", "--format", "{{.Names}}")
    assert all(name in names for name in ("clickhouse", "postgres", "core", "ingest", "caddy"))
    write_result("stack-2c8g-idle", {"mebibytes": memory_of(vps)})


def test_secrets_of_the_servers_were_made_and_those_of_before_kept(vps: Vps, site: Site) -> None:
    text = vps.path(f"{ROOT}/.env").read_text()
    assert text.startswith(ENV)
    assert "POSTGRES_PASSWORD=" in text
    assert "CLICKHOUSE_PASSWORD=" in text


@pytest.mark.parametrize("service", ["clickhouse", "postgres"])
def test_a_store_that_is_killed_costs_nothing_that_was_accepted(vps: Vps, site: Site, service: str) -> None:
    kill(vps, service)
    status, event_id = site.send()
    assert status == 200
    wait_until(lambda: services_well(vps), f"{service} is well again")
    wait_until(lambda: site.has(event_id), "the event that was sent meanwhile")


def test_it_fits(vps: Vps, site: Site) -> None:
    assert vps.oom_kills() == 0
