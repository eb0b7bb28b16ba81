"""Which secrets a stack reads from .env, and which of them may be made up at the first install."""

from __future__ import annotations

from msgspec import Struct

from appliance.config import Config
from appliance.deploy.plan import Plan
from appliance.deploy.topology import public_url


class StackSecret(Struct, frozen=True):
    """A line of .env."""

    name: str
    purpose: str
    can_be_generated: bool  # 32 random hex characters do; False: a person has it from somewhere


def required_secrets(config: Config, plan: Plan) -> tuple[StackSecret, ...]:
    """Everything that compose.yaml names as `${NAME:?}`, in the order of names."""
    found: dict[str, StackSecret] = {}
    for key, (kind, name) in config.references.items():
        if kind == "env":
            found[name] = StackSecret(name, f"named by {key} in config.toml", can_be_generated=False)
    if plan.has("postgres"):
        found["POSTGRES_PASSWORD"] = StackSecret("POSTGRES_PASSWORD", "of the service postgres", can_be_generated=True)
    if plan.has("clickhouse"):
        purpose = "of the service clickhouse"
        found["CLICKHOUSE_PASSWORD"] = StackSecret("CLICKHOUSE_PASSWORD", purpose, can_be_generated=True)
    if plan.has("cloudflared"):
        found["TUNNEL_TOKEN"] = StackSecret("TUNNEL_TOKEN", "of the tunnel, from Cloudflare", can_be_generated=False)
    return tuple(found[name] for name in sorted(found))


def env_example(config: Config, plan: Plan) -> dict[str, str]:
    """.env.example, for who installs by hand; none when nothing is needed."""
    secrets = list(required_secrets(config, plan))
    if plan.target == "coolify" and not public_url(config):
        secrets.append(StackSecret("CONDEV_DOMAIN", "the host name that people use", can_be_generated=False))
    if not secrets:
        return {}
    lines = [
        "# Copy to .env, mode 0600, and fill in. The installer does so by itself, and never replaces what is there."
    ]
    for secret in secrets:
        hint = "; for example from: openssl rand -hex 16" if secret.can_be_generated else ""
        lines += [f"# {secret.purpose}{hint}", f"{secret.name}="]
    return {".env.example": "\n".join(lines) + "\n"}
