"""Writes the pages that repeat what the code says: config keys, verbs, hooks. `tests/docs` fails when they are stale.

Run it with `python docs/generate.py`.
"""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from typing import Final

import click
from litestar import Litestar
from litestar.routes import HTTPRoute

REPOSITORY: Final = Path(__file__).parents[1]
DOCS: Final = REPOSITORY / "docs"
_SECTION: Final = re.compile(r"^\[([\w.]+)\]$")
_KEY: Final = re.compile(r"^# (?P<key>\w+) = (?P<default>.*?)\s+# (?P<why>.*)$")
_BARE_KEY: Final = re.compile(r"^# (?P<key>\w+) = (?P<default>.*)$")


def config_page() -> str:
    """docs/config.md, from the comments of config.toml."""
    lines = [
        "# config.toml",
        "",
        "One file configures the appliance. Every key has a default; without a file everything runs on the",
        "embedded engine under the data directory. `condev config check` names everything that is wrong at once,",
        "with the nearest known key; `condev config show` prints what is in force, secrets masked.",
        "",
        'Any key can be set in the environment as `CONDEV__SECTION__KEY`. A secret is `{ env = "NAME" }` or',
        '`{ file = "/path" }`. Sizes may be written `"512m"` or `"10g"`.',
    ]
    for line in (REPOSITORY / "config.toml").read_text("utf-8").splitlines():
        if section := _SECTION.match(line):
            lines += ["", f"## [{section[1]}]", "", "| key | default | what it does |", "| --- | --- | --- |"]
        elif match := _KEY.match(line) or _BARE_KEY.match(line):
            why = match.groupdict().get("why", "")
            default = match["default"].strip().replace("|", "\\|")
            lines.append(f"| `{match['key']}` | `{default}` | {why} |")
    return "\n".join(lines) + "\n"


def cli_page() -> str:
    """docs/cli.md, from each verb's --help."""
    from appliance.cli import condev

    lines = [
        "# The `condev` command",
        "",
        "Every verb takes `--config FILE` (`CONDEV_CONFIG`) and `--data-dir DIR` (`CONDEV_DATA_DIR`). It ends with a",
        "non-zero exit code and one clear line on error; 2 means that the configuration or the arguments are wrong.",
    ]
    context = click.Context(condev, info_name="condev")
    for words, command in _verbs(condev, context, ()):
        context_of = click.Context(command, info_name=" ".join(("condev", *words)), max_content_width=100)
        help_text = command.get_help(context_of)
        lines += ["", f"## condev {' '.join(words)}", "", "```text", help_text.rstrip(), "```"]
    return "\n".join(lines) + "\n"


def _verbs(
    group: click.Group, context: click.Context, words: tuple[str, ...]
) -> list[tuple[tuple[str, ...], click.Command]]:
    found: list[tuple[tuple[str, ...], click.Command]] = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            found += _verbs(command, context, (*words, name))
        elif command is not None:
            found.append(((*words, name), command))
    return found


def hooks_page() -> str:
    """docs/plugins/hooks.md, from the docstrings of the contract."""
    from appliance import hookspecs

    lines = [
        "# Hooks",
        "",
        "Generated from `appliance/hookspecs/`. A hook function is marked `@hookimpl` and takes by name what",
        "it needs of the arguments below. It has no default values; only `on_…` hooks may be `async def`.",
    ]
    for name, function in inspect.getmembers(hookspecs, inspect.isfunction):
        if getattr(function, "condev_spec", None) is None:
            continue
        signature = ", ".join(inspect.signature(function).parameters)
        lines += ["", f"## {name}({signature})", "", inspect.getdoc(function) or ""]
    return "\n".join(lines) + "\n"


def api_page() -> str:
    """docs/api.md, from the OpenAPI description."""
    import tempfile

    from appliance.app import create_app
    from appliance.config import Config
    from appliance.data_dir import prepare_data_dir

    with tempfile.TemporaryDirectory() as folder:
        prepare_data_dir(Path(folder))
        app = create_app(Config(), Path(folder))
        if app.web is None:
            raise RuntimeError("the role all has a web part")
        paths = app.web.openapi_schema.to_schema()["paths"]
    lines = [
        "# The JSON API",
        "",
        "Generated from the OpenAPI description, which the appliance serves at `/api/v1/schema`. Send a token as",
        "`Authorization: Bearer cdm_…` (Account → Tokens, or `condev token create`). Lists answer",
        '`{"items": […], "next": cursor or null}` and take `limit` and `cursor`. Errors are problem documents',
        "(`type`, `title`, `status`, `detail`, `request_id`).",
        "",
        "```sh",
        'curl -H "Authorization: Bearer cdm_…" "https://monitor.example.com/api/v1/projects/1/issues?state=open&limit=10"',
        "```",
        "",
        "| call | scope | what it does |",
        "| --- | --- | --- |",
    ]
    scopes = _scopes(app.web)
    for path, methods in sorted(paths.items()):
        if path.startswith("/api/v1/schema"):
            continue
        for method, operation in sorted(methods.items()):
            said = (operation.get("description") or operation.get("summary") or "").split("\n")[0]
            scope = scopes.get((path, method.upper()), "")
            lines.append(f"| `{method.upper()} {path}` | {f'`{scope}`' if scope else 'any'} | {said} |")
    return "\n".join(lines) + "\n"


def _scopes(web: Litestar) -> dict[tuple[str, str], str]:
    """Which scope a token needs for a path and a method."""
    from appliance.accounts.access import SCOPE_PERMISSIONS

    found: dict[tuple[str, str], str] = {}
    for route in web.routes:
        for handler in route.route_handlers if isinstance(route, HTTPRoute) else ():
            needed = handler.opt.get("permission")
            scope = next((scope for scope, allowed in SCOPE_PERMISSIONS.items() if needed in allowed), "")
            found |= {(route.path_format, method): scope for method in handler.http_methods}
    return found


PAGES: Final = {"api.md": api_page, "config.md": config_page, "cli.md": cli_page, "plugins/hooks.md": hooks_page}


def main() -> None:
    """Write them all."""
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), "utf-8")
        sys.stdout.write(f"docs/{name}\n")


if __name__ == "__main__":
    main()
