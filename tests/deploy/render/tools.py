"""What these tests share: a configuration written as text, its files, and the real Compose to read them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from appliance.config import GIB, Config
from appliance.config_file import load
from appliance.deploy.extensions import Extensions, load_extensions
from appliance.deploy.host_facts import HostFacts
from appliance.deploy.plan import Plan
from appliance.deploy.render import render
from appliance.deploy.sizing import make_plan

BIN = Path(sys.executable).parent
SECRETS = {"POSTGRES_PASSWORD": "pg-secret", "CLICKHOUSE_PASSWORD": "ch-secret", "TUNNEL_TOKEN": "tunnel-secret"}
TARGETS = ("compose", "behind-proxy", "coolify", "tunnel")


def configured(folder: Path, text: str = "", **environ: str) -> Config:
    """A Config of a config.toml with this text."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "config.toml"
    path.write_text(text)
    return load(path, environ)


def facts(memory: float = 2) -> HostFacts:
    return HostFacts(memory=int(memory * GIB), cpus=2, disk=40 * GIB)


def rendered(
    config: Config, memory: float = 2, extensions: Extensions | None = None
) -> tuple[Plan, dict[str, str], Extensions]:
    """The plan and the files for a host."""
    extensions = extensions or load_extensions(config, Path("/nowhere"))
    plan = make_plan(config, facts(memory), extensions.services)
    return plan, render(config, plan, extensions), extensions


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def compose(folder: Path, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """The real Compose; `config` needs no engine."""
    return subprocess.run(
        [BIN / "docker-compose", *words],
        check=False,
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), **environ},
        capture_output=True,
        text=True,
        timeout=60,
    )


def read_compose(folder: Path, **environ: str) -> dict[str, Any]:
    """compose.yaml as Compose understands it."""
    done = compose(folder, "config", "--format", "json", **(environ or SECRETS))
    assert done.returncode == 0, done.stderr
    assert "warn" not in done.stderr.lower(), done.stderr
    return json.loads(done.stdout)
