"""compose.yaml: one template, filled in from the plan. Services of plugins are written as their plugin gives them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Final

from appliance import __version__
from appliance.config import Config
from appliance.config_shown import shown
from appliance.deploy.extensions import Extensions
from appliance.deploy.plan import Plan, size_text
from appliance.deploy.render.environment import CONFIG_PATH, WHY, WHY_DOMAIN, environment, file_secrets, look_up
from appliance.deploy.render.paths import all_paths
from appliance.deploy.render.state import APPLIANCE_USER, CLICKHOUSE_USER, POSTGRES_USER
from appliance.deploy.render.text import RenderError, block, literal, mebibytes, template, variable
from appliance.deploy.sizing import PLUGIN_SERVICE_MEMORY
from appliance.deploy.topology import domain, own_networks
from appliance.hookspecs import ServiceSpec
from appliance.model import JsonObject

# In `python -I -S` with the C module alone: 13 ms of processor time; urllib takes 110, curl is not in the image.
_PROBE: Final = (
    "import _socket as s; c = s.socket(); c.settimeout(3); c.connect(('127.0.0.1', {port})); "
    "c.send(b'GET /healthz HTTP/1.0\\r\\n\\r\\n'); raise SystemExit(c.recv(12)[9:12] != b'200')"
)
_SERVICE_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,39}")
OURS: Final = frozenset({"caddy", "cloudflared", "ingest", "core", "clickhouse", "postgres"})
# What ingest reads of config.toml: another key is no reason to restart it.
_INGEST_READS: Final = ("site.", "ingest.", "sdk.", "plugins.", "log.")


def compose_file(config: Config, plan: Plan, extensions: Extensions, files: Mapping[str, str]) -> str:
    """Write compose.yaml.

    Args:
        config: the configuration.
        plan: what each service may take.
        extensions: of plugins.
        files: the other rendered files: a change in one that a service reads starts that service anew.

    Raises:
        RenderError: a plugin's service cannot stand beside ours.
    """
    postgres = [f"{s.name}={s.value}" for s in plan.settings if s.part == "postgres"]
    caddy = {s.name: literal(s.value) for s in plan.settings if s.part == "caddy"}
    values: dict[str, object] = {
        "plan": plan,
        "coolify": plan.target == "coolify",
        "version": __version__,
        "host": f"{size_text(plan.facts.memory)}, {plan.facts.cpus:g} CPUs, {size_text(plan.facts.disk)} of disk",
        "limits": {service.name: service for service in plan.services},
        "environment": environment(config, plan),
        "config_path": CONFIG_PATH,
        "file_secrets": [literal(f"{path}:{path}:ro,z") for path in file_secrets(config)],
        "backup_directory": _backup_directory(config),
        "user": APPLIANCE_USER,
        "postgres_user": POSTGRES_USER,
        "clickhouse_user": CLICKHOUSE_USER,
        "postgres_settings": postgres,
        "caddy_environment": caddy,
        "https": plan.target == "compose" and bool(domain(config)) and config.deploy.tls != "off",
        "published": plan.target in ("compose", "behind-proxy"),
        "port": config.deploy.port,
        "subnets": own_networks(config),
        "ipv6": config.deploy.ipv6,
        "labels": _labels(config, files),
        "clickhouse_xml": {path: text.replace("$", "$$") for path, text in files.items() if "clickhouse/" in path},
        "traefik": _traefik(config, extensions) if plan.target == "coolify" else {},
        "probe": _probe,
        "core_grace": round(config.pipeline.shutdown_seconds) + 15,
        "plugin_services": [_plugin_service(spec, plan) for spec in extensions.services],
        "mebibytes": mebibytes,
        "variable": _secret,
        "quoted": _quoted,
    }
    return template("compose.yaml.j2", **values)


def _backup_directory(config: Config) -> str:
    """The host's directory for scheduled backups, at the same place in core; "" where /data holds them."""
    place = PurePosixPath(config.backup.directory)
    if not place.is_absolute() or place.is_relative_to("/data"):
        return ""
    return literal(str(place))


def _probe(port: int) -> str:
    return _quoted(_PROBE.format(port=port))


def _secret(name: str) -> str:
    return variable(name, WHY)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def services_files(services: Sequence[ServiceSpec], taken: Mapping[str, str]) -> dict[str, str]:
    """The files that plugins bring for their services, each below the service's own folder.

    Raises:
        RenderError: a path leads elsewhere, or two plugins write the same file.
    """
    found: dict[str, str] = {}
    for spec in services:
        for name, text in sorted(spec.files.items()):
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or not path.parts or "\\" in name:
                raise RenderError(f"the service {spec.name} of a plugin brings the file {name!r}: it must be relative")
            whole = str(PurePosixPath("services") / spec.name / path)
            if whole in found or whole in taken:
                raise RenderError(f"two plugins write {whole}: disable one in [plugins] disabled")
            found[whole] = text
    return found


def _labels(config: Config, files: Mapping[str, str]) -> dict[str, str]:
    """A digest of what each service reads from a mounted file: Compose itself looks at compose.yaml alone."""
    # What the file sets, not the defaults: those change with the version, and with it the image.
    values = shown(config)
    keys = {key: look_up(values, key) for key in sorted(config.given) if not key.startswith("deploy.")}
    engine = [text for path, text in sorted(files.items()) if path.startswith("clickhouse/")]
    return {
        "caddy": _digest(files.get("Caddyfile", "")),
        "ingest": _digest({key: keys[key] for key in keys if key.startswith(_INGEST_READS)}),
        "core": _digest(keys),
        "clickhouse": _digest(engine),
    }


def _digest(value: object) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _traefik(config: Config, extensions: Extensions) -> dict[str, dict[str, str]]:
    """Labels for Coolify's Traefik: SDK paths to ingest, the rest to core. `$` is doubled: Compose reads these."""
    name = domain(config)
    host = f"Host(`{name}`)" if name else "Host(`" + variable("CONDEV_DOMAIN", WHY_DOMAIN).strip('"') + "`)"
    paths = all_paths(extensions.protocols, config.sdk.script).replace("$", "$$")

    def router(service: str, rule: str, port: int, priority: int) -> dict[str, str]:
        own = f"traefik.http.routers.condev-{service}"
        return {
            "traefik.enable": "true",
            f"{own}.rule": rule,
            f"{own}.priority": str(priority),
            f"{own}.entrypoints": "https",
            f"{own}.tls": "true",
            f"{own}.tls.certresolver": "letsencrypt",
            f"{own}.service": f"condev-{service}",
            f"traefik.http.services.condev-{service}.loadbalancer.server.port": str(port),
        }

    return {
        "ingest": router("ingest", f"{host} && PathRegexp(`{paths}`)", 8001, 100),
        "core": router("core", host, 8000, 10),
    }


def _plugin_service(spec: ServiceSpec, plan: Plan) -> tuple[str, str]:
    """A plugin's service: as it gives it, with our limits where it states none.

    Raises:
        RenderError: its name is taken or no service name, or it publishes ports.
    """
    if spec.name in OURS or not _SERVICE_NAME.fullmatch(spec.name):
        raise RenderError(f"a plugin's service is called {spec.name!r}: use a name of its own, of [a-z0-9-]")
    if "ports" in spec.compose or spec.compose.get("network_mode") == "host":
        raise RenderError(
            f"the service {spec.name} of a plugin publishes ports: only the proxy does; use `expose` and a page"
        )
    limits = plan.service(spec.name)
    merged: JsonObject = {
        "restart": "unless-stopped",
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "userns_mode": "host",
        "logging": {"driver": "json-file", "options": {"max-size": "10m", "max-file": "3"}},
        "cpus": limits.cpus,
        "pids_limit": limits.pids,
        **spec.compose,
        "mem_limit": mebibytes(limits.memory or PLUGIN_SERVICE_MEMORY),
        "memswap_limit": mebibytes(limits.memory or PLUGIN_SERVICE_MEMORY),
    }
    if plan.target != "coolify":
        merged.setdefault("networks", ["condev"])
    return spec.name, block(merged, 4)
