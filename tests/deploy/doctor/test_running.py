"""The running stack: containers against the plan, core over its real socket, plugins' own checks, volumes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from appliance import __version__
from appliance.control import ControlServer
from appliance.deploy.doctor import check_volumes, running
from appliance.deploy.doctor.engine_api import EngineApi
from appliance.deploy.doctor.machine import host_facts
from appliance.deploy.sizing import make_plan
from appliance.hookspecs import HealthCheck, HealthResult
from appliance.model import JsonObject
from appliance.running_file import Running, write_running
from appliance.testing.running import RunningAppliance

from .conftest import EngineState, HostTree, MakeContext, codes, only

Engine = tuple[EngineApi, EngineState]


def start_stack(engine: Engine, context: Any) -> dict[str, dict[str, Any]]:
    """All containers of the plan, as planned; what inspect says of each, by service."""
    plan = make_plan(context.config, host_facts(context))
    return {
        service.name: engine[1].add(
            f"condev-{service.name}-1", service=service.name, project="condev", HostConfig={"Memory": service.memory}
        )
        for service in plan.services
    }


@asynccontextmanager
async def core(data_dir: Path, answer: JsonObject) -> AsyncGenerator[None]:
    """A core's real control socket, with the answer that the test wants."""

    async def system(_args: JsonObject) -> JsonObject:
        return answer

    data_dir.mkdir(exist_ok=True)
    server = ControlServer(data_dir, {"system": system})
    await server.start()
    yield
    await server.stop()


async def test_without_a_stack_nothing_is_said(make_context: MakeContext) -> None:
    context = make_context()
    assert await running.check_services(context) == []
    assert await running.check_core(context) == []
    assert await running.check_plugins(context) == []


async def test_a_stack_as_planned(make_context: MakeContext, engine: Engine) -> None:
    context = make_context()
    start_stack(engine, context)
    assert codes(await running.check_services(context)) == ["services"]


async def test_what_is_wrong_with_each_service_is_said(make_context: MakeContext, engine: Engine) -> None:
    context = make_context()
    details = start_stack(engine, context)
    details["core"]["State"] = {"Health": {"Status": "unhealthy"}, "OOMKilled": True}
    details["core"]["RestartCount"] = 7
    details["ingest"]["HostConfig"] = {"Memory": 0}
    engine[1].containers = [one for one in engine[1].containers if "caddy" not in one["Names"][0]]
    found = await running.check_services(context)
    assert {one.code: one.level for one in found} == {
        "service-missing": "error",
        "service-unhealthy": "error",
        "service-out-of-memory": "warning",
        "service-restarts": "warning",
        "service-limit-differs": "warning",
    }
    assert "caddy" in only(found, "service-missing").fact
    assert "no limit" in only(found, "service-limit-differs").fact


async def test_a_stopped_service_is_an_error(make_context: MakeContext, engine: Engine) -> None:
    context = make_context()
    start_stack(engine, context)
    engine[1].containers[0] |= {"State": "exited", "Status": "Exited (137) 2 minutes ago"}
    assert "Exited (137)" in only(await running.check_services(context), "service-down").fact


async def test_a_service_whose_network_was_removed_is_an_error(make_context: MakeContext, engine: Engine) -> None:
    context = make_context()
    details = start_stack(engine, context)
    details["core"]["NetworkSettings"] = {"Networks": {"condev": {"NetworkID": "abc"}}}
    details["ingest"]["NetworkSettings"] = {"Networks": {}}
    found = await running.check_services(context)
    assert codes(found) == ["service-cut-off"]
    assert only(found, "service-cut-off").fact.startswith("ingest")


async def test_a_core_that_does_not_answer(make_context: MakeContext, engine: Engine, tmp_path: Path) -> None:
    engine[1].add("condev-core-1", service="core", project="condev")
    assert only(await running.check_core(make_context()), "core-not-answering").level == "error"
    server = ControlServer(tmp_path, {})  # an older one, which does not know the verb
    await server.start()
    assert "no verb" in only(await running.check_core(make_context(data_dir=tmp_path)), "core-not-answering").fact
    await server.stop()


async def test_problems_of_the_system_page_are_findings(make_context: MakeContext, tmp_path: Path) -> None:
    problems = [{"text": "The spool grows.", "mend": "Look at it."}]
    async with core(tmp_path / "data", {"problems": problems, "store": {}}):
        found = only(await running.check_core(make_context()), "system-problem")
    assert (found.fact, found.mend) == ("The spool grows.", "Look at it.")


async def test_a_store_that_does_not_answer(make_context: MakeContext, tmp_path: Path) -> None:
    async with core(tmp_path / "data", {"store": {"problem": "it is away"}}):
        assert only(await running.check_core(make_context()), "store-not-answering").level == "error"


async def test_settings_of_the_engine_are_read_back_and_compared_with_the_plan(
    make_context: MakeContext, host: HostTree, tmp_path: Path
) -> None:
    host.write("opt/condev/compose.yaml", "services: {}\n")
    context = make_context()
    plan = make_plan(context.config, host_facts(context))
    planned = str(plan.setting("config", "plugins.clickhouse.server_memory"))
    store = {"backend": "clickhouse (embedded)", "version": "26.9", "settings": {"max_server_memory_usage": planned}}
    async with core(tmp_path / "data", {"store": store}):
        assert f"max_server_memory_usage = {planned}" in only(await running.check_core(context), "event-store").fact
    store["settings"] = {"max_server_memory_usage": "999"}
    async with core(tmp_path / "data", {"store": {**store, "notes": ["mark_cache_size did not take"]}}):
        found = await running.check_core(context)
    assert f"999, not {planned}" in only(found, "engine-settings-differ").fact
    assert only(found, "engine-note").fact == "mark_cache_size did not take"


async def test_another_version_than_this_commands(make_context: MakeContext, tmp_path: Path) -> None:
    async with core(tmp_path / "data", {"store": {}}):
        write_running(tmp_path / "data", Running(version="0.0.1", started_at=1, revision="x", event_store=1))
        assert "0.0.1" in only(await running.check_core(make_context()), "version-differs").fact
        write_running(tmp_path / "data", Running(version=__version__, started_at=1, revision="x", event_store=1))
        assert codes(await running.check_core(make_context())) == ["event-store"]


async def test_a_real_appliance_says_what_its_engine_uses(make_context: MakeContext, tmp_path: Path) -> None:
    with RunningAppliance(tmp_path / "running") as appliance:
        found = await running.check_core(make_context(data_dir=appliance.data_dir))
    fact = only(found, "event-store").fact
    assert fact.startswith("clickhouse (embedded)")
    assert "max_server_memory_usage = " in fact


async def test_checks_of_plugins_are_asked_and_may_fail_in_every_way(make_context: MakeContext) -> None:
    async def good() -> HealthResult:
        return HealthResult(ok=True, detail="fine")

    async def bad() -> HealthResult:
        return HealthResult(ok=False, detail="the licence ends today", mend="renew it")

    async def broken() -> HealthResult:
        raise RuntimeError("a bug")

    made: list[Callable[[], Awaitable[HealthResult]]] = [good, bad, broken]
    checks = [("geo", HealthCheck(name=check.__name__, check=check)) for check in made]
    found = await running.check_plugins(make_context(health_checks=checks))
    assert codes(found) == ["plugin-check", "plugin-check-failed", "plugin-check-failed"]
    assert found[1].mend == "renew it"
    assert "RuntimeError: a bug" in found[2].fact


# ── volumes, with a program in Compose's place: the real one needs an engine (tests/stack) ──

COMPOSE = """#!/usr/bin/env python3
import json, pathlib, subprocess, sys
words = sys.argv[1:]
words = words[words.index("plain") + 1:]
place = pathlib.Path(__file__).parent
with (place / "calls").open("a") as calls:
    calls.write(json.dumps(words) + "\\n")
if words[0] == "restart":
    if (place / "forgets").exists():
        for file in (place / "volume").iterdir():
            file.unlink()
    sys.exit(0)
assert words[:2] == ["exec", "-T"], words
sys.exit(subprocess.run(words[3:]).returncode)
"""


@pytest.fixture
def compose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: Engine) -> Path:
    """A Compose whose services run here, with a volume of the service core; the folder of both."""
    folder = tmp_path / "bin"
    (folder / "volume").mkdir(parents=True)
    program = folder / "docker-compose"
    program.write_text(COMPOSE)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/local/bin:/usr/bin:/bin")
    details = engine[1].add("condev-core-1", service="core", project="condev")
    details["Mounts"] = [
        {"Type": "bind", "RW": True, "Destination": str(folder / "volume"), "Source": "/opt/condev/data"},
        {"Type": "bind", "RW": False, "Destination": "/plugins", "Source": "/opt/condev/plugins"},
        {"Type": "bind", "RW": True, "Destination": "/var/run/docker.sock", "Source": "/var/run/docker.sock"},
    ]
    return folder


async def test_a_volume_that_keeps_what_is_written(make_context: MakeContext, compose: Path, tmp_path: Path) -> None:
    found = await check_volumes(make_context(directory=tmp_path))
    assert str(compose / "volume") in only(found, "volume").fact
    calls = [json.loads(line)[0] for line in (compose / "calls").read_text().splitlines()]
    assert calls == ["exec", "restart", "exec", "exec"]
    assert list((compose / "volume").iterdir()) == []  # nothing is left


async def test_a_volume_that_forgets(make_context: MakeContext, compose: Path, tmp_path: Path) -> None:
    (compose / "forgets").touch()
    assert only(await check_volumes(make_context(directory=tmp_path)), "volume-not-kept").level == "error"


async def test_a_volume_that_cannot_be_written(make_context: MakeContext, compose: Path, tmp_path: Path) -> None:
    (compose / "volume").rmdir()
    assert only(await check_volumes(make_context(directory=tmp_path)), "volume-not-writable").level == "error"
    calls = [json.loads(line)[0] for line in (compose / "calls").read_text().splitlines()]
    assert "restart" not in calls


async def test_without_a_stack_there_is_no_volume_to_try(make_context: MakeContext, tmp_path: Path) -> None:
    assert codes(await check_volumes(make_context(directory=tmp_path))) == ["volumes-none"]


async def test_a_check_that_hangs_is_given_up(make_context: MakeContext, monkeypatch: pytest.MonkeyPatch) -> None:
    async def stuck() -> HealthResult:
        await asyncio.sleep(60)
        return HealthResult(ok=True, detail="")

    monkeypatch.setattr(running, "HEALTH_SECONDS", 0.05)
    found = await running.check_plugins(make_context(health_checks=[("slow", HealthCheck(name="it", check=stuck))]))
    assert "no answer" in only(found, "plugin-check-failed").fact
