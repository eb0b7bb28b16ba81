"""Instruction sets: said before an engine dies of a missing one."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.deploy.doctor.processors import NEEDED, check_processor, missing_flags, processor_flags
from appliance.hookspecs import StoreUnavailableError
from condev_plugins.clickhouse.processor import NEEDED as PLUGIN_NEEDS
from condev_plugins.clickhouse.processor import refuse_unfit_processor

from .conftest import V3, HostTree, MakeContext, codes, cpuinfo, only

# What hosting panels offer: Proxmox's default, its newer one, a Sandy Bridge, a Haswell.
KVM64 = "sse2 pni cx16"
V2 = "ssse3 sse4_1 sse4_2 popcnt pclmulqdq aes"


@pytest.mark.parametrize(
    ("flags", "embedded", "server"),
    [(KVM64, False, False), (V2, False, True), (f"{V2} avx", False, True), (f"{V2} {V3}", True, True)],
)
def test_which_processors_run_which_engine(flags: str, embedded: bool, server: bool) -> None:
    found = processor_flags(cpuinfo(flags))
    assert (not missing_flags("x86_64", "embedded", found)) is embedded
    assert (not missing_flags("x86_64", "server", found)) is server


def test_a_core_that_lacks_something_counts() -> None:
    assert "avx2" not in processor_flags(cpuinfo(V3, 1) + cpuinfo(V3.replace("avx2", ""), 1))


def test_a_raspberry_pi_4_runs_the_embedded_engine_alone() -> None:
    flags = processor_flags("Features\t: fp asimd evtstrm crc32 cpuid\n")
    assert missing_flags("aarch64", "embedded", flags) == []
    assert missing_flags("aarch64", "server", flags) == ["atomics", "asimddp"]


async def test_the_mend_names_the_other_engine_only_where_it_would_run(
    host: HostTree, make_context: MakeContext
) -> None:
    context = make_context(environ={"CONDEV_ARCHITECTURE": "x86_64"})
    host.write("proc/cpuinfo", cpuinfo(V2))
    assert (
        "The ClickHouse server would run" in only(check_processor(context, "embedded"), "cpu-lacks-instructions").mend
    )
    host.write("proc/cpuinfo", cpuinfo(KVM64))
    assert "would run" not in only(check_processor(context, "embedded"), "cpu-lacks-instructions").mend


async def test_other_architectures_and_silent_ones(host: HostTree, make_context: MakeContext) -> None:
    other = make_context(environ={"CONDEV_ARCHITECTURE": "riscv64"})
    assert only(check_processor(other, "embedded"), "architecture-unsupported").level == "error"
    host.write("proc/cpuinfo", "model name: something\n")
    assert codes(check_processor(make_context(environ={"CONDEV_ARCHITECTURE": "x86_64"}), "server")) == ["cpu-unknown"]


def test_the_embedded_engine_is_not_loaded_where_it_would_be_killed(tmp_path: Path) -> None:
    place = tmp_path / "cpuinfo"
    place.write_text(cpuinfo(V2))
    with pytest.raises(StoreUnavailableError, match="lacks movbe, avx, avx2"):
        refuse_unfit_processor(place, "x86_64")
    refuse_unfit_processor(place, "aarch64")
    refuse_unfit_processor(tmp_path / "missing", "x86_64")
    place.write_text(cpuinfo(V3))
    refuse_unfit_processor(place, "x86_64")


def test_doctor_and_the_plugin_ask_for_the_same() -> None:
    assert NEEDED["x86_64", "embedded"] == PLUGIN_NEEDS
