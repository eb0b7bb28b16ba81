"""The browser SDK's files: /sdk.js for pages that want the newest, /sdk/VERSION/… for those that pin one.

Served by the process that takes in what the SDK sends, so that no query of the dashboard can hold it up. Each version
that this installation ever served is kept in the data directory: a page that pins one goes on working after an upgrade.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
import re
import shutil
import tempfile
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog
from msgspec import Struct

from appliance.web.asset import FOREVER, Asset, asset_of, encoded

# In a wheel hatch_build.py puts them beside this file; in a checkout they are where the SDK's own build leaves them.
PLACES: Final = (Path(__file__).parent / "sdk", Path(__file__).parents[2] / "sdk" / "dist")
MANIFEST: Final = "integrity.json"
DEFAULT_STEM: Final = "sdk"  # always served, beside the name that [sdk] script gives
ENTRY: Final = "sdk.js"
ERRORS: Final = "errors.js"  # the build that reports errors alone, as /sdk-errors.js
MAX_VERSIONS: Final = 50  # kept of earlier ones, 1 MB each
SHORT: Final = "public, max-age=300, stale-while-revalidate=86400"  # five minutes: an upgrade reaches every page soon
MISSING: Final = (
    "The browser SDK is not built here. In a checkout: python hatch_build.py, or pip install -e . again. "
    "The appliance's image and wheel bring it along."
)
_FILE: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,60}\.js(?:\.map)?")
_VERSION: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+-]{0,63}")
_SLASHES: Final = re.compile(r"/{2,}")
_OPEN: Final = (
    (b"access-control-allow-origin", b"*"),
    (b"cross-origin-resource-policy", b"cross-origin"),
    (b"timing-allow-origin", b"*"),
    (b"x-content-type-options", b"nosniff"),
)
_METHODS: Final = b"GET, HEAD, OPTIONS"

Send = Callable[[Mapping[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]
log = structlog.stdlib.get_logger(__name__)


class SdkBuild(Struct, frozen=True):
    """One build of the SDK."""

    version: str
    files: dict[str, Asset]
    integrity: dict[str, str]  # of scripts, as the attribute wants it

    @classmethod
    def read(cls, folder: Path) -> SdkBuild:
        """Read a folder.

        Raises:
            OSError: there is none, or it cannot be read.
            ValueError: it is none of a build.
        """
        manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=_Manifest)
        if not _VERSION.fullmatch(manifest.version) or not (folder / ENTRY).is_file():
            raise ValueError(f"{folder} holds no build of the SDK")
        bodies = {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if _FILE.fullmatch(path.name)}
        return cls(
            version=manifest.version,
            files={name: asset_of(Path(name).suffix, body) for name, body in bodies.items()},
            integrity={name: integrity_of(body) for name, body in bodies.items() if name.endswith(".js")},
        )


class _Manifest(Struct):
    version: str


@functools.cache
def find_build() -> SdkBuild | None:
    """The SDK that came with this program; None where it was not built."""
    for folder in PLACES:
        try:
            return SdkBuild.read(folder)
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            log.warning("sdk_unreadable", folder=str(folder), reason=str(error))
    return None


def integrity_of(body: bytes) -> str:
    """The value of an `integrity` attribute."""
    return f"sha384-{b64encode(hashlib.sha384(body).digest()).decode()}"


class SdkFiles:
    """Serves them."""

    def __init__(self, build: SdkBuild | None, kept: Path, script: str = ENTRY) -> None:
        """Args:
        build: this program's; None: everything is answered with how to get it.
        kept: the folder of all versions that were ever served here.
        script: the name of the short address.
        """
        self._build = build
        self._kept = kept
        self._old: dict[str, SdkBuild] = {}
        self._versions: frozenset[str] = frozenset()
        stem = script.removesuffix(".js")
        self._entries = {
            **{f"{name}-errors": ERRORS for name in (DEFAULT_STEM, stem)},
            **dict.fromkeys((DEFAULT_STEM, stem), ENTRY),
        }
        stems = "|".join(sorted(map(re.escape, self._entries), key=len, reverse=True))
        rest = r"\.js(?P<map>\.map)?|/(?P<version>[^/]+)/(?P<file>[^/]+)"
        self._path = re.compile(rf"(?:/dsn-api)?/(?P<stem>{stems})(?:{rest})/?")

    def open(self) -> None:
        """Keep this version for later ones, and look which there are. Blocks; what the disk refuses is only logged."""
        try:
            if self._build is not None:
                _keep(self._build, self._kept)
            found = [path for path in self._kept.iterdir() if path.is_dir() and _VERSION.fullmatch(path.name)]
            found.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
            for path in found[MAX_VERSIONS:]:
                shutil.rmtree(path, ignore_errors=True)
            self._versions = frozenset(path.name for path in found[:MAX_VERSIONS])
        except OSError as error:
            log.warning("sdk_versions_not_kept", folder=str(self._kept), reason=str(error))

    def claims(self, path: str) -> bool:
        """Whether a path is ours."""
        return self._match(path) is not None

    async def __call__(self, scope: Mapping[str, Any], send: Send) -> None:
        """Answer a request that is ours."""
        if scope["method"] == "OPTIONS":
            allowed: Headers = [(b"access-control-allow-methods", _METHODS), (b"content-length", b"0")]
            await _send(send, 204, [*_OPEN, *allowed], b"")
            return
        if scope["method"] not in ("GET", "HEAD"):
            await _words(send, 405, "GET or HEAD only.", [(b"allow", _METHODS)])
            return
        match = self._match(scope["path"])
        if match is None or self._build is None:
            await _words(send, 404, MISSING)
            return
        version = match["version"]
        build = self._build if version is None else await self._of_version(version)
        if build is None:
            here = f"This appliance serves {self._build.version}: copy the address from the project's Connect page."
            await _words(send, 404, f"There is no version {(version or '')[:64]} of the SDK here. {here}")
            return
        name = self._file(match)
        asset = build.files.get(name)
        if asset is None:
            await _words(send, 404, f"The SDK has no such file; it has {', '.join(build.integrity)}.")
            return
        map_of: Headers = [(b"sourcemap", f"{name}.map".encode())] if f"{name}.map" in build.files else []
        await self._answer(scope, send, asset, FOREVER if version is not None else SHORT, map_of)

    def _match(self, path: str) -> re.Match[str] | None:
        return self._path.fullmatch(_SLASHES.sub("/", path)) if len(path) < 300 else None

    def _file(self, match: re.Match[str]) -> str:
        """The file's own name; the entry may be asked for by the script's."""
        stem, entry = match["stem"], self._entries[match["stem"]]
        if match["file"] is None:
            return f"{entry}{match['map'] or ''}"
        asked = match["file"]
        return asked.replace(f"{stem}.js", entry) if asked in (f"{stem}.js", f"{stem}.js.map") else asked

    async def _of_version(self, version: str) -> SdkBuild | None:
        if self._build is not None and version == self._build.version:
            return self._build
        if version not in self._versions:
            return None
        if version not in self._old:
            try:
                self._old[version] = await asyncio.to_thread(SdkBuild.read, self._kept / version)
            except (OSError, ValueError) as error:
                log.warning("sdk_version_unreadable", version=version, reason=str(error))
                return None
        return self._old[version]

    async def _answer(self, scope: Mapping[str, Any], send: Send, asset: Asset, cache: str, more: Headers) -> None:
        asked = {name: value.decode("latin-1") for name, value in scope["headers"]}
        body, coding = encoded(asset, asked.get(b"accept-encoding", ""))
        tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        headers: Headers = [
            *_OPEN,
            (b"cache-control", cache.encode()),
            (b"etag", tag.encode()),
            (b"vary", b"accept-encoding"),
            *more,
        ]
        if tag in asked.get(b"if-none-match", ""):
            await _send(send, 304, headers, b"")
            return
        headers += [(b"content-type", asset.content_type.encode()), (b"content-length", b"%d" % len(body))]
        if coding:
            headers.append((b"content-encoding", coding))
        await _send(send, 200, headers, b"" if scope["method"] == "HEAD" else body)


def _keep(build: SdkBuild, kept: Path) -> None:
    """Put a build beside the earlier ones, whole or not at all; one of the same version is replaced."""
    kept.mkdir(mode=0o700, parents=True, exist_ok=True)
    target = kept / build.version
    if target.is_dir():
        try:
            if SdkBuild.read(target).integrity == build.integrity:
                target.touch()
                return
        except (OSError, ValueError):
            pass
        shutil.rmtree(target)
    half = Path(tempfile.mkdtemp(prefix=".new-", dir=kept))
    for name, asset in build.files.items():
        (half / name).write_bytes(asset.body)
    (half / MANIFEST).write_text(json.dumps({"version": build.version}))
    half.rename(target)


async def _words(send: Send, status: int, text: str, more: Headers | None = None) -> None:
    body = text.encode()
    headers: Headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(body))]
    await _send(send, status, [*_OPEN, *headers, (b"cache-control", b"no-store"), *(more or [])], body)


async def _send(send: Send, status: int, headers: Headers, body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
