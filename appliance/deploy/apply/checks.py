"""What has to be right before anything is prepared: the directory, and what `condev doctor` calls an error."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final, cast

from appliance.deploy.apply.journal import Release
from appliance.deploy.apply.layout import OVERRIDE_FILE, ApplyError, Installation

DOCTOR_SECONDS: Final = 120.0  # it takes at most 15; importing on a loaded 1-core host is the rest
_DOCTOR: Final = "from appliance.cli import main; main()"
_OURS: Final = "# Written by `condev"


def check(installation: Installation, before: Release | None, plugins: Path) -> str:
    """Look, and stop at errors.

    Args:
        installation: the directory.
        before: the release that runs; None at the first install.
        plugins: of the release to come: config.toml speaks of them.

    Returns:
        What was found, in words.

    Raises:
        ApplyError: something is an error; all of them are named.
    """
    if not installation.config.is_file():
        raise ApplyError(f"there is no {installation.config}: write one (docs/config.md), or run installer.sh")
    foreign = installation.root / OVERRIDE_FILE
    if foreign.is_file() and not foreign.read_text("utf-8", "replace").startswith(_OURS):
        raise ApplyError(
            f"{foreign} is not ours, and would be overwritten: give it another name, and say in config.toml what it did"
        )
    if before is not None:
        before.record()  # readable, or there is nothing to go back to
    findings = _doctor(installation, plugins)
    # What the running stack lacks is what this is called for; only what stands in its way stops it.
    errors = [one for one in findings if one.get("level") == "error" and one.get("group") != "running"]
    if errors:
        lines = [f"{one.get('code')}: {one.get('fact')} {one.get('mend')}" for one in errors]
        raise ApplyError("condev doctor finds what has to be mended first:\n  " + "\n  ".join(lines))
    warnings = [str(one.get("code")) for one in findings if one.get("level") == "warning"]
    return f"{len(findings)} checks" + (f", warnings: {', '.join(warnings)}" if warnings else "")


def _doctor(installation: Installation, plugins: Path) -> list[dict[str, Any]]:
    """Its findings, from a process of its own: it loads plugins, and this process does not."""
    environ = {
        **os.environ,
        "CONDEV_CONFIG": str(installation.config),
        "CONDEV_DATA_DIR": str(installation.data),
        "PYTHONPATH": str(plugins),
    }
    try:
        done = subprocess.run(  # noqa: S603 - our own words
            [sys.executable, "-c", _DOCTOR, "doctor", "--json", "--dir", str(installation.root)],
            capture_output=True, check=False, env=environ, timeout=DOCTOR_SECONDS, cwd=installation.root,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise ApplyError(f"condev doctor did not end within {DOCTOR_SECONDS:.0f} s") from None
    try:
        return cast("list[dict[str, Any]]", json.loads(done.stdout)["findings"])
    except (ValueError, KeyError):
        said = done.stderr.decode("utf-8", "replace").strip()[-2000:]
        raise ApplyError(f"condev doctor gave no findings: {said or 'and said nothing'}") from None
