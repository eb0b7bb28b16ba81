"""`[plugins] install`: resolves third-party plugins into a directory of their own, wheels only, with a lock file.

What the appliance itself brings is a constraint and is never installed a second time: a plugin that needs another
version of it is refused with pip's own words, and cannot shadow it for everybody. The directory is put on PYTHONPATH of
the services, and is never changed after it was made.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import unquote, urlsplit

from msgspec import Struct

LOCK_FILE: Final = "condev-plugins.lock"
PIP_SECONDS: Final = 600.0  # of one call; a slow line to the index and a wheel of 100 MB
MAX_BYTES: Final = 512 * 1024 * 1024  # of everything installed: more is no notifier, and fills a small disk
MAX_SOURCE_FILES: Final = 5_000  # of a local plugin's directory; more is a home directory named by mistake
MAX_ERROR_LINES: Final = 8
_VERSIONS: Final = r"[<>=!~][^;@,\s]*(?:\s*,\s*[<>=!~][^;@,\s]*)*"
_REQUIREMENT: Final = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]*(?:\[[A-Za-z0-9,._ -]+\])?\s*(?:{_VERSIONS})?")
_PIP: Final = (
    "import runpy, sys; first = sys.argv.pop(1); sys.path[:0] = [first] if first else []; "
    "runpy.run_module('pip', run_name='__main__', alter_sys=True)"
)
_LEFT_OUT: Final = frozenset({".git", "__pycache__", "node_modules", ".venv", "build", "dist", ".pytest_cache"})


class PluginInstallError(Exception):
    """A plugin cannot be installed; the text says which and why."""


class Locked(Struct, frozen=True, order=True):
    """One distribution that was chosen."""

    name: str
    version: str
    sha256: str
    source: str = ""  # where a local one came from; "" = the package index

    def __str__(self) -> str:
        return f"{self.name} {self.version}" + (f" ({self.source})" if self.source else "")


def is_local(requirement: str) -> bool:
    """Whether it names a directory or a wheel on this machine, not a distribution of an index."""
    return requirement.startswith((".", "/", "~")) or requirement.endswith(".whl")


def key_of(requirements: Sequence[str], root: Path) -> str:
    """What the outcome of `install` depends on, as one text: the same key needs no second installation.

    Args:
        requirements: `[plugins] install`.
        root: where local paths are relative to.

    Raises:
        PluginInstallError: a local path is not there.
    """
    if not requirements:
        return ""
    digest = hashlib.sha256(f"{platform.python_version()} {platform.machine()}\n".encode())
    for line in _own_versions():
        digest.update(f"{line}\n".encode())
    for requirement in requirements:
        digest.update(f"\0{requirement}".encode())
        if is_local(requirement):
            for path in _source_files(_local_path(requirement, root)):
                digest.update(f"\0{path.name}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def install(requirements: Sequence[str], root: Path, target: Path) -> list[Locked]:
    """Resolve and install.

    Args:
        requirements: `[plugins] install`.
        root: where local paths are relative to.
        target: made; must not exist. It is complete, with its lock file, or not there.

    Returns:
        What was installed, dependencies included.

    Raises:
        PluginInstallError: something cannot be had as a wheel, fetched, built, or does not fit the appliance.
    """
    with tempfile.TemporaryDirectory(prefix=".plugins-", dir=target.parent) as name:
        work = Path(name)
        fresh = work / "fresh"
        fresh.mkdir(mode=0o755)
        locked: list[Locked] = []
        if requirements:
            wanted, sources = _with_wheels(requirements, root, work)
            locked, lines = _resolve(wanted, sources, work)
            if lines:
                _fetch(lines, fresh, work)
        (fresh / LOCK_FILE).write_text(lock_text(locked), "utf-8")
        _finish(fresh)
        fresh.rename(target)
    return locked


def lock_text(locked: Iterable[Locked]) -> str:
    """The lock file: what was chosen, in pip's own format."""
    head = "# Written by `condev apply`: the distributions of [plugins] install, as they were resolved.\n"
    lines = [
        f"{one.name}=={one.version} --hash=sha256:{one.sha256}" + (f"  # from {one.source}" if one.source else "")
        for one in sorted(locked)
    ]
    return head + "".join(f"{line}\n" for line in lines)


# ── resolving ──


def _with_wheels(requirements: Sequence[str], root: Path, work: Path) -> tuple[list[str], dict[str, str]]:
    """The requirements with a wheel in place of each local path, and wheel file name → that path."""
    wanted: list[str] = []
    sources: dict[str, str] = {}
    for number, requirement in enumerate(requirements):
        if not is_local(requirement):
            wanted.append(_checked(requirement))
            continue
        path = _local_path(requirement, root)
        wheel = path if path.suffix == ".whl" else _build(path, work / f"wheel-{number}")
        sources[wheel.name] = requirement
        wanted.append(str(wheel))
    return wanted, sources


def _checked(requirement: str) -> str:
    """A name with versions, and nothing that pip takes for an option or an address."""
    if not _REQUIREMENT.fullmatch(requirement.strip()):
        raise PluginInstallError(
            f'[plugins] install: {requirement!r} is neither a name such as "condev-notify-x>=1" nor a path such as '
            '"./my-notifier"'
        )
    return requirement.strip()


def _resolve(wanted: Sequence[str], sources: Mapping[str, str], work: Path) -> tuple[list[Locked], list[str]]:
    """What pip would install beside what is here, and the lines that name exactly that."""
    constraints, report = work / "constraints.txt", work / "report.json"
    constraints.write_text("\n".join(_own_versions()) + "\n", "utf-8")
    _describe_own(work / "own")
    _pip(
        ["install", "--dry-run", "--quiet", "--report", str(report), "--constraint", str(constraints), *wanted],
        "resolving",
        offline=False,  # what is here satisfies pip without an index; what is not needs one
        first=work / "own",
    )
    chosen = cast("list[dict[str, Any]]", json.loads(report.read_bytes())["install"])
    locked: list[Locked] = []
    lines: list[str] = []
    for entry in chosen:
        meta, info = entry["metadata"], entry["download_info"]
        name, version = str(meta["name"]), str(meta["version"])
        url = urlsplit(str(info["url"]))
        sha256 = str(info.get("archive_info", {}).get("hashes", {}).get("sha256", ""))
        file = Path(unquote(url.path))
        if not sha256:
            raise PluginInstallError(f"{name} {version}: the index gives no SHA-256 for it, so it is not installed")
        local = url.scheme == "file" and file.name in sources
        locked.append(Locked(name, version, sha256, sources[file.name] if local else ""))
        lines.append(f"{file if local else f'{name}=={version}'} --hash=sha256:{sha256}")
    return locked, lines


def _fetch(lines: Sequence[str], fresh: Path, work: Path) -> None:
    """Install exactly these files, checked by their sums."""
    requirements = work / "lock.txt"
    requirements.write_text("\n".join(lines) + "\n", "utf-8")
    local = all(line.startswith("/") for line in lines)
    _pip(
        [
            "install", "--quiet", "--no-deps", "--no-compile", "--require-hashes", "--target", str(fresh),
            "--requirement", str(requirements),
        ],
        "installing",
        offline=local,
    )  # fmt: skip


def _own() -> dict[str, Distribution]:
    """What this environment has, by normal name; the first of a name is the one that is imported."""
    found: dict[str, Distribution] = {}
    for dist in distributions(path=[path for path in sys.path if path not in _plugin_paths()]):
        if dist.metadata["Name"]:
            found.setdefault(re.sub(r"[-_.]+", "-", dist.metadata["Name"]).lower(), dist)
    return found


def _own_versions() -> list[str]:
    """The same, as constraints."""
    return [f"{name}=={dist.version}" for name, dist in sorted(_own().items())]


def _describe_own(place: Path) -> None:
    """Descriptions of what is here as complete, for pip to find first.

    The image leaves out what a dependency names and nothing of ours uses (pandas and pyarrow, 250 MB); pip would bring
    them with the first plugin that says it needs the appliance. Extras stay as they are: they are asked for.
    """
    for name, dist in _own().items():
        info = place / f"{name.replace('-', '_')}-{dist.version}.dist-info"
        info.mkdir(parents=True)
        extras = [f"Provides-Extra: {extra}" for extra in dist.metadata.get_all("Provides-Extra") or []]
        needs = [f"Requires-Dist: {one}" for one in dist.requires or [] if "extra ==" in one]
        lines = ["Metadata-Version: 2.1", f"Name: {dist.metadata['Name']}", f"Version: {dist.version}", *extras, *needs]
        (info / "METADATA").write_text("\n".join(lines) + "\n", "utf-8")
        (info / "RECORD").write_text("", "utf-8")
        (info / "INSTALLER").write_text("pip\n", "utf-8")


def _plugin_paths() -> list[str]:
    """Directories that PYTHONPATH added: plugins of an earlier installation are not the appliance's own."""
    return [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]


# ── local sources ──


def _local_path(requirement: str, root: Path) -> Path:
    path = (root / Path(requirement).expanduser()).resolve()
    if path.suffix == ".whl" and path.is_file():
        return path
    if path.is_dir() and (path / "pyproject.toml").is_file():
        return path
    raise PluginInstallError(
        f"[plugins] install: {requirement} is neither a wheel nor a directory with a pyproject.toml ({path})"
    )


def _source_files(path: Path) -> list[Path]:
    """Everything a local plugin is built of."""
    if path.is_file():
        return [path]
    found: list[Path] = []
    for place, folders, names in os.walk(path):
        folders[:] = sorted(folder for folder in folders if folder not in _LEFT_OUT)
        found += [Path(place) / name for name in sorted(names) if (Path(place) / name).is_file()]
        if len(found) > MAX_SOURCE_FILES:
            raise PluginInstallError(f"{path} has more than {MAX_SOURCE_FILES:,} files: is it the plugin's directory?")
    return found


def _build(path: Path, into: Path) -> Path:
    """A wheel of a local directory, from a copy: nothing is written beside the person's files.

    With the build tool that is here already, where it is: that needs no network. Otherwise pip fetches it.
    """
    source = into / "source"
    shutil.copytree(path, source, ignore=shutil.ignore_patterns(*_LEFT_OUT, "*.egg-info"))
    backend = "setuptools"
    try:
        table = tomllib.loads((source / "pyproject.toml").read_text("utf-8")).get("build-system", {})
        backend = str(table.get("build-backend", backend)).split(":")[0].split(".")[0]
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PluginInstallError(f"{path / 'pyproject.toml'} cannot be read: {error}") from error
    here = importlib.util.find_spec(backend) is not None
    isolation = ["--no-build-isolation"] if here else []
    _pip(["wheel", "--quiet", "--no-deps", *isolation, "--wheel-dir", str(into), str(source)],
         f"building {path.name} (with {backend}{'' if here else ', which is not here and has to be fetched'})",
         offline=here)  # fmt: skip
    wheels = list(into.glob("*.whl"))
    if len(wheels) != 1:
        raise PluginInstallError(f"{path} built {len(wheels)} wheels instead of one")
    return wheels[0]


def _finish(fresh: Path) -> None:
    """Readable for the services' own user, whatever umask this runs with; and not too much."""
    size = 0
    for place, folders, names in os.walk(fresh):
        for name in (*folders, *names):
            path = Path(place) / name
            if path.is_symlink():
                raise PluginInstallError(f"{path.relative_to(fresh)} is a symbolic link, which no wheel has")
            path.chmod(0o755 if path.is_dir() else 0o644)
            size += path.stat().st_size
    fresh.chmod(0o755)
    if size > MAX_BYTES:
        raise PluginInstallError(f"the plugins take {size >> 20} MiB installed; at most {MAX_BYTES >> 20} are taken")


def _pip(arguments: Sequence[str], doing: str, *, offline: bool, first: Path | None = None) -> None:
    """Run pip apart from plugins that are installed already, wheels only.

    Args:
        arguments: of pip.
        doing: in words, for errors.
        offline: ask no index.
        first: a directory in which pip looks first for what is installed.
    """
    command = [
        sys.executable,
        "-I",
        "-c",
        _PIP,
        str(first or ""),
        "--disable-pip-version-check",
        "--no-input",
        "--no-cache-dir",
    ]
    extra = ["--only-binary", ":all:", *(["--no-index"] if offline else [])]
    environ = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PIP_TARGET")}
    try:
        done = subprocess.run(  # noqa: S603 - our own words; requirements are checked, and there is no shell
            [*command, arguments[0], *extra, *arguments[1:]],
            capture_output=True, text=True, timeout=PIP_SECONDS, check=False, env=environ, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise PluginInstallError(f"{doing} plugins took longer than {PIP_SECONDS:.0f} s") from None
    if done.returncode:
        said = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise PluginInstallError(f"{doing} plugins: " + "\n".join(said[-MAX_ERROR_LINES:]))
