"""Where plugins come from: beside the core, from installed distributions, and from the plugins directory."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Final, cast

import structlog
from structlog.typing import FilteringBoundLogger

from appliance.config import Config
from appliance.config_file import Problem

ENTRY_POINT_GROUP: Final = "condev"
FIRST_PARTY: Final = "condev_plugins"  # the import name the wheel gives plugins/; never imported by a statement

log = cast("FilteringBoundLogger", structlog.get_logger(__name__))


def found(config: Config, data_dir: Path, problems: list[Problem]) -> list[tuple[object, str]]:
    """Import every plugin's module.

    Args:
        config: says which are disabled, and where the plugins directory is.
        data_dir: whose `plugins.d` is the plugins directory unless `config` names another.
        problems: what cannot be imported is added here.

    Returns:
        Each module with where it came from, in words.
    """
    modules: list[tuple[object, str]] = []

    def add(label: str, origin: str, load: Callable[[], object]) -> None:
        if label in config.plugins.disabled:
            return
        try:
            modules.append((load(), origin))
        except Exception as error:
            log.debug("plugin import failed", plugin=label, exc_info=error)
            message = f"cannot be imported from {origin}: {type(error).__name__}: {error}"
            problems.append(Problem(source=f"plugin {label}", key="", message=message))

    package = importlib.import_module(FIRST_PARTY)
    for module in pkgutil.iter_modules(package.__path__):
        name = f"{FIRST_PARTY}.{module.name}"
        add(module.name, "first-party", lambda name=name: importlib.import_module(name))
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        origin = f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.value
        add(entry.name, origin, entry.load)
    directory = Path(config.plugins.directory) if config.plugins.directory else data_dir / "plugins.d"
    if directory.is_dir():
        for path in sorted(directory.iterdir()):
            entry_file = path / "__init__.py" if path.is_dir() else path
            if entry_file.suffix == ".py" and entry_file.is_file() and not path.name.startswith((".", "_")):
                add(path.stem, str(path), lambda path=path, file=entry_file: _import_file(path, file))
    elif config.plugins.directory:
        message = f"{directory} is not a directory; make it, or leave the key out"
        problems.append(Problem(source=str(config.source), key="plugins.directory", message=message))
    return modules


def _import_file(path: Path, entry_file: Path) -> ModuleType:
    name = f"condev_plugin_files.{path.stem}"
    places = [str(path)] if path.is_dir() else None
    spec = importlib.util.spec_from_file_location(name, entry_file, submodule_search_locations=places)
    if spec is None or spec.loader is None:
        raise ImportError(f"{entry_file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
