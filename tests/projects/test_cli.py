"""`condev init`, `user`, `token`, `project`: before the first start, and beside a running appliance's database."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from appliance.cli import condev
from appliance.testing.accounts import PASSWORD

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)  # no config.toml of ours

    def invoke(*words: str, stdin: str = "") -> Result:
        return CliRunner().invoke(condev, [*words, "--data-dir", str(tmp_path / "data")], input=stdin)

    return invoke


def test_the_verbs_that_checks_outside_rely_on(run: Run, tmp_path: Path) -> None:
    made = run("user", "create", "--email", "ada@example.com", "--role", "owner", stdin=f"{PASSWORD}\n")
    assert made.exit_code == 0, made.output
    project = json.loads(run("project", "create", "--name", "Web shop", "--json").output)
    assert project.keys() == {"id", "slug", "key", "dsn", "condev_dsn"}
    assert project["dsn"] == f"http://{project['key']}@127.0.0.1:8000/{project['id']}"
    token = json.loads(run("token", "create", "--user", "ada@example.com", "--json").output)
    assert token.keys() == {"token"}
    assert (tmp_path / "data" / "admission.json").is_file()
    assert "web-shop" in run("project", "list").output
    assert project["dsn"] in run("project", "keys", "web-shop").output
    assert "ada@example.com" in run("user", "list").output
    assert token["token"] not in run("token", "list", "--user", "ada@example.com").output


def test_init_makes_one_owner(run: Run) -> None:
    assert run("init", "--email", "ada@example.com", stdin=f"{PASSWORD}\n").exit_code == 0
    again = run("init", "--email", "eve@example.com", stdin=f"{PASSWORD}\n")
    assert again.exit_code == 1
    assert again.output.startswith("condev: There is an owner already")


@pytest.mark.parametrize(
    ("words", "stdin", "said"),
    [
        (("user", "create", "--email", "x", "--role", "viewer"), PASSWORD, "not a mail address"),
        (("user", "create", "--email", "x@example.com"), "short", "at least 8 characters"),
        (("user", "create", "--email", "x@example.com"), "", "standard input"),
        (("user", "disable", "--email", "nobody@example.com"), "", "no user nobody@example.com"),
        (("token", "create", "--user", "nobody@example.com"), "", "no user nobody@example.com"),
        (("project", "create", "--name", " "), "", "Give it a name"),
        (("project", "keys", "nothing"), "", "no such project"),
    ],
)
def test_an_error_is_one_clear_line_and_a_non_zero_exit(
    run: Run, words: tuple[str, ...], stdin: str, said: str
) -> None:
    result = run(*words, stdin=stdin)
    assert result.exit_code == 1
    assert said in result.output
    assert len(result.output.strip().splitlines()) == 1


def test_tokens_and_users_end_from_the_command_line(run: Run) -> None:
    run("init", "--email", "ada@example.com", stdin=PASSWORD)
    run("user", "create", "--email", "bob@example.com", "--role", "member", stdin=PASSWORD)
    run("token", "create", "--user", "bob@example.com", "--name", "CI", "--scope", "issues:read", "--days", "30")
    listed = json.loads(run("token", "list", "--user", "bob@example.com", "--json").output)
    assert [(item["name"], item["scopes"]) for item in listed] == [("CI", ["issues:read"])]
    assert run("token", "revoke", "--user", "bob@example.com", str(listed[0]["id"])).exit_code == 0
    assert json.loads(run("token", "list", "--user", "bob@example.com", "--json").output) == []
    assert run("user", "disable", "--email", "bob@example.com").exit_code == 0
    assert "disabled" in run("user", "list").output
    assert run("user", "password", "--email", "bob@example.com", stdin="another long one").exit_code == 0
    assert "only owner" in run("user", "disable", "--email", "ada@example.com").output
