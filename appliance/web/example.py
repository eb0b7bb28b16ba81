"""Serves the example page of examples/vanilla at /example/, for `condev demo` and tests. Not part of `condev serve`.

It is an application that is monitored, not a page of the dashboard: it gets a content security policy of its own,
no session is looked at, and it knows where to report alone. It answers what its buttons ask for: slowly, or with 500.
"""

from __future__ import annotations

import asyncio
import mimetypes
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final

from litestar import Request, Response, Router, get
from litestar.exceptions import NotFoundException
from litestar.params import FromPath, QueryParameter
from litestar.response import Redirect
from msgspec import Struct

# In a wheel hatch_build.py puts it beside this file; in a checkout it is built where people look for examples.
_PLACES: Final = (Path(__file__).parent / "example", Path(__file__).parents[2] / "examples" / "vanilla" / "dist")
# Its SDK sends to the DSN's host, whichever that is.
CSP: Final = "default-src 'self'; connect-src *; base-uri 'none'; frame-ancestors 'none'"
_HEADERS: Final = {"Content-Security-Policy": CSP, "Cache-Control": "no-cache"}
_TYPES: Final = {".js": "text/javascript", ".map": "application/json", ".svg": "image/svg+xml"}
MAX_SECONDS: Final = 5.0  # a slow answer holds a connection; what the page calls slow is 3
PICTURE: Final = '<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>'

Seconds = Annotated[float, QueryParameter(ge=0, le=MAX_SECONDS, description="How long to wait.")]


class ExampleConfig(Struct, frozen=True, kw_only=True):
    """What the page is told: where it reports to, and where the dashboard shows that."""

    dsn: str
    project: str = ""  # its slug; "" = the page links to the list of projects
    release: str = "example-shop@1.0.0"
    environment: str = "production"
    dashboard: str = "/"


def example_router(config: Callable[[], ExampleConfig], opt: dict[str, Any], directory: Path | None = None) -> Router:
    """The routes of the example page.

    Args:
        config: what the page is told, asked at each request.
        opt: what routes must state for being public (`accounts.access.PUBLIC`).
        directory: the page's files; None finds the package's own.

    Raises:
        FileNotFoundError: the files are not there, or have not been built.
    """
    folder = directory or next((place for place in _PLACES if (place / "index.html").is_file()), None)
    if folder is None or not (folder / "index.html").is_file():
        raise FileNotFoundError("The example page is not built. Run `python hatch_build.py` in the checkout.")
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}

    @get("/", opt=opt, include_in_schema=False)
    async def example_page(request: Request[Any, Any, Any]) -> Response[Any]:
        """The page. Its links are relative, so its address ends in a slash."""
        if not request.scope["raw_path"].endswith(b"/"):
            return Redirect("/example/", status_code=307)
        return _file(files["index.html"])

    @get("/config.json", opt=opt, include_in_schema=False)
    async def example_config() -> ExampleConfig:
        """Where it reports to."""
        return config()

    @get("/{name:path}", opt=opt, include_in_schema=False)
    async def example_file(request: Request[Any, Any, Any], name: FromPath[str]) -> Response[Any]:
        """A file of it, or a folder's index; only names that were there at start."""
        name = name.strip("/")
        if f"{name}/index.html" in files:
            if not request.scope["raw_path"].endswith(b"/"):
                return Redirect(f"/example/{name}/", status_code=307)
            name = f"{name}/index.html"
        found = files.get(name)
        if found is None:
            raise NotFoundException
        return _file(found)

    handlers = [example_page, example_config, example_file, *_answers(opt)]
    return Router("/example", route_handlers=handlers)


def _answers(opt: dict[str, Any]) -> list[Any]:
    """The shop's own server, as it is on a bad day."""

    @get("/api/fails", opt=opt, include_in_schema=False)
    async def example_fails() -> Response[dict[str, str]]:
        """500, as a server that is broken."""
        return Response({"error": "The payment service is down."}, status_code=500)

    @get("/api/slow", opt=opt, include_in_schema=False)
    async def example_slow(seconds: Seconds = 3.0) -> dict[str, float]:
        """An answer that takes its time."""
        await asyncio.sleep(seconds)
        return {"waited": seconds}

    @get("/api/slow.svg", opt=opt, include_in_schema=False)
    async def example_slow_picture(seconds: Seconds = 3.0) -> Response[str]:
        """A picture that takes its time."""
        await asyncio.sleep(seconds)
        return Response(PICTURE, media_type="image/svg+xml", headers={"Cache-Control": "no-store"})

    return [example_fails, example_slow, example_slow_picture]


def _file(path: Path) -> Response[bytes]:
    kind = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0]
    return Response(path.read_bytes(), media_type=kind or "application/octet-stream", headers=_HEADERS)
