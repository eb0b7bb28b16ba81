"""Serves the example page of examples/vanilla at /example/, for `condev demo` and tests. Not part of `condev serve`.

It is an application that is monitored, not a page of the dashboard: it gets a content security policy of its own,
no session is looked at, and it knows the DSN alone.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from litestar import Request, Response, Router, get
from litestar.exceptions import NotFoundException
from litestar.params import FromPath
from litestar.response import Redirect

# In a wheel hatch_build.py puts it beside this file; in a checkout it is where people look for examples.
_PLACES: Final = (Path(__file__).parent / "example", Path(__file__).parents[2] / "examples" / "vanilla")
# Its SDK sends to the DSN's host, whichever that is.
CSP: Final = "default-src 'self'; connect-src *; base-uri 'none'; frame-ancestors 'none'"
_HEADERS: Final = {"Content-Security-Policy": CSP, "Cache-Control": "no-cache"}


def example_router(dsn: Callable[[], str], opt: dict[str, Any], directory: Path | None = None) -> Router:
    """The routes of the example page.

    Args:
        dsn: where it reports to, asked at each request.
        opt: what routes must state for being public (`accounts.access.PUBLIC`).
        directory: the page's files; None finds the package's own.

    Raises:
        FileNotFoundError: the files are not there, or the SDK has not been built into them.
    """
    folder = directory or next((place for place in _PLACES if (place / "index.html").is_file()), None)
    if folder is None or not (folder / "vendor" / "sentry.js").is_file():
        raise FileNotFoundError("The example page is not built. Run `python hatch_build.py` in the checkout.")
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}

    @get("/", opt=opt, include_in_schema=False)
    async def example_page(request: Request[Any, Any, Any]) -> Response[Any]:
        """The page. Its links are relative, so its address ends in a slash."""
        if not request.scope["raw_path"].endswith(b"/"):
            return Redirect("/example/", status_code=307)
        return _file(files["index.html"])

    @get("/config.json", opt=opt, include_in_schema=False)
    async def example_config() -> dict[str, str]:
        """Where it reports to."""
        return {"dsn": dsn(), "release": "example-shop@1.0.0", "environment": "production"}

    @get("/{name:path}", opt=opt, include_in_schema=False)
    async def example_file(name: FromPath[str]) -> Response[bytes]:
        """A file of it; only names that were there at start."""
        found = files.get(name.lstrip("/"))
        if found is None:
            raise NotFoundException
        return _file(found)

    return Router("/example", route_handlers=[example_page, example_config, example_file])


def _file(path: Path) -> Response[bytes]:
    kind = {".js": "text/javascript"}.get(path.suffix) or mimetypes.guess_type(path.name)[0]
    return Response(path.read_bytes(), media_type=kind or "application/octet-stream", headers=_HEADERS)
