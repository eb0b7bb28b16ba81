"""The support bundle holds what helps, none of the secrets it was given, and nothing that an event said."""

from __future__ import annotations

import json
import logging
import tarfile
from pathlib import Path

import pytest

from appliance.config_file import load
from appliance.deploy.support import without_quotes, write_bundle
from appliance.recent_log import parse_line, safe_line
from appliance.testing.traffic import Sent, Traffic, read_books

pytestmark = pytest.mark.timeout(300)

SENTINEL = "xq7-visitor-said-this"
SECRETS = {
    "RESEND_API_KEY": "re_1234567890abcdef",
    "SMTP_PASSWORD": 'smtp "pass"\\word',
    "CONDEV_BACKUP_PASSPHRASE": "backup passphrase of mine",
}
CONFIG = """
[backup]
passphrase = { env = "CONDEV_BACKUP_PASSPHRASE" }
[plugins.resend]
api_key = { env = "RESEND_API_KEY" }
[plugins.smtp]
host = "mail.example.com"
password = { env = "SMTP_PASSWORD" }
"""


def contents(path: Path) -> dict[str, str]:
    """All files of a bundle."""
    with tarfile.open(path) as archive:
        return {
            Path(member.name).name: archive.extractfile(member).read().decode()  # type: ignore[union-attr]
            for member in archive.getmembers()
        }


def test_a_bundle_of_a_running_appliance_has_no_secret_and_nothing_of_an_event(
    serve, owner, envelope_path, tmp_path: Path
):
    appliance = serve(environ=SECRETS, config=CONFIG)
    (appliance.config_file.parent / ".env").write_text("POSTGRES_PASSWORD='pg-secret-5c1'\n")
    appliance.start()
    event = {"event_id": "a" * 32, "message": SENTINEL, "user": {"email": f"{SENTINEL}@example.com"}}
    good = b'{"event_id":"%s"}\n{"type":"event"}\n%s\n' % (b"a" * 32, json.dumps(event).encode())
    bad = b'{"event_id":"%s"}\n{"type":"event"}\n{"%s\n' % (b"b" * 32, SENTINEL.encode())
    with Traffic(appliance, envelope_path, iter([Sent("a" * 32, good), Sent("b" * 32, bad)]), per_second=50) as traffic:
        traffic.wait_for(1)
    read_books(appliance, owner)
    appliance.get("/api/v1/system", owner.token)
    target = tmp_path / "bundle.tar.gz"
    appliance.verb("support-bundle", str(target), "--no-doctor")
    assert target.stat().st_mode & 0o777 == 0o600
    found = contents(target)
    assert {"README.txt", "versions.json", "config.json", "plan.json", "system.json", "log.jsonl", "files.json",
            "status.json"} <= found.keys()  # fmt: skip
    whole = "\n".join(found.values())
    for secret in (*SECRETS.values(), "pg-secret-5c1", owner.token, owner.key, owner.PASSWORD, SENTINEL, owner.EMAIL):
        assert secret not in whole
        assert json.dumps(secret)[1:-1] not in whole
    system = json.loads(found["system.json"])
    assert system["processed"] > 0
    assert json.loads(found["config.json"])["plugins"]["smtp"]["host"] == "mail.example.com"
    assert json.loads(found["versions.json"])["packages"]["litestar"]
    appliance.stop()


def test_a_bundle_of_an_appliance_that_does_not_run_says_so(serve, tmp_path: Path):
    appliance = serve()
    target = tmp_path / "bundle.tar.gz"
    appliance.verb("support-bundle", str(target), "--no-doctor")
    found = contents(target)
    assert "does not run" in json.loads(found["running.json"])["why_not"]
    assert json.loads(found["files.json"])


def test_a_known_secret_is_masked_wherever_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    source = tmp_path / "config.toml"
    source.write_text(CONFIG)
    config = load(source)
    target = tmp_path / "bundle.tar.gz"
    with target.open("wb") as file:
        write_bundle(file, config, {"odd.json": [f"https://x/?{value}" for value in SECRETS.values()]})
    assert not [secret for secret in SECRETS.values() if secret in "".join(contents(target).values())]


@pytest.mark.parametrize(
    "line",
    [
        {"logger": "appliance.pipeline", "level": "error", "event": "pipeline waits", "error": f"cannot {SENTINEL}"},
        {"logger": "uvicorn.error", "level": "error", "event": f"GET /{SENTINEL} failed"},
        {"logger": "appliance.ingest", "level": "info", "event": f"refused: {SENTINEL}", "path": SENTINEL},
        {
            "logger": "appliance.x", "level": "error", "event": "job failed",
            "exception": f'Traceback\n  File "/a/appliance/x.py", line 3, in run\n    call("{SENTINEL}")\n'
            f"ValueError: {SENTINEL}",
        },
    ],
)  # fmt: skip
def test_a_log_line_loses_what_it_quotes_and_keeps_where_it_came_from(line: dict[str, str]):
    safe = safe_line({"timestamp": "2027-01-15T08:00:00Z", **line})
    assert SENTINEL not in json.dumps(safe)
    assert (safe["level"], safe["timestamp"]) == (line["level"], "2027-01-15T08:00:00Z")
    if "exception" in line:
        assert safe["exception"] == ["/a/appliance/x.py:3 run", "ValueError"]


def test_lines_of_a_stacks_log_are_read_behind_the_services_name():
    line = parse_line(
        'core-1  | {"logger": "appliance.schedule", "level": "error", "event": "job failed", "job": "backup"}'
    )
    assert line is not None
    assert (line["job"], line["event"]) == ("backup", "job failed")
    assert parse_line("core-1  | Traceback (most recent call last):") is None


def test_texts_of_the_figures_are_cut_where_they_begin_to_quote():
    cut = without_quotes({"problems": [{"text": f"The job x failed: {SENTINEL}", "mend": "It is tried again."}]})
    assert cut == {"problems": [{"text": "The job x failed", "mend": "It is tried again."}]}


def test_what_the_process_logged_is_kept_in_bounds():
    from appliance.recent_log import KEPT, RecentLines

    lines = RecentLines()
    for number in range(KEPT + 5):
        lines.handle(
            logging.makeLogRecord({"name": "appliance.x", "msg": {"event": f"n {number}"}, "levelname": "INFO"})
        )
    assert (len(lines.lines()), lines.lines()[0]["event"]) == (KEPT, "n 5")
