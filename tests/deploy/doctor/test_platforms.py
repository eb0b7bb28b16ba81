"""Coolify, Dokploy, CapRover and the usual proxies."""

from __future__ import annotations

import pytest

from appliance.deploy.doctor import platforms
from appliance.deploy.doctor.engine_api import EngineApi

from .conftest import ANYWHERE, EngineState, HostTree, MakeContext, codes, configured, only

Engine = tuple[EngineApi, EngineState]


async def test_an_empty_host(make_context: MakeContext, host: HostTree) -> None:
    host.process(1, "systemd")
    assert codes(await platforms.check_platforms(make_context())) == ["platforms"]


@pytest.mark.parametrize(
    ("path", "name"),
    [("data/coolify/x", "Coolify"), ("etc/dokploy/x", "Dokploy"), ("captain/x", "CapRover"), ("home/dokku/x", "Dokku")],
)
async def test_a_platform_is_known_by_its_directory(
    make_context: MakeContext, host: HostTree, path: str, name: str
) -> None:
    host.write(path, "")
    assert name in only(await platforms.check_platforms(make_context()), "other-platform").fact


async def test_a_platform_is_known_by_its_containers(make_context: MakeContext, engine: Engine) -> None:
    engine[1].add("abc123", labels={"coolify.managed": "true"})
    found = only(await platforms.check_platforms(make_context()), "other-platform")
    assert '"coolify"' in found.mend


async def test_the_target_that_fits_the_platform_is_all_right(make_context: MakeContext, host: HostTree) -> None:
    host.write("data/coolify/source", "")
    config = configured(deploy={"target": "coolify"})
    assert codes(await platforms.check_platforms(make_context(config=config))) == ["platforms"]


@pytest.mark.parametrize("program", ["nginx", "traefik", "caddy", "apache2", "haproxy"])
async def test_a_proxy_is_known_by_its_process(make_context: MakeContext, host: HostTree, program: str) -> None:
    host.process(900, program)
    found = only(await platforms.check_platforms(make_context()), "other-proxy")
    assert "behind-proxy" in found.mend
    behind = make_context(config=configured(deploy={"target": "behind-proxy"}))
    assert codes(await platforms.check_platforms(behind)) == ["platforms"]


async def test_a_proxy_in_a_container_counts_when_it_has_the_ports(make_context: MakeContext, engine: Engine) -> None:
    engine[1].add("web", image="nginx:1.27", ports={8090: "127.0.0.1"})
    assert codes(await platforms.check_platforms(make_context())) == ["platforms"]
    engine[1].add("edge", image="traefik:v3", ports={443: ANYWHERE})
    assert "Traefik" in only(await platforms.check_platforms(make_context()), "other-proxy").fact


async def test_our_own_proxy_is_no_other(make_context: MakeContext, host: HostTree, engine: Engine) -> None:
    engine[1].add("condev-caddy-1", service="caddy", project="condev", image="caddy:2", ports={443: ANYWHERE})
    host.process(901, "caddy", cgroup="0::/system.slice/docker-4711.scope\n")
    assert codes(await platforms.check_platforms(make_context())) == ["platforms"]
