"""What plugins add to the stack: the paths that their protocols answer on, and services of their own.

Loaded without touching the appliance's data directory, and without its secrets: a plan is made before there are any.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from msgspec import Struct, structs

from appliance import host
from appliance.clock import SystemClock
from appliance.config import Config
from appliance.config_file import load
from appliance.hookspecs import Protocol, ServiceSpec
from appliance.http_client import GuardedHttpClient
from appliance.plugins import HostServices, PluginHost

_STAND_IN: Final = "set-when-the-stack-starts"


class Extensions(Struct, frozen=True):
    """From the loaded plugins, in their order."""

    protocols: tuple[Protocol, ...]
    services: tuple[ServiceSpec, ...] = ()


class UnsetSecrets(Mapping[str, str]):
    """An environment in which every variable is set: what is missing has a value that nothing accepts.

    For `plan` and `render`, whose output names secrets and never holds them.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def __getitem__(self, name: str) -> str:
        return self._environ.get(name) or _STAND_IN

    def __contains__(self, name: object) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(self._environ)

    def __len__(self) -> int:
        return len(self._environ)

    def get(self, name: str, default: object = None) -> str:  # pyright: ignore[reportIncompatibleMethodOverride]
        """As `[]`: the default is never needed."""
        return self[name]


def load_without_secrets(path: Path | None) -> Config:
    """Read config.toml where its `{ env = … }` secrets need not be set.

    Raises:
        ConfigError: anything else is wrong with it.
    """
    return load(path, UnsetSecrets(os.environ))


def load_extensions(config: Config, data_dir: Path) -> Extensions:
    """Load every plugin as the appliance would.

    Args:
        config: the configuration.
        data_dir: where `plugins.d` is looked for when `[plugins] directory` does not say; nothing is written there.

    Raises:
        PluginError: plugins cannot be used; all problems are named.
    """
    loaded = load_plugins(config, data_dir)
    return Extensions(tuple(loaded.protocols), tuple(loaded.services))


def load_plugins(config: Config, data_dir: Path) -> PluginHost:
    """Every plugin, in a data directory that is gone again afterwards: for what they say, not for what they do.

    Args:
        config: the configuration.
        data_dir: where `plugins.d` is looked for when `[plugins] directory` does not say.

    Raises:
        PluginError: plugins cannot be used; all problems are named.
    """
    own = data_dir / "plugins.d"
    if not config.plugins.directory and own.is_dir():
        plugins = structs.replace(config.plugins, directory=str(own))
        config = structs.replace(config, plugins=plugins)
    with tempfile.TemporaryDirectory(prefix="condev-plugins-") as scratch:
        services = HostServices(
            http=GuardedHttpClient(),
            clock=SystemClock(),
            data_dir=Path(scratch),
            site_url=config.site.url or "http://127.0.0.1:8000",
            memory_bytes=host.memory_bytes(),
            cpus=host.cpus(),
        )
        return PluginHost.load(config, services, environ=UnsetSecrets(os.environ))
