"""Memory, swap, processors, disk, kernel."""

from __future__ import annotations

import os

import pytest

from appliance.deploy.doctor import machine
from appliance.deploy.doctor.engine_api import EngineApi

from .conftest import GIB, V3, EngineState, HostTree, MakeContext, codes, configured, cpuinfo, meminfo, only

Engine = tuple[EngineApi, EngineState]
MIB = 1 << 20


@pytest.mark.parametrize("shown", [973 * MIB, GIB, 2 * GIB, 64 * GIB])
async def test_every_size_from_one_gigabyte_on_is_taken(host: HostTree, make_context: MakeContext, shown: int) -> None:
    host.write("proc/meminfo", meminfo(shown))
    assert only(await machine.check_memory(make_context()), "memory").level == "ok"


async def test_half_a_gigabyte_is_refused(host: HostTree, make_context: MakeContext) -> None:
    host.write("proc/meminfo", meminfo(GIB // 2))
    assert only(await machine.check_memory(make_context()), "memory-too-small").level == "error"


@pytest.mark.parametrize("limit_file", ["sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"])
async def test_a_limit_of_the_cgroup_counts_as_the_hosts_memory(
    host: HostTree, make_context: MakeContext, limit_file: str
) -> None:
    host.write("proc/meminfo", meminfo(64 * GIB))
    host.write(limit_file, f"{600 * MIB}\n")
    assert codes(await machine.check_memory(make_context())) == ["memory-too-small"]


async def test_a_configuration_that_makes_no_stack_is_said(make_context: MakeContext) -> None:
    config = configured(deploy={"subnet": "8.8.8.0/24"})
    found = only(await machine.check_memory(make_context(config=config)), "plan-impossible")
    assert found.level == "error"
    assert "subnet" in found.fact


async def test_a_host_smaller_than_configured_is_a_warning_and_a_larger_one_is_not(make_context: MakeContext) -> None:
    larger = make_context(config=configured(deploy={"memory": 4 * GIB}))
    assert only(await machine.check_memory(larger), "memory-overstated").level == "warning"
    smaller = make_context(config=configured(deploy={"memory": GIB}))
    assert "1.0 GiB of it planned with" in only(await machine.check_memory(smaller), "memory").fact


async def test_more_processors_than_docker_has_are_an_error(make_context: MakeContext, engine: Engine) -> None:
    engine[1].info["NCPU"] = 2
    assert await machine.check_cpu_limits(make_context(config=configured(deploy={"cpus": 2.0}))) == []
    context = make_context(config=configured(deploy={"cpus": 8.0, "memory": 16 * GIB}))
    assert "clickhouse" in only(await machine.check_cpu_limits(context), "cpus-overstated").consequence
    engine[1].info["NCPU"] = 8
    assert await machine.check_cpu_limits(make_context(config=context.config)) == []


async def test_memory_that_others_hold_is_a_warning(host: HostTree, make_context: MakeContext) -> None:
    host.write("proc/meminfo", meminfo(2 * GIB, available=GIB // 2))
    found = only(await machine.check_memory_in_use(make_context()), "memory-in-use")
    assert (found.level, "1.5 GiB of 2.0 GiB" in found.fact) == ("warning", True)


async def test_memory_of_our_own_stack_is_not_others(host: HostTree, make_context: MakeContext, engine: Engine) -> None:
    host.write("proc/meminfo", meminfo(2 * GIB, available=GIB // 2))
    engine[1].add("condev-core-1", service="core", project="condev")
    assert await machine.check_memory_in_use(make_context()) == []


async def test_a_small_host_without_swap_is_warned_and_a_large_one_is_not(
    host: HostTree, make_context: MakeContext
) -> None:
    host.write("proc/meminfo", meminfo(2 * GIB, swap=0))
    assert only(await machine.check_swap(make_context()), "swap-none").level == "warning"
    host.write("proc/meminfo", meminfo(8 * GIB, swap=0))
    assert only(await machine.check_swap(make_context()), "swap").level == "ok"
    host.write("proc/meminfo", meminfo(GIB, swap=GIB))
    assert "1.0 GiB" in only(await machine.check_swap(make_context()), "swap").fact


async def test_half_a_processor_is_a_warning(host: HostTree, make_context: MakeContext) -> None:
    host.write("sys/fs/cgroup/cpu.max", "50000 100000\n")
    assert "cpu-share-small" in codes(await machine.check_cpus(make_context()))


async def test_the_processor_is_judged_for_the_engine_that_will_run(host: HostTree, make_context: MakeContext) -> None:
    host.write("proc/cpuinfo", cpuinfo(V3.replace("avx2", "")))
    context = make_context(environ={"CONDEV_ARCHITECTURE": "x86_64"})
    assert "cpu-lacks-instructions" in codes(await machine.check_cpus(context))
    host.write("proc/meminfo", meminfo(8 * GIB))  # large enough for a server, which asks for less
    assert "cpu-lacks-instructions" not in codes(await machine.check_cpus(context))


async def test_no_processor_is_too_old_for_a_store_elsewhere(host: HostTree, make_context: MakeContext) -> None:
    host.write("proc/cpuinfo", cpuinfo("sse2"))
    config = configured()
    config.plugin_tables = {"clickhouse": {"engine": "server", "url": "https://clickhouse.example.com:8443"}}
    assert codes(await machine.check_cpus(make_context(config=config))) == ["cpus"]


async def test_space_and_inodes_of_the_installation_are_looked_at(host: HostTree, make_context: MakeContext) -> None:
    (host.root / "opt").mkdir(parents=True)
    found = await machine.check_disk(make_context())
    real = os.statvfs(host.root)
    enough = real.f_bavail * real.f_frsize >= machine.DISK_TO_INSTALL
    assert codes(found) == (["disk"] if enough else ["disk-too-small"])


async def test_a_full_disk_and_used_up_inodes_are_errors(
    host: HostTree, make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "DISK_TO_INSTALL", 1 << 60)
    monkeypatch.setattr(machine, "LEAST_INODES", 1 << 60)
    found = await machine.check_disk(make_context())
    assert only(found, "disk-too-small").level == "error"
    if os.statvfs(host.root).f_files:
        assert only(found, "inodes-too-few").level == "error"


async def test_an_installed_stack_needs_less_room_than_an_installation(
    host: HostTree, make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "DISK_TO_INSTALL", 1 << 60)
    host.write("opt/condev/compose.yaml", "services: {}\n")
    assert codes(await machine.check_disk(make_context())) == ["disk"]


@pytest.mark.parametrize(("kind", "code"), [("nfs4", "disk-over-network"), ("tmpfs", "disk-in-memory")])
async def test_a_file_system_that_does_not_keep_data_is_an_error(
    host: HostTree, make_context: MakeContext, kind: str, code: str
) -> None:
    host.write("proc/1/mounts", f"/dev/sda1 / ext4 rw 0 0\nx /opt {kind} rw 0 0\ny /opt/other ext4 rw 0 0\n")
    assert only(await machine.check_disk(make_context()), code).level == "error"


@pytest.mark.parametrize(
    ("release", "code"),
    [
        ("2.6.32-754.el6", "kernel-too-old"),
        ("3.10.0-1160.el7", "kernel-old"),
        ("4.18.0-553.el8", "kernel"),
        ("6.18.4", "kernel"),
    ],
)
async def test_old_kernels(host: HostTree, make_context: MakeContext, release: str, code: str) -> None:
    host.write("proc/sys/kernel/osrelease", release)
    assert codes(await machine.check_kernel(make_context())) == [code]
