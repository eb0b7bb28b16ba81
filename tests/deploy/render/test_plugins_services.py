"""What a plugin adds to the stack with `register_services`: its service, its files, within our bounds."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.config import Config
from appliance.deploy.extensions import Extensions, load_extensions
from appliance.deploy.render.text import RenderError
from appliance.hookspecs import ServiceSpec

from .tools import configured, read_compose, rendered, write

PLUGIN = """
from appliance.hookspecs import PluginInfo, ServiceSpec, hookimpl

plugin = PluginInfo(name="mirror", version="1.0")


@hookimpl
def register_services():
    compose = {
        "image": "${MIRROR_IMAGE:-mirror:1}",
        "mem_limit": "64m",
        "command": ["serve", "--name", "a: b", "yes"],
        "environment": {"SECRET": "${MIRROR_SECRET:?set it in .env}", "NOTHING": "", "NUMBER": 5},
        "labels": {},
        "volumes": ["./services/mirror/mirror.conf:/etc/mirror.conf:ro"],
        "healthcheck": {"test": ["CMD", "true"], "interval": "10s"},
    }
    return [ServiceSpec(name="mirror", compose=compose, files={"mirror.conf": "port = 1\\n"})]
"""


def test_a_plugins_service_is_rendered_with_its_files_and_limits(tmp_path: Path) -> None:
    own = tmp_path / "data" / "plugins.d"
    own.mkdir(parents=True)
    (own / "mirror.py").write_text(PLUGIN)
    config = configured(tmp_path)
    extensions = load_extensions(config, tmp_path / "data")
    plan, files, _ = rendered(config, extensions=extensions)
    assert files["services/mirror/mirror.conf"] == "port = 1\n"
    assert plan.service("mirror").memory == 64 << 20
    service = read_compose(write(tmp_path, files), MIRROR_SECRET="m")["services"]["mirror"]
    assert service["image"] == "mirror:1"
    assert service["command"] == ["serve", "--name", "a: b", "yes"]
    assert service["environment"] == {"SECRET": "m", "NOTHING": "", "NUMBER": "5"}
    assert int(service["mem_limit"]) == int(service["memswap_limit"]) == 64 << 20
    assert service["cap_drop"] == ["ALL"]
    assert list(service["networks"]) == ["condev"]
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["plugins.d"], "nothing is written there"


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (ServiceSpec(name="core", compose={}), "a name of its own"),
        (ServiceSpec(name="Bad_Name", compose={}), "a name of its own"),
        (ServiceSpec(name="x", compose={"ports": ["80:80"]}), "publishes ports"),
        (ServiceSpec(name="x", compose={"network_mode": "host"}), "publishes ports"),
        (ServiceSpec(name="x", compose={}, files={"../compose.yaml": ""}), "must be relative"),
        (ServiceSpec(name="x", compose={}, files={"/etc/passwd": ""}), "must be relative"),
    ],
)
def test_what_a_plugin_may_not_bring_is_refused(spec: ServiceSpec, said: str) -> None:
    with pytest.raises(RenderError, match=said):
        rendered(Config(), extensions=Extensions(load_extensions(Config(), Path("/nowhere")).protocols, (spec,)))
