"""Renders the stack's files in a process of its own, which has the release's plugins on its path.

The process that applies never imports a third-party plugin: it holds the Docker socket, and a plugin that was changed
would need a restart to be read again. What comes back is JSON on standard output.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct, field

from appliance.deploy.apply.layout import ApplyError
from appliance.deploy.apply.schemas import Schemas
from appliance.deploy.plan import Plan
from appliance.deploy.render.secrets import StackSecret
from appliance.deploy.render.state import StateDirectory

SECONDS: Final = 120.0  # importing every plugin takes a second; a plugin that hangs must not hang the installer
_PROGRAM: Final = "from appliance.deploy.apply.rendering import main; main()"


class Rendered(Struct, frozen=True, kw_only=True):
    """Everything that follows from config.toml, this version, the plugins and the host."""

    version: str
    files: dict[str, str]
    plan: Plan
    secrets: list[StackSecret]
    directories: list[StateDirectory]
    site_url: str  # "" when config.toml does not say
    shown: dict[str, Any] = field(default_factory=dict[str, Any])  # the configuration, secrets masked
    schemas: Schemas  # what this version makes of the stores
    protocols: list[str]  # names of those that ingest speaks


def render_apart(root: Path, plugins: Path, host_root: Path) -> Rendered:
    """Render in another process.

    Args:
        root: the installation's directory, with config.toml.
        plugins: goes on that process's PYTHONPATH.
        host_root: where the host's /proc and /sys are.

    Raises:
        ApplyError: the configuration, a plugin or the plan is wrong; the text names all problems.
    """
    command = [sys.executable, "-c", _PROGRAM, str(root), str(host_root)]
    environ = {**os.environ, "PYTHONPATH": str(plugins)}
    try:
        done = subprocess.run(  # noqa: S603 - our own words
            command, capture_output=True, timeout=SECONDS, check=False, env=environ, cwd=root
        )
    except subprocess.TimeoutExpired:
        raise ApplyError(f"rendering did not end within {SECONDS:.0f} s: does a plugin hang at import?") from None
    if done.returncode:
        raise ApplyError(done.stderr.decode("utf-8", "replace").strip()[-4000:] or "rendering ended without a word")
    return msgspec.json.decode(done.stdout.splitlines()[-1], type=Rendered)


def main() -> None:
    """In that other process."""
    from appliance import __version__
    from appliance.config_file import ConfigError
    from appliance.config_shown import shown
    from appliance.deploy.apply.layout import CONFIG_FILE
    from appliance.deploy.apply.schemas import known_schemas
    from appliance.deploy.extensions import load_extensions, load_without_secrets
    from appliance.deploy.host_facts import detect
    from appliance.deploy.plan import PlanError
    from appliance.deploy.render import render, required_secrets, state_directories
    from appliance.deploy.sizing import make_plan
    from appliance.deploy.topology import public_url

    root, host_root = Path(sys.argv[1]), Path(sys.argv[2])
    try:
        config = load_without_secrets(root / CONFIG_FILE)
        extensions = load_extensions(config, root / "data")
        plan = make_plan(config, detect(host_root, root), extensions.services)
        answer = Rendered(
            version=__version__,
            files=render(config, plan, extensions),
            plan=plan,
            secrets=list(required_secrets(config, plan)),
            directories=list(state_directories(plan)),
            site_url=public_url(config),
            shown=shown(config),
            schemas=known_schemas(config, root / "data"),
            protocols=[protocol.name for protocol in extensions.protocols],
        )
    except (ConfigError, PlanError) as error:
        sys.stderr.write(str(error))
        sys.exit(1)
    sys.stdout.write("\n" + msgspec.json.encode(answer).decode() + "\n")
