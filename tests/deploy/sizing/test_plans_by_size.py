"""What hosts from 1 to 64 GiB are planned as, and that the sums hold for all of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.config import GIB, MIB, Config, Deploy
from appliance.deploy.host_facts import HostFacts
from appliance.deploy.sizing import Plan, PlanError, make_plan

EMBEDDED = ["caddy", "ingest", "core"]
SERVERS = [*EMBEDDED, "clickhouse", "postgres"]
PAGE = (Path(__file__).parents[3] / "docs" / "sizes.md").read_text("utf-8")

# Memory as hosts show it (a "2 GiB" one 1.9), cores, disk → profile and services in MiB.
TABLE = [
    (0.95, 1, 20, "tiny", {"caddy": 66, "ingest": 165, "core": 549}),
    (1.0, 1, 25, "tiny", {"caddy": 69, "ingest": 172, "core": 590}),
    (1.5, 1, 25, "tiny", {"caddy": 80, "ingest": 193, "core": 768}),
    (1.9, 2, 40, "small", {"caddy": 128, "ingest": 288, "core": 1286}),
    (2.0, 2, 40, "small", {"caddy": 128, "ingest": 288, "core": 1376}),
    (3.0, 2, 60, "small", {"caddy": 128, "ingest": 288, "core": 1536}),
    (3.8, 2, 80, "medium", {"caddy": 152, "ingest": 304, "core": 656, "clickhouse": 1778, "postgres": 512}),
    (8.0, 4, 160, "medium", {"caddy": 192, "ingest": 384, "core": 1024, "clickhouse": 4236, "postgres": 1332}),
    (16.0, 4, 160, "large", {"caddy": 256, "ingest": 512, "core": 1751, "clickhouse": 9189, "postgres": 2627}),
    (32.0, 8, 320, "large", {"caddy": 256, "ingest": 512, "core": 2048, "clickhouse": 22437, "postgres": 5466}),
    (64.0, 16, 640, "large", {"caddy": 256, "ingest": 512, "core": 2048, "clickhouse": 52480, "postgres": 8192}),
]


def facts(memory: float, cpus: float = 2, disk: float = 40, **more: str) -> HostFacts:
    return HostFacts(memory=int(memory * GIB), cpus=cpus, disk=int(disk * GIB), **more)  # type: ignore[arg-type]


def planned(memory: float, cpus: float = 2, disk: float = 40, **deploy: object) -> Plan:
    return make_plan(Config(deploy=Deploy(**deploy)), facts(memory, cpus, disk))  # type: ignore[arg-type]


@pytest.mark.parametrize(("memory", "cpus", "disk", "profile", "services"), TABLE)
def test_a_host_of_this_size_gets(
    memory: float, cpus: float, disk: float, profile: str, services: dict[str, int]
) -> None:
    plan = planned(memory, cpus, disk)
    assert plan.profile == profile
    assert {service.name: service.memory // MIB for service in plan.services} == services
    assert sum(services.values()) * MIB + plan.reserve.memory + plan.unplanned == plan.facts.memory
    assert plan.unplanned >= 0


@pytest.mark.parametrize("row", TABLE, ids=[f"{row[0]:g} GiB" for row in TABLE])
def test_the_page_of_sizes_shows_the_same(row: tuple[float, float, float, str, dict[str, int]]) -> None:
    memory, cpus, disk, profile, services = row
    cells = [f"{memory:g} GiB", f"{cpus:g}", f"{disk:g} GiB", profile]
    cells += [str(services.get(name, "–")) for name in SERVERS]
    plan = planned(memory, cpus, disk)
    retention = int(plan.setting("config", "retention.bytes")) / GIB
    cells += [str(plan.reserve.memory // MIB), f"{retention:.1f} GiB", f"{plan.days.days:,.0f}"]
    assert f"| {' | '.join(cells)} |" in PAGE


def test_up_to_3_gib_the_stores_are_embedded_and_above_they_are_servers() -> None:
    for memory in (1, 2, 3):
        plan = planned(memory)
        assert (plan.event_store, plan.metadata) == ("embedded", "sqlite")
        assert [service.name for service in plan.services] == EMBEDDED
    plan = planned(3.1)
    assert (plan.event_store, plan.metadata) == ("server", "postgres")
    assert [service.name for service in plan.services] == SERVERS


def test_what_a_host_sold_as_a_gib_shows_is_enough_and_what_fits_is_never_refused() -> None:
    assert planned(0.95).profile == "tiny"
    assert not any("stated minimum" in note for note in planned(0.95).notes)
    least = planned(941 / 1024)
    assert {service.name: service.memory // MIB for service in least.services} == {
        "caddy": 64, "ingest": 161, "core": 524,
    }  # fmt: skip
    assert any("1 GiB is the stated minimum" in note for note in least.notes)
    with pytest.raises(PlanError):
        planned(940 / 1024)


def test_too_little_memory_says_what_is_there_what_is_needed_and_what_could_go() -> None:
    with pytest.raises(PlanError) as caught:
        planned(0.5)
    text = str(caught.value)
    assert "this host has 512 MiB" in text
    assert "needs 1 GiB" in text
    assert "caddy 64 MiB + ingest 161 MiB + core 524 MiB = 749 MiB, and 320 MiB is there" in text
    assert 'would have to go: the event store (204 MiB): [plugins.clickhouse] engine = "server"' in text


def test_every_number_has_a_reason() -> None:
    for memory in (1, 2, 8, 32):
        plan = planned(memory)
        for what in (*plan.services, *plan.settings, plan.reserve, plan.days):
            assert len(what.reason) > 8, what


def test_a_tunnel_adds_cloudflared_and_coolify_takes_caddy_away_and_keeps_memory_for_itself() -> None:
    assert planned(2, target="tunnel").has("cloudflared")
    coolify = planned(4, target="coolify")
    assert not coolify.has("caddy")
    assert coolify.reserve.memory == (640 + (4096 - 640) // 8) * MIB
    assert "Coolify" in coolify.reserve.reason


def test_what_is_reserved_for_others_makes_the_host_smaller() -> None:
    plan = planned(4, reserve=2 * GIB)
    assert plan.profile == "small"
    assert sum(service.memory for service in plan.services) <= 2 * GIB - 256 * MIB
    assert "[deploy] reserve" in plan.reserve.reason


def test_processors_bound_services_and_nobody_gets_more_than_there_are() -> None:
    for cpus in (0.5, 1, 2, 8):
        plan = planned(8, cpus=cpus)
        assert all(0 < service.cpus <= cpus for service in plan.services)
    assert planned(2, cpus=2).service("core").cpus == 1.75
    with pytest.raises(PlanError, match="processors"):
        planned(2, cpus=-1)


def test_a_plan_is_a_value_that_json_can_hold() -> None:
    import msgspec

    plan = planned(8)
    assert msgspec.json.decode(msgspec.json.encode(plan), type=Plan) == plan
