"""Ports 80 and 443, who has them, and firewalls that Docker passes by."""

from __future__ import annotations

import os
import socket

import pytest

from appliance.deploy.doctor import Probes, ports
from appliance.deploy.doctor.engine_api import EngineApi
from appliance.http_client import GuardedHttpClient

from .conftest import ANYWHERE, EngineState, HostTree, MakeContext, codes, configured, only

Engine = tuple[EngineApi, EngineState]
REAL = Probes()


async def test_free_ports_are_all_right(make_context: MakeContext, host: HostTree) -> None:
    host.listen(22, 5432)
    assert codes(await ports.check_ports(make_context(probes=REAL))) == ["ports"]


@pytest.mark.parametrize("family", ["tcp", "tcp6"])
async def test_a_taken_port_names_the_program(make_context: MakeContext, host: HostTree, family: str) -> None:
    host.listen(80, name=family, inode=777)
    host.process(4711, "apache2", inode=777)
    found = only(await ports.check_ports(make_context(probes=REAL)), "port-taken")
    assert found.fact == "Port 80 is taken by apache2 (process 4711)."


async def test_a_taken_port_without_the_right_to_look(make_context: MakeContext, host: HostTree) -> None:
    host.listen(80, 443)
    found = await ports.check_ports(make_context(probes=REAL))
    assert codes(found) == ["port-taken", "port-taken"]
    assert "may not look" in found[0].fact


async def test_a_taken_port_names_the_container(make_context: MakeContext, host: HostTree, engine: Engine) -> None:
    host.listen(443)
    engine[1].add("proxy", ports={443: ANYWHERE}, image="traefik:3")
    assert "container proxy (traefik:3)" in only(await ports.check_ports(make_context(probes=REAL)), "port-taken").fact


async def test_without_tls_443_may_be_taken(make_context: MakeContext, host: HostTree) -> None:
    host.listen(443)
    config = configured(deploy={"tls": "off"})
    assert codes(await ports.check_ports(make_context(config=config, probes=REAL))) == ["ports"]


async def test_ports_follow_the_variables_of_compose(make_context: MakeContext, host: HostTree) -> None:
    host.listen(18080)
    environ = {"CONDEV_HTTP_PORT": "127.0.0.1:18080", "CONDEV_HTTPS_PORT": "18443"}
    found = only(await ports.check_ports(make_context(probes=None, environ=environ)), "port-taken")
    assert "Port 18080" in found.fact


async def test_our_own_proxy_may_have_them(make_context: MakeContext, host: HostTree, engine: Engine) -> None:
    host.listen(80, 443)
    engine[1].add("condev-caddy-1", service="caddy", project="condev", ports={80: ANYWHERE, 443: ANYWHERE})
    assert codes(await ports.check_ports(make_context(probes=REAL))) == ["ports"]


async def test_behind_a_proxy_only_the_loopback_port_counts(make_context: MakeContext, host: HostTree) -> None:
    config = configured(deploy={"target": "behind-proxy", "port": 8080})
    host.listen(80, 443)
    assert codes(await ports.check_ports(make_context(config=config, probes=REAL))) == ["ports"]
    host.listen(8080)
    assert (
        only(await ports.check_ports(make_context(config=config, probes=REAL)), "loopback-port-taken").level == "error"
    )


@pytest.mark.parametrize("target", ["coolify", "tunnel"])
async def test_other_targets_publish_nothing(make_context: MakeContext, host: HostTree, target: str) -> None:
    host.listen(80, 443, 8080)
    config = configured(deploy={"target": target})
    assert codes(await ports.check_ports(make_context(config=config, probes=REAL))) == ["ports"]


async def test_rootless_docker_cannot_have_port_80(make_context: MakeContext, host: HostTree, engine: Engine) -> None:
    engine[1].info["SecurityOptions"] = ["name=rootless"]
    host.write("proc/sys/net/ipv4/ip_unprivileged_port_start", "1024\n")
    assert only(await ports.check_ports(make_context(probes=REAL)), "port-privileged").level == "error"
    host.write("proc/sys/net/ipv4/ip_unprivileged_port_start", "80\n")
    assert codes(await ports.check_ports(make_context(probes=REAL))) == ["ports"]


async def test_a_real_listener_of_this_machine_is_found_with_its_program(tmp_path) -> None:
    from appliance.config import Config
    from appliance.deploy.doctor import DoctorContext

    client = GuardedHttpClient()
    context = DoctorContext(config=Config(), directory=tmp_path, data_dir=tmp_path, http=client)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        (found,) = [one for one in ports.listeners(context) if one.port == port]
        assert found.address == "127.0.0.1"
        assert f"(process {os.getpid()})" in ports.owner(context, [found.inode])
    await client.close()


@pytest.mark.parametrize(
    ("path", "text", "name"),
    [("etc/ufw/ufw.conf", "LOGLEVEL=low\nENABLED=yes\n", "ufw"), ("run/firewalld/firewalld.pid", "1", "firewalld")],
)
async def test_ports_that_pass_by_a_firewall_are_named(
    make_context: MakeContext, host: HostTree, engine: Engine, path: str, text: str, name: str
) -> None:
    host.write(path, text)
    engine[1].add("condev-caddy-1", service="caddy", project="condev", ports={80: ANYWHERE, 443: "::"})
    engine[1].add("inside", ports={6379: "127.0.0.1"})
    assert codes(await ports.check_firewall(make_context(probes=REAL))) == ["firewall"]
    engine[1].add("their-postgres", ports={5432: ANYWHERE})
    found = only(await ports.check_firewall(make_context(probes=REAL)), "firewall-bypassed")
    assert "5432/tcp (their-postgres)" in found.fact
    assert name in found.fact
    assert "6379" not in found.fact


async def test_without_a_firewall_nothing_is_said(make_context: MakeContext, host: HostTree, engine: Engine) -> None:
    host.write("etc/ufw/ufw.conf", "ENABLED=no\n")
    engine[1].add("their-postgres", ports={5432: ANYWHERE})
    assert await ports.check_firewall(make_context(probes=REAL)) == []
