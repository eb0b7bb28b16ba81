"""What can be seen by reading: one way out, no text marked as safe, secrets compared in constant time."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

ROOT: Final = Path(__file__).parents[2].resolve()
# Who may open connections: the guarded client; SMTP, which is no HTTP; the engine's driver; traffic of `condev demo`.
CONNECTING: Final = {
    "appliance/http_client.py",
    "appliance/cli/demo.py",
    "plugins/clickhouse/engine_server.py",
    "plugins/smtp.py",
    "plugins/webhook.py",
    "plugins/resend.py",
}
# What an operator runs, at addresses of the configuration and of this host: the control socket of the data directory,
# a container's own health, the Docker engine's socket, the site's public address, the checks of `condev doctor`.
OPERATING: Final = {
    "appliance/control.py",
    "appliance/cli/healthcheck.py",
    "appliance/deploy/apply/selftest.py",
    "appliance/deploy/doctor/engine_api.py",
    "appliance/deploy/doctor/knock.py",
}
NETWORK: Final = {
    "httpx",
    "requests",
    "urllib3",
    "aiohttp",
    "http.client",
    "urllib.request",
    "ftplib",
    "smtplib",
    "telnetlib",
    "socket",
}


def sources() -> Iterator[tuple[str, ast.Module]]:
    for folder in ("appliance", "plugins"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if "node_modules" not in name and not name.startswith("appliance/testing/"):
                yield name, ast.parse(path.read_text("utf-8"))


def imported(tree: ast.Module) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def test_requests_leave_through_the_guarded_client_alone() -> None:
    listening = {"appliance/cli/serve.py"}  # a socket to be asked at
    found = {name for name, tree in sources() if imported(tree) & NETWORK}
    assert found <= CONNECTING | OPERATING | listening, "use context.http: it is bounded, and guards what people typed"


def test_trusted_requests_are_of_addresses_in_the_configuration() -> None:
    trusting = {
        name
        for name, tree in sources()
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and ast.unparse(call.func).endswith(".request")
        for node in call.keywords
        if node.arg == "trusted" and not (isinstance(node.value, ast.Constant) and not node.value.value)
    }
    checks = {"appliance/deploy/doctor/mail.py", "appliance/deploy/doctor/network.py"}  # run by the operator
    assert trusting <= checks | {"plugins/resend.py", "plugins/webhook.py"}


def test_no_template_marks_text_as_safe_or_leaves_an_attribute_without_quotes() -> None:
    wrong: list[str] = []
    for folder in ("appliance/web/templates", "appliance/alerts/templates"):
        for path in (ROOT / folder).rglob("*.html"):
            text = path.read_text("utf-8")
            if re.search(r"\|\s*safe\b|autoescape\s+false|\bMarkup\b", text):
                wrong.append(f"{path.name}: marks text as safe")
            if re.search(r"<[^>]*\s[\w-]+=\{\{", text):
                wrong.append(f"{path.name}: an attribute without quotes")
            if re.search(r"<script(?![^>]*\bsrc=)|<[^>]*\son\w+=|\sstyle=\"", text) and "alerts" not in str(path):
                wrong.append(f"{path.name}: inline script or style, which the policy refuses")
            forms = re.findall(r"<form(?=[^>]*method=\"post\")(?:(?!</form>).)*</form>", text, re.DOTALL)
            bare = [one for one in forms if "csrf_field()" not in one and 'name="_csrf_token"' not in one]
            wrong += [f"{path.name}: a form without a CSRF token"] * len(bare)
    assert wrong == []


def test_markup_is_made_in_one_place() -> None:
    makers = {name for name, tree in sources() if imported(tree) & {"markupsafe", "markupsafe.Markup"}}
    assert makers <= {"appliance/web/templating.py"}


def test_scripts_put_no_text_into_markup() -> None:
    wrong = [
        f"{path.name}: {sign}"
        for path in (ROOT / "appliance/web/static/js").glob("*.js")
        for sign in (
            "innerHTML",
            "outerHTML =",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            "createContextualFragment",
        )
        if sign in path.read_text("utf-8")
    ]
    assert wrong == []
    base = (ROOT / "appliance/web/templates/base.html").read_text("utf-8")
    assert '"allowEval":false' in base
    assert '"selfRequestsOnly":true' in base
    assert '"allowScriptTags":false' in base


def test_secrets_are_not_compared_with_equals() -> None:
    secret = re.compile(r"secret|token|password|signature|csrf|hmac|(^|_)mac$")
    wrong: list[str] = []
    for name, tree in sources():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Compare) or not isinstance(node.ops[0], ast.Eq | ast.NotEq):
                continue
            sides = [node.left, *node.comparators]
            # A column compared by the database is an index look-up by a hash; an empty text is no secret.
            if any(
                isinstance(side, ast.Constant) or ast.unparse(side).startswith("len(") or "Model" in ast.unparse(side)
                for side in sides
            ):
                continue
            if any(secret.search(ast.unparse(side).split(".")[-1].lower()) for side in sides):
                wrong.append(f"{name}:{node.lineno}: {ast.unparse(node)}")
    # The last is what a check wrote into a volume a moment ago, to read it back.
    known = ("stored", "token[", "form.get('password'", "new !=", "_read(compose, service")
    assert [one for one in wrong if not any(part in one for part in known)] == []


def test_no_verb_takes_a_secret_as_a_word() -> None:
    from appliance.cli import condev

    def options(command: click.Command, path: str) -> Iterator[str]:
        for parameter in command.params:
            yield from (f"{path} {name}" for name in (*parameter.opts, *parameter.secondary_opts))
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                inner = command.get_command(context, name)
                assert inner is not None
                yield from options(inner, f"{path} {name}")

    found = list(options(condev, "condev"))
    assert len(found) > 20
    assert [
        one
        for one in found
        if re.search(r"password|secret|api.?key|token$", one.split()[-1].lstrip("-"))
        and not one.endswith(("--remove-two-factor", "token_id"))
    ] == []
