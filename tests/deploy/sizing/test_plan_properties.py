"""What holds for every host: sums, monotony, determinism."""

from __future__ import annotations

from typing import Literal

from hypothesis import assume, given
from hypothesis import strategies as st

from appliance.config import GIB, MIB, Config, Deploy
from appliance.deploy.host_facts import HostFacts
from appliance.deploy.sizing import Plan, PlanError, make_plan
from appliance.hookspecs import ServiceSpec

memories = st.integers(int(0.95 * GIB) + MIB, 80 * GIB)
more_memory = st.integers(0, 4 * GIB)
cores = st.floats(0.25, 64, allow_nan=False)
disks = st.integers(8 * GIB, 4096 * GIB)
Target = Literal["compose", "behind-proxy", "coolify", "tunnel"]
targets: st.SearchStrategy[Target] = st.sampled_from(["compose", "behind-proxy", "coolify", "tunnel"])
plugin_services = st.lists(st.integers(8, 600), max_size=2).map(
    lambda sizes: [ServiceSpec(name=f"s{n}", compose={"mem_limit": f"{size}m"}) for n, size in enumerate(sizes)]
)


def plan_or_none(
    memory: int, cpus: float, disk: int, target: Target, services: list[ServiceSpec] | None = None
) -> Plan | None:
    """None where it rightly does not fit: what is too small is another test's."""
    try:
        return make_plan(
            Config(deploy=Deploy(target=target)), HostFacts(memory=memory, cpus=cpus, disk=disk), services or []
        )
    except PlanError:
        return None


@given(memories, cores, disks, targets, plugin_services)
def test_limits_and_reserve_never_exceed_the_memory(
    memory: int, cpus: float, disk: int, target: Target, services: list[ServiceSpec]
) -> None:
    plan = plan_or_none(memory, cpus, disk, target, services)
    assume(plan is not None)
    assert plan is not None
    assert sum(service.memory for service in plan.services) + plan.reserve.memory <= memory
    assert all(service.memory % MIB == 0 and service.memory >= 8 * MIB for service in plan.services)
    assert {spec.name for spec in services} <= {service.name for service in plan.services}


@given(memories, cores, disks)
def test_from_the_stated_minimum_on_there_is_always_a_plan(memory: int, cpus: float, disk: int) -> None:
    assert plan_or_none(memory, cpus, disk, "compose") is not None
    assert plan_or_none(memory, cpus, disk, "behind-proxy") is not None


@given(memories, more_memory, cores, disks, targets)
def test_more_memory_never_gives_a_service_less_within_a_profile(
    memory: int, more: int, cpus: float, disk: int, target: Target
) -> None:
    less, larger = plan_or_none(memory, cpus, disk, target), plan_or_none(memory + more, cpus, disk, target)
    assume(less is not None and larger is not None)
    assert less is not None
    assert larger is not None
    assume(less.profile == larger.profile)
    for service in less.services:
        assert larger.service(service.name).memory >= service.memory
    assert larger.reserve.memory >= less.reserve.memory
    for setting in less.settings:
        if setting.unit == "bytes":
            assert int(larger.setting(setting.part, setting.name)) >= int(setting.value), setting.name


@given(memories, cores, disks, st.integers(0, 1024 * GIB))
def test_more_disk_never_keeps_less(memory: int, cpus: float, disk: int, more: int) -> None:
    less, larger = plan_or_none(memory, cpus, disk, "compose"), plan_or_none(memory, cpus, disk + more, "compose")
    assert less is not None
    assert larger is not None
    for name in ("retention.bytes", "ingest.spool_max_bytes"):
        assert int(larger.setting("config", name)) >= int(less.setting("config", name))
    kept = int(less.setting("config", "retention.bytes")) + int(less.setting("config", "ingest.spool_max_bytes"))
    assert kept < disk


@given(memories, cores, disks, targets)
def test_the_same_host_gets_the_same_plan(memory: int, cpus: float, disk: int, target: Target) -> None:
    assert plan_or_none(memory, cpus, disk, target) == plan_or_none(memory, cpus, disk, target)


@given(st.integers(0, 80 * GIB), cores, disks, targets)
def test_a_smaller_profile_is_tried_before_anything_is_refused(
    memory: int, cpus: float, disk: int, target: Target
) -> None:
    """Where nothing fits, there is less than the minimum, with Coolify's own share on top of it."""
    others = 640 * MIB if target == "coolify" else 0
    extra = 80 * MIB if target == "tunnel" else 0
    if plan_or_none(memory, cpus, disk, target) is None:
        assert memory - others - extra < 0.95 * GIB
