"""Docker's engine and Compose."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from appliance.deploy.doctor import docker
from appliance.deploy.doctor.engine_api import EngineApi

from .conftest import EngineState, HostTree, MakeContext, codes, configured, only

Engine = tuple[EngineApi, EngineState]


async def test_a_current_engine_is_all_right(make_context: MakeContext) -> None:
    assert "28.2.2" in only(await docker.check_engine(make_context()), "docker").fact


async def test_no_docker_at_all(make_context: MakeContext, tmp_path: Path) -> None:
    context = make_context(engine=EngineApi(f"unix://{tmp_path / 'none.sock'}"))
    assert only(await docker.check_engine(context), "docker-missing").level == "error"


async def test_on_coolify_nobody_needs_the_engine(make_context: MakeContext, tmp_path: Path) -> None:
    config = configured(deploy={"target": "coolify"})
    context = make_context(config=config, engine=EngineApi(f"unix://{tmp_path / 'none.sock'}"))
    found = [*await docker.check_engine(context), *await docker.check_compose(context)]
    assert [(one.code, one.level) for one in found] == [("docker", "ok"), ("compose", "ok")]


async def test_a_docker_that_is_installed_and_does_not_run(
    make_context: MakeContext, host: HostTree, tmp_path: Path
) -> None:
    host.write("usr/bin/dockerd", "")
    context = make_context(engine=EngineApi(f"unix://{tmp_path / 'none.sock'}"))
    assert codes(await docker.check_engine(context)) == ["docker-not-answering"]


async def test_a_socket_behind_which_nobody_listens(make_context: MakeContext, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as abandoned:
        abandoned.bind(str(tmp_path / "left.sock"))
    context = make_context(engine=EngineApi(f"unix://{tmp_path / 'left.sock'}"))
    assert "nothing listens" in only(await docker.check_engine(context), "docker-not-answering").fact


async def test_an_engine_that_hangs_is_given_up(make_context: MakeContext, engine: Engine) -> None:
    engine[1].delay = 5
    context = make_context(engine=EngineApi(engine[0].address, seconds=0.2))
    assert "did not answer" in only(await docker.check_engine(context), "docker-not-answering").fact


async def test_a_user_without_the_right_is_told_so(make_context: MakeContext, monkeypatch: pytest.MonkeyPatch) -> None:
    context = make_context()
    await docker.check_engine(context)
    refused = docker.EngineError("refused", "unix:///var/run/docker.sock may not be used by this user")
    assert codes([docker._unreachable(context, refused)]) == ["docker-not-allowed"]  # pyright: ignore[reportPrivateUsage]


async def test_engines_that_our_stack_does_not_run_on(make_context: MakeContext, engine: Engine) -> None:
    engine[1].version["Version"] = "20.10.5+dfsg1"
    engine[1].info |= {"DockerRootDir": "/var/snap/docker/common/var-lib-docker", "MemoryLimit": False, "Driver": "vfs"}
    found = await docker.check_engine(make_context())
    assert codes(found) == ["docker-too-old", "docker-snap", "docker-no-memory-limit", "docker-storage-copies"]
    assert [only(found, code).level for code in codes(found)] == ["error", "error", "warning", "warning"]


async def test_debians_own_engine_is_new_enough(make_context: MakeContext, engine: Engine) -> None:
    engine[1].version["Version"] = "20.10.24+dfsg1"
    assert codes(await docker.check_engine(make_context())) == ["docker"]


async def test_podman_and_rootless_are_warnings(make_context: MakeContext, engine: Engine) -> None:
    engine[1].version["Components"] = [{"Name": "Podman Engine"}]
    engine[1].info["SecurityOptions"] = ["name=seccomp,profile=builtin", "name=rootless"]
    found = await docker.check_engine(make_context())
    assert {one.code: one.level for one in found} == {"docker-is-podman": "warning", "docker-rootless": "warning"}


@pytest.mark.parametrize(
    ("prints", "code"),
    [("v2.29.7", "compose"), ("2.17.3", "compose-too-old"), ("1.29.2", "compose-too-old"), ("", "compose-missing")],
)
async def test_the_version_of_compose(
    make_context: MakeContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prints: str, code: str
) -> None:
    program = tmp_path / "bin" / "docker-compose"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n[ -n '{prints}' ] || exit 1\necho '{prints}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    assert codes(await docker.check_compose(make_context())) == [code]
