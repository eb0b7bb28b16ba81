"""From a configuration and a plan to the files of a stack: compose.yaml, Caddyfile and what the engines read.

`render` is a pure function of its arguments: the same ones give the same text, so that a difference between two
releases is a difference that somebody made. No secret is in any of it: they are named as `${NAME:?}` and stand in .env.
"""

from __future__ import annotations

from pathlib import Path

from appliance.config import Config
from appliance.deploy.extensions import Extensions, load_extensions
from appliance.deploy.plan import Plan
from appliance.deploy.render.caddy import caddyfile
from appliance.deploy.render.cdn import cdn_files
from appliance.deploy.render.clickhouse import clickhouse_files
from appliance.deploy.render.compose import compose_file, services_files
from appliance.deploy.render.secrets import StackSecret, env_example, required_secrets
from appliance.deploy.render.state import StateDirectory, state_directories

__all__ = ["StackSecret", "StateDirectory", "render", "required_secrets", "state_directories"]


def render(config: Config, plan: Plan, extensions: Extensions | None = None) -> dict[str, str]:
    """Write the stack's files.

    Args:
        config: the configuration that the plan was made of.
        plan: from `appliance.deploy.sizing.make_plan`.
        extensions: the plugins' protocols and services (`appliance.deploy.extensions.load_extensions`); None: those
            of the plugins that are installed, with nothing in `plugins.d`.

    Returns:
        Text by path, relative to the appliance's directory.

    Raises:
        RenderError: a plugin's service or file cannot stand beside ours.
    """
    extensions = extensions or load_extensions(config, Path())
    files: dict[str, str] = {}
    if plan.has("clickhouse"):
        files |= clickhouse_files(plan)
    if plan.has("caddy"):
        files["Caddyfile"] = caddyfile(config, plan, extensions.protocols)
    if plan.target == "tunnel":
        files |= cdn_files(extensions.protocols, config.sdk.script)
    files |= env_example(config, plan)
    files |= services_files(extensions.services, taken=files)
    compose = compose_file(config, plan, extensions, files)
    if plan.target == "coolify":  # brings no files along: compose.yaml holds them
        files = {path: text for path, text in files.items() if not path.startswith("clickhouse/")}
    return {"compose.yaml": compose, **files}
