"""`condev notify test`, as a person runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from pytest_httpserver import HTTPServer

from appliance.testing.mailbox import Mailbox


def condev(home: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from appliance.cli import main; main()", *arguments],
        cwd=home,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def make_owner(home: Path) -> None:
    program = [sys.executable, "-c", "from appliance.cli import main; main()"]
    subprocess.run(
        [*program, "user", "create", "--email", "owner@example.com", "--role", "owner"],
        cwd=home,
        input="correct horse battery staple\n",
        env={**os.environ, "RESEND_KEY": "re_secret"},
        text=True,
        check=True,
    )


def configure(home: Path, resend: str, port: int) -> None:
    (home / "config.toml").write_text(
        f"""
[mail]
from = "Monitor <monitor@example.com>"

[plugins.resend]
api_key = {{ env = "RESEND_KEY" }}
base_url = "{resend}"

[plugins.smtp]
host = "127.0.0.1"
port = {port}
security = "none"
"""
    )


def test_each_step_of_each_notifier_is_shown_and_the_second_delivers_when_the_first_fails(
    httpserver: HTTPServer, tmp_path: Path
) -> None:
    httpserver.expect_request("/domains").respond_with_json({"name": "invalid_api_key", "message": "No."}, status=403)
    with Mailbox() as box:
        configure(tmp_path, httpserver.url_for("/"), box.port)
        answer = condev(tmp_path, "notify", "test", "email", "--to", "you@example.com", RESEND_KEY="re_secret")
    assert answer.returncode == 0, answer.stderr
    lines = [" ".join(line.split()) for line in answer.stdout.splitlines()]
    assert any(line.startswith("FAIL auth 403 invalid_api_key: No.") for line in lines)
    assert any(line.startswith("→ Make a key at https://resend.com/api-keys") for line in lines)
    for step in ("ok dns", "ok connect", "ok auth none asked for", "ok accept 250 2.0.0 queued"):
        assert any(line.startswith(step) for line in lines), step
    assert lines[-1] == "delivered through smtp to you@example.com"
    (mail,) = box.received
    assert mail.recipients == ("you@example.com",)
    assert mail.subject == "Test message from Condev Monitor"
    assert "re_secret" not in answer.stdout + answer.stderr


def test_a_fallback_is_checked_but_sends_nothing_when_the_first_delivers(
    httpserver: HTTPServer, tmp_path: Path
) -> None:
    httpserver.expect_request("/domains").respond_with_json({"data": []})
    httpserver.expect_request("/emails").respond_with_json({"id": "abc"})
    with Mailbox() as box:
        configure(tmp_path, httpserver.url_for("/"), box.port)
        answer = condev(
            tmp_path, "notify", "test", "email", "--to", "you@example.com", "--json", RESEND_KEY="re_secret"
        )
    said: dict[str, Any] = json.loads(answer.stdout)
    assert (answer.returncode, said["delivered"], said["to"]) == (0, True, ["you@example.com"])
    assert [(row["notifier"], row["delivered"]) for row in said["notifiers"]] == [("resend", True), ("smtp", False)]
    assert all(step["ok"] for row in said["notifiers"] for step in row["steps"])
    assert not box.received


def test_without_an_address_the_owners_are_written_to(httpserver: HTTPServer, tmp_path: Path) -> None:
    with Mailbox() as box:
        configure(tmp_path, httpserver.url_for("/"), box.port)
        make_owner(tmp_path)
        answer = condev(tmp_path, "notify", "test", "email", RESEND_KEY="re_secret")
    assert answer.returncode == 0, answer.stderr
    assert [mail.recipients for mail in box.received] == [("owner@example.com",)]


def test_when_nobody_delivers_the_exit_is_not_zero_and_says_what_to_do(tmp_path: Path) -> None:
    answer = condev(tmp_path, "notify", "test", "email", "--to", "you@example.com")
    assert answer.returncode == 1
    assert "Resend needs [plugins.resend] api_key." in answer.stdout
    assert "SMTP needs [plugins.smtp] host." in answer.stdout
    assert "nothing was delivered through email" in answer.stderr


def test_an_unknown_channel_or_a_wrong_address_is_one_clear_line(tmp_path: Path) -> None:
    answer = condev(tmp_path, "notify", "test", "pigeon")
    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr == "condev: there is no channel 'pigeon' in [channels]; there is: email\n"
    answer = condev(tmp_path, "notify", "test", "email", "--to", "nobody")
    assert (answer.returncode, answer.stderr) == (2, "condev: not a mail address: nobody\n")
