"""compose.yaml, read by the real Compose: limits, hardening, what is published, order of start, secrets."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from appliance.config import ByteSize
from appliance.config_file import load
from appliance.deploy.host_facts import HostFacts
from appliance.deploy.render import render, required_secrets, state_directories
from appliance.deploy.render.state import StateDirectory
from appliance.deploy.sizing import make_plan

from .tools import SECRETS, TARGETS, compose, configured, facts, read_compose, rendered, write

SIZES = (1, 2, 8, 32)
CASES = [(target, size) for target in TARGETS for size in SIZES if not (target == "coolify" and size == 1)]


def stack(folder: Path, target: str, memory: float, more: str = "") -> tuple[Any, Any, dict[str, str]]:
    config = configured(folder, f'[deploy]\ntarget = "{target}"\ndomain = "monitor.example.com"\n{more}')
    plan, files, _ = rendered(config, memory + (0.2 if target == "tunnel" else 0))
    return read_compose(write(folder, files)), plan, files


@pytest.mark.parametrize(("target", "memory"), CASES)
def test_every_service_is_limited_as_planned_and_hardened(tmp_path: Path, target: str, memory: float) -> None:
    read, plan, _ = stack(tmp_path, target, memory)
    assert set(read["services"]) == {service.name for service in plan.services}
    for planned in plan.services:
        service = read["services"][planned.name]
        assert int(service["mem_limit"]) == int(service["memswap_limit"]) == planned.memory
        assert service["cpus"] == pytest.approx(planned.cpus)
        assert service["pids_limit"] == planned.pids
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["userns_mode"] == "host"
        assert service["restart"] == "unless-stopped"
        assert service["logging"]["options"] == {"max-file": "3", "max-size": "10m"}
        assert service["healthcheck"]["test"]
        assert int(service["user"].split(":")[0]) > 0
        assert service.get("cap_add", []) == (["NET_BIND_SERVICE"] if planned.name == "caddy" else [])
    assert sum(service.memory for service in plan.services) + plan.reserve.memory <= plan.facts.memory


@pytest.mark.parametrize("memory", SIZES)
def test_only_the_proxy_is_published(tmp_path: Path, memory: float) -> None:
    published = {
        target: {
            name: sorted(f"{port.get('host_ip', '')}:{port['published']}/{port['protocol']}" for port in found)
            for name, service in stack(tmp_path / target, target, memory + 0.7)[0]["services"].items()
            if (found := service.get("ports"))
        }
        for target in TARGETS
    }
    assert published["compose"] == {"caddy": [":443/tcp", ":443/udp", ":80/tcp"]}
    assert published["behind-proxy"] == {"caddy": ["127.0.0.1:8080/tcp"]}
    assert published["tunnel"] == {}
    assert published["coolify"] == {}


def test_without_a_domain_only_port_80_is_published(tmp_path: Path) -> None:
    plan, files, _ = rendered(configured(tmp_path))
    read = read_compose(write(tmp_path, files))
    assert [port["published"] for port in read["services"]["caddy"]["ports"]] == ["80"]
    assert any("plain HTTP" in note for note in plan.notes)


def test_the_network_is_named_and_its_subnet_is_what_the_services_trust(tmp_path: Path) -> None:
    read, _, _ = stack(tmp_path, "compose", 2, 'subnet = "10.99.1.0/24"\n[site]\ntrusted_proxies = ["203.0.113.7"]\n')
    assert read["networks"]["condev"]["name"] == "condev"
    assert read["networks"]["condev"]["ipam"]["config"] == [{"subnet": "10.99.1.0/24"}]
    for name in ("ingest", "core"):
        environment = read["services"][name]["environment"]
        within = load(None, {key: value for key, value in environment.items() if key.startswith("CONDEV__")})
        assert within.site.trusted_proxies == ["10.99.1.0/24", "203.0.113.7"]
        assert within.site.url == "https://monitor.example.com"


def test_the_variables_say_to_the_services_what_the_plan_says(tmp_path: Path) -> None:
    read, plan, _ = stack(tmp_path, "compose", 8)
    environment = read["services"]["core"]["environment"]
    within = load(None, {key: value for key, value in environment.items() if key.startswith("CONDEV__")})
    assert within.retention.bytes == plan.setting("config", "retention.bytes")
    assert within.ingest.spool_max_bytes == plan.setting("config", "ingest.spool_max_bytes")
    assert isinstance(within.pipeline.batch_bytes, ByteSize)
    assert within.plugin_tables["clickhouse"]["query_memory"] == str(
        plan.setting("config", "plugins.clickhouse.query_memory")
    )
    assert within.metadata.url is not None
    assert within.metadata.url.reveal() == "postgresql://condev:pg-secret@postgres:5432/condev"
    assert environment["CONDEV__PLUGINS__CLICKHOUSE__PASSWORD"] == "ch-secret"
    assert environment["CONDEV_CONFIG"] == "/etc/condev/config.toml"


def test_core_waits_for_its_stores_and_nothing_waits_for_core(tmp_path: Path) -> None:
    services = stack(tmp_path, "compose", 8)[0]["services"]
    waits = {
        name: {other: how["condition"] for other, how in service.get("depends_on", {}).items()}
        for name, service in services.items()
    }
    assert waits["core"] == {"clickhouse": "service_healthy", "postgres": "service_healthy"}
    assert waits["ingest"] == {}
    assert waits["caddy"] == {"ingest": "service_started"}  # a store that does not start takes nothing else along


def test_postgres_and_clickhouse_are_told_their_caps(tmp_path: Path) -> None:
    read, plan, files = stack(tmp_path, "compose", 8)
    command = read["services"]["postgres"]["command"]
    assert f"shared_buffers={plan.setting('postgres', 'shared_buffers')}" in command
    server = files["clickhouse/config.d/condev.xml"]
    cap = plan.setting("clickhouse", "max_server_memory_usage")
    assert f"<max_server_memory_usage>{cap}</max_server_memory_usage>" in server
    assert '<query_log remove="1"/>' in server
    assert '<password from_env="CLICKHOUSE_PASSWORD"/>' in files["clickhouse/users.d/condev.xml"]
    import xml.etree.ElementTree as ET

    for path in ("clickhouse/config.d/condev.xml", "clickhouse/users.d/condev.xml"):
        assert ET.fromstring(files[path]).tag == "clickhouse"  # noqa: S314 - our own


def test_stores_elsewhere_have_no_service_and_no_password_of_ours(tmp_path: Path) -> None:
    text = """
[metadata]
url = { env = "DATABASE_URL" }
[plugins.clickhouse]
engine = "server"
url = "https://ch.example.com:8443"
password = { env = "CH_ELSEWHERE" }
"""
    config = configured(tmp_path, text, DATABASE_URL="postgresql://u:p@db/x", CH_ELSEWHERE="s")
    plan, files, _ = rendered(config, 8)
    secrets = {"DATABASE_URL": "postgresql://u:p@db/x", "CH_ELSEWHERE": "s"}
    read = read_compose(write(tmp_path, files), **secrets)
    assert set(read["services"]) == {"caddy", "ingest", "core"}
    assert {secret.name for secret in required_secrets(config, plan)} == set(secrets)
    assert read["services"]["core"]["environment"]["DATABASE_URL"] == secrets["DATABASE_URL"]
    assert "CONDEV__METADATA__URL" not in read["services"]["core"]["environment"]


@pytest.mark.parametrize("target", TARGETS)
def test_secrets_are_named_and_never_held(tmp_path: Path, target: str) -> None:
    text = f"""
[deploy]
target = "{target}"
domain = "monitor.example.com"
[plugins.smtp]
host = "smtp.example.com"
username = "user"
password = {{ env = "SMTP_PASSWORD" }}
[plugins.resend]
api_key = "re_in_clear_in_the_file"
"""
    config = configured(tmp_path, text, SMTP_PASSWORD="smtp-hunter2")
    plan, files, _ = rendered(config, 8)
    everything = "\n".join(files.values())
    assert "hunter2" not in everything
    assert "re_in_clear" not in everything
    named = set(re.findall(r"\$\{(\w+):\?", files["compose.yaml"]))
    listed = {secret.name for secret in required_secrets(config, plan)}
    assert listed <= named
    assert {"SMTP_PASSWORD", "POSTGRES_PASSWORD", "CLICKHOUSE_PASSWORD"} <= listed
    assert named - listed <= {"CONDEV__PLUGINS__RESEND__API_KEY"}
    write(tmp_path, files)
    missing = compose(tmp_path, "config", "-q", **SECRETS)
    assert missing.returncode != 0
    assert "set it in .env" in missing.stderr


def test_a_secret_in_a_file_is_mounted_where_it_is(tmp_path: Path) -> None:
    secret = tmp_path / "resend"
    secret.write_text("x")
    config = configured(tmp_path, f'[plugins.resend]\napi_key = {{ file = "{secret}" }}\n')
    read = read_compose(write(tmp_path, rendered(config)[1]))
    mounts = {mount["target"]: mount for mount in read["services"]["core"]["volumes"]}
    assert mounts[str(secret)]["read_only"] is True


def test_coolify_has_no_network_of_ours_no_bind_mounts_and_all_settings_as_variables(tmp_path: Path) -> None:
    more = """
[site]
name = "Ours: $5 & more"
[channels]
email = ["smtp"]
[plugins.smtp]
host = "smtp.example.com"
port = 2525
password = { env = "SMTP_PASSWORD" }
"""
    config = configured(tmp_path, f'[deploy]\ntarget = "coolify"\ndomain = "m.example.com"\n{more}', SMTP_PASSWORD="x")
    _, files, _ = rendered(config, 8)
    assert "name: condev\n" not in files["compose.yaml"]
    read = read_compose(write(tmp_path, files), SMTP_PASSWORD="smtp-pw", **SECRETS)
    assert "condev" not in read["networks"]
    assert all(m["type"] == "volume" for s in read["services"].values() for m in s.get("volumes", []))
    assert [read["services"][name]["expose"] for name in ("ingest", "core")] == [["8001"], ["8000"]]
    environment = read["services"]["ingest"]["environment"]
    within = load(None, {key: value for key, value in environment.items() if key.startswith("CONDEV__")})
    assert within.site.name == "Ours: $5 & more".replace("$", "$$")
    assert within.channels["email"] == ["smtp"]
    assert within.plugin_tables["smtp"] == {"host": "smtp.example.com", "port": "2525", "password": "smtp-pw"}
    labels = read["services"]["ingest"]["labels"]
    rule = labels["traefik.http.routers.condev-ingest.rule"]
    assert rule.startswith("Host(`m.example.com`) && PathRegexp(`^/+(?:")
    assert "max_server_memory_usage" in read["configs"]["clickhouse-config"]["content"]


def test_a_file_secret_cannot_go_to_coolify(tmp_path: Path) -> None:
    secret = tmp_path / "key"
    secret.write_text("x")
    text = f'[deploy]\ntarget = "coolify"\n[plugins.resend]\napi_key = {{ file = "{secret}" }}\n'
    with pytest.raises(Exception, match=r"use \{ env ="):
        rendered(configured(tmp_path, text), 4)


def test_the_same_gives_the_same_text_and_a_changed_key_starts_what_reads_it(tmp_path: Path) -> None:
    config = configured(tmp_path / "a")
    _, first, extensions = rendered(config)
    assert render(config, make_plan(config, facts(2)), extensions) == first

    def labels(text: str) -> dict[str, str]:
        files = rendered(configured(tmp_path / "b", text), extensions=extensions)[1]
        return dict(
            re.findall(r"\n  (\w+):\n(?:    .*\n)*?    labels: { condev.reads: \"(\w+)\"", files["compose.yaml"])
        )

    before = labels("")
    assert set(before) == {"caddy", "ingest", "core"}
    after = labels("[alerts]\nattempts = 3\n")
    assert [name for name in before if before[name] != after[name]] == ["core"]
    after = labels("[ingest]\nrequests_per_second = 7\n")
    assert {name for name in before if before[name] != after[name]} == {"ingest", "core"}


def test_state_directories_are_named_with_whom_they_must_belong_to() -> None:
    from appliance.config import Config

    plan = make_plan(Config(), HostFacts(memory=8 << 30, cpus=2, disk=80 << 30))
    directories = {directory.path: directory for directory in state_directories(plan)}
    assert directories["data"] == StateDirectory("data", 10001, 0o700)
    assert directories["clickhouse-data"].user == 101
    assert set(directories) == {"data", "plugins", "caddy/data", "caddy/config", "postgres", "clickhouse-data"}


def test_on_coolify_without_a_domain_one_variable_names_it(tmp_path: Path) -> None:
    _, files, _ = rendered(configured(tmp_path, '[deploy]\ntarget = "coolify"\n'), 3)
    assert "CONDEV_DOMAIN=\n" in files[".env.example"]
    read = read_compose(write(tmp_path, files), CONDEV_DOMAIN="m.example.com")
    assert read["services"]["core"]["environment"]["CONDEV__SITE__URL"] == "https://m.example.com"
    assert read["services"]["core"]["labels"]["traefik.http.routers.condev-core.rule"] == "Host(`m.example.com`)"
    assert "the host name, set it in Coolify" in compose(tmp_path, "config", "-q").stderr


def test_with_ipv6_the_network_has_a_second_subnet_that_is_trusted_too(tmp_path: Path) -> None:
    read, _, _ = stack(tmp_path, "compose", 2, "ipv6 = true\n")
    subnets = [one["subnet"] for one in read["networks"]["condev"]["ipam"]["config"]]
    assert read["networks"]["condev"]["enable_ipv6"] is True
    trusted = read["services"]["core"]["environment"]["CONDEV__SITE__TRUSTED_PROXIES"]
    assert len(subnets) == 2
    assert all(subnet in trusted for subnet in subnets)
