"""Static files by address: each under a path that holds the hash of all of them, compressed once, cached for ever.

Not for uploads or plugins' files. The style sheets are joined into one, in the order of their names; scripts stay the
modules they are and import each other by relative path.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from litestar import asgi
from litestar.handlers import ASGIRouteHandler
from litestar.types import Receive, Scope, Send

from appliance.web.asset import FOREVER, Asset, asset_of, encoded

STATIC: Final = Path(__file__).parent / "static"
STYLES: Final = "css/app.css"
PREFETCH: Final = "prefetch.speculationrules"  # which links a browser may fetch when they are pointed at


class AssetsMissingError(RuntimeError):
    """The npm packages have not been installed into the static folder."""


class Assets:
    """All static files, read once at start (about 1 MB)."""

    def __init__(self, directory: Path = STATIC) -> None:
        """Args: directory: holds css/, js/, vendor/ and single files.

        Raises:
            AssetsMissingError: vendor/ is absent: the package was not installed by its build hook.
        """
        if not (directory / "vendor" / "htmx.js").is_file():
            raise AssetsMissingError(
                f"{directory / 'vendor'} lacks the npm packages of the dashboard. Run `python hatch_build.py` in the "
                "checkout (or `pip install -e .` again) to fetch and build them."
            )
        self._files = _read(directory)
        digest = hashlib.sha256()
        for name, asset in sorted(self._files.items()):
            digest.update(name.encode() + b"\0" + asset.body)
        self.version: Final = digest.hexdigest()[:12]

    def url(self, name: str) -> str:
        """The address of a file, for templates: `asset("js/app.js")`. Raises KeyError for a file that is not there."""
        if name not in self._files:
            raise KeyError(f"no static file {name!r}")
        return f"/static/{self.version}/{name}"

    def find(self, path: str) -> tuple[Asset, bool] | None:
        """The file for a path below /static/, and whether the address carries the hash of today's files."""
        version, _, name = path.strip("/").partition("/")
        if version == self.version and name in self._files:
            return self._files[name], True
        # A page from before an upgrade asks with the old hash; it gets today's file, uncached.
        plain = name if name in self._files else path.strip("/")
        return (self._files[plain], False) if plain in self._files else None

    def handler(self) -> ASGIRouteHandler:
        """The mount at /static; public, since the sign-in page needs it."""

        @asgi("/static", is_mount=True, copy_scope=True, opt={"public": True})
        async def static(scope: Scope, receive: Receive, send: Send) -> None:
            del receive
            found = self.find(scope["path"].removeprefix("/static"))
            if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
                await _send(send, 405, [(b"allow", b"GET, HEAD")], b"")
            elif found is None:
                await _send(send, 404, [(b"content-type", b"text/plain")], b"no such file")
            else:
                accepts = dict(scope["headers"]).get(b"accept-encoding", b"").decode("latin-1")
                body, headers = _negotiated(*found, accepts)
                await _send(send, 200, headers, b"" if scope["method"] == "HEAD" else body)

        return static


def _read(directory: Path) -> dict[str, Asset]:
    files: dict[str, Asset] = {}
    styles: list[bytes] = []
    for path in sorted(p for p in directory.rglob("*") if p.is_file()):
        name = path.relative_to(directory).as_posix()
        if path.suffix == ".css" and path.parent.name == "css":
            styles.append(path.read_bytes())
        elif not path.name.startswith("."):
            files[name] = asset_of(path.suffix, path.read_bytes())
    files[STYLES] = asset_of(".css", b"\n".join(styles))
    return files


def _negotiated(asset: Asset, current: bool, accepts: str) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    body, coding = encoded(asset, accepts)
    headers = [
        (b"content-type", asset.content_type.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", FOREVER.encode() if current else b"no-cache"),
        (b"x-content-type-options", b"nosniff"),
        (b"vary", b"accept-encoding"),
    ]
    if coding:
        headers.append((b"content-encoding", coding))
    return body, headers


async def _send(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
