"""What config.toml states is kept and counted, stores elsewhere need no memory here, and data stays where it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.config import GIB, MIB, Config, Deploy
from appliance.config_file import load
from appliance.deploy.host_facts import HostFacts, Stores, detect
from appliance.deploy.sizing import PlanError, make_plan
from appliance.hookspecs import ServiceSpec
from condev_plugins.clickhouse.config import ClickHouseConfig, derive_caps


def facts(memory: float, disk: int = 40, cpus: float = 2, stores: Stores = "") -> HostFacts:
    return HostFacts(memory=int(memory * GIB), cpus=cpus, disk=disk * GIB, stores=stores)


def configured(tmp_path: Path, text: str, **environ: str) -> Config:
    path = tmp_path / "config.toml"
    path.write_text(text)
    return load(path, environ)


def test_a_clickhouse_elsewhere_is_not_planned(tmp_path: Path) -> None:
    config = configured(tmp_path, '[plugins.clickhouse]\nengine = "server"\nurl = "https://ch.example.com:8443"\n')
    plan = make_plan(config, facts(8))
    assert plan.event_store == "elsewhere"
    assert not plan.has("clickhouse")
    assert plan.has("postgres")
    with pytest.raises(KeyError):
        plan.setting("config", "plugins.clickhouse.url")
    small = make_plan(config, facts(0.8))  # less than the minimum is enough then
    assert small.service("core").memory < 524 * MIB


def test_a_postgres_elsewhere_is_not_planned(tmp_path: Path) -> None:
    config = configured(tmp_path, '[metadata]\nurl = { env = "DATABASE_URL" }\n', DATABASE_URL="postgresql://x/y")
    plan = make_plan(config, facts(8))
    assert plan.metadata == "elsewhere"
    assert not plan.has("postgres")
    assert plan.has("clickhouse")
    assert make_plan(config, facts(2)).metadata == "elsewhere"


def test_an_engine_stated_as_embedded_stays_so_on_a_large_host(tmp_path: Path) -> None:
    plan = make_plan(configured(tmp_path, '[plugins.clickhouse]\nengine = "embedded"\n'), facts(8))
    assert plan.event_store == "embedded"
    assert plan.service("core").memory >= 1024 * MIB


def test_data_that_is_there_keeps_its_stores_when_the_host_grows_or_shrinks() -> None:
    grown = make_plan(Config(), facts(8, stores="embedded"))
    assert (grown.event_store, grown.metadata) == ("embedded", "sqlite")
    assert "hold data here: they stay" in grown.notes[1]
    with pytest.raises(PlanError, match=r"ClickHouse .*stores = "):
        make_plan(Config(), facts(2, stores="servers"))
    changed = make_plan(Config(deploy=Deploy(stores="servers")), facts(8, stores="embedded"))
    assert changed.event_store == "server"


def test_stated_sizes_are_kept_and_their_memory_is_planned(tmp_path: Path) -> None:
    config = configured(tmp_path, '[ingest]\nmax_bytes_in_flight = "160m"\n[pipeline]\nbatch_bytes = "20m"\n')
    plan = make_plan(config, facts(2))
    assert plan.setting("config", "ingest.max_bytes_in_flight") == 160 * MIB
    assert plan.setting("config", "pipeline.batch_bytes") == 20 * MIB
    assert plan.service("ingest").memory >= (128 + 240) * MIB
    assert plan.service("core").memory >= (640 + 4 * 8) * MIB


def test_retention_and_spool_that_the_disk_cannot_hold_are_refused(tmp_path: Path) -> None:
    config = configured(tmp_path, '[retention]\nbytes = "40g"\n')
    with pytest.raises(PlanError, match=r"more than the 31 GiB for data .*lower \[ingest\] spool_max_bytes"):
        make_plan(config, facts(2))
    assert make_plan(config, facts(2, disk=100)).setting("config", "retention.bytes") == 40 * GIB


def test_days_are_said_at_the_stated_rate_and_fewer_than_wished_is_a_note() -> None:
    plan = make_plan(Config(deploy=Deploy(events_per_day=1_000_000)), facts(2))
    assert plan.days.events_per_day == 1_000_000
    assert plan.days.days == pytest.approx(9.8, abs=0.1)
    assert any("10 days, not the 30" in note for note in plan.notes)


def test_a_disk_that_is_too_small_says_for_what() -> None:
    with pytest.raises(PlanError, match="at least 7 GiB is needed: 5 GiB for the system"):
        make_plan(Config(), facts(2, disk=6))


def test_the_embedded_engine_gets_what_the_plugin_would_take_by_itself() -> None:
    for memory in (1, 1.5, 2, 2.5, 3):
        plan = make_plan(Config(), facts(memory))
        caps = derive_caps(ClickHouseConfig(), int(memory * GIB), plan.service("core").cpus)
        assert int(plan.setting("config", "plugins.clickhouse.server_memory")) // MIB == caps.server_memory // MIB
        assert abs(int(plan.setting("config", "plugins.clickhouse.query_memory")) - caps.query_memory) <= MIB
        assert plan.setting("config", "plugins.clickhouse.threads") == caps.threads
        assert plan.setting("config", "plugins.clickhouse.readers") == caps.readers


def test_a_servers_caps_stay_within_its_container() -> None:
    for memory in (3.8, 8, 16, 64):
        plan = make_plan(Config(), facts(memory, cpus=4))
        container = plan.service("clickhouse").memory
        cap = int(plan.setting("clickhouse", "max_server_memory_usage"))
        assert cap <= container - 128 * MIB
        assert int(plan.setting("clickhouse", "query.max_memory_usage")) * 2 < cap
        shared = int(str(plan.setting("postgres", "shared_buffers")).removesuffix("MB")) * MIB
        assert shared <= plan.service("postgres").memory // 2


def test_services_of_plugins_are_planned_and_move_a_host_to_a_smaller_profile_when_need_be() -> None:
    heavy = [ServiceSpec(name="browserless", compose={"image": "x", "mem_limit": "512m"})]
    plan = make_plan(Config(), facts(3.1), heavy)
    assert plan.profile == "small"
    assert plan.service("browserless").memory == 512 * MIB
    silent = make_plan(Config(), facts(2), [ServiceSpec(name="x", compose={"image": "x"})])
    assert silent.service("x").memory == 128 * MIB
    with pytest.raises(PlanError, match="mem_limit"):
        make_plan(Config(), facts(2), [ServiceSpec(name="x", compose={"mem_limit": "lots"})])


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('subnet = "8.8.8.0/24"', "no private IPv4 network"),
        ('subnet = "nonsense"', "expected a network"),
        ("port = 0", "expected 1 to 65535"),
        ('domain = "a.example"\n[site]\nurl = "https://b.example"', "make them the same"),
        ('tls = "internal"', "set \\[deploy\\] domain"),
        ('target = "tunnel"\n[site]\ntrusted_proxies = ["moon"]', "no address or network"),
    ],
)
def test_contradictions_in_the_configuration_are_named(tmp_path: Path, table: str, said: str) -> None:
    with pytest.raises(PlanError, match=said):
        make_plan(configured(tmp_path, f"[deploy]\n{table}\n"), facts(2))


def test_config_toml_goes_before_what_was_found() -> None:
    plan = make_plan(Config(deploy=Deploy(memory=4 * GIB, cpus=4, disk=100 * GIB)), facts(1))  # type: ignore[arg-type]
    assert (plan.facts.memory, plan.facts.cpus, plan.facts.disk) == (4 * GIB, 4, 100 * GIB)
    assert "memory: 4 GiB where 1 GiB was found; disk: 100 GiB where 40 GiB was found" in plan.notes[-1]
    less = make_plan(Config(deploy=Deploy(memory=2 * GIB)), facts(8))  # type: ignore[arg-type]
    assert less.profile == "small"
    assert not any("another host" in note for note in less.notes)


# ── the host ──


def make_root(root: Path, kib: int, limit: str = "max") -> Path:
    (root / "proc").mkdir(parents=True)
    (root / "proc/meminfo").write_text(f"MemTotal:       {kib} kB\n")
    (root / "sys/fs/cgroup").mkdir(parents=True)
    (root / "sys/fs/cgroup/memory.max").write_text(f"{limit}\n")
    return root


def test_memory_is_the_least_of_the_machines_and_the_cgroups(tmp_path: Path) -> None:
    assert detect(make_root(tmp_path / "a", 2_000_000), tmp_path).memory == 2_000_000 * 1024
    assert detect(make_root(tmp_path / "b", 2_000_000, "1073741824"), tmp_path).memory == GIB


def test_the_directory_need_not_exist_and_its_stores_are_seen(tmp_path: Path) -> None:
    root = make_root(tmp_path / "root", 2_000_000)
    fresh = detect(root, tmp_path / "opt" / "condev")
    assert fresh.stores == ""
    assert fresh.disk > 0
    (tmp_path / "a/data").mkdir(parents=True)
    (tmp_path / "a/data/metadata.db").touch()
    assert detect(root, tmp_path / "a").stores == "embedded"
    (tmp_path / "a/postgres/pgdata").mkdir(parents=True)
    assert detect(root, tmp_path / "a").stores == "servers"
