"""What the wheel needs beyond Python files: the first-party plugins under their import name, and the front-end assets."""

from __future__ import annotations

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Runs at `pip install .` and `pip install -e .`."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add what this kind of build needs; `version` is "standard" or "editable"."""
        if self.target_name == "wheel" and version == "standard":
            build_data["force_include"]["plugins"] = "condev_plugins"
