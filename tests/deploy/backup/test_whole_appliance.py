"""A backup of a running appliance under traffic, restored elsewhere: everything is there, once, and counts agree."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from appliance.testing.running import CONDEV, RunningAppliance
from appliance.testing.traffic import Traffic, read_books

pytestmark = pytest.mark.timeout(400)

PASSPHRASE = "correct horse battery staple"
SECRET = {"CONDEV_BACKUP_PASSPHRASE": PASSPHRASE}


def refused(appliance: RunningAppliance, *words: str) -> str:
    """The one line of a verb that does not succeed."""
    done = subprocess.run(
        [CONDEV, *words, "--config", str(appliance.config_file), "--data-dir", str(appliance.data_dir)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("condev: ")]
    assert len(lines) == 1, done.stderr
    return lines[0]


def test_a_backup_under_traffic_is_restored_elsewhere_with_every_event_and_counter(
    serve, owner, envelope_path, envelopes, tmp_path: Path
):
    appliance = serve(environ=SECRET, config='[metadata]\n[site]\nname = "Shop"\n')
    appliance.start()
    target = tmp_path / "condev.backup"
    with Traffic(appliance, envelope_path, envelopes(), per_second=150.0) as traffic:
        traffic.wait_for(400)
        before = set(traffic.acknowledged)
        manifest = json.loads(appliance.verb("backup", str(target), "--json"))
        attempted = set(traffic.attempted)
        traffic.wait_for(100)  # nobody was told to wait: the spool took it
    assert traffic.oddities == []
    assert set(traffic.statuses) == {200}
    assert target.stat().st_mode & 0o777 == 0o600
    assert manifest["encrypted"]
    assert "all right" in appliance.verb("backup", "verify", str(target))
    appliance.stop()
    appliance.check_log()

    other = serve("elsewhere", known=False, environ=SECRET)
    said = other.verb("restore", str(target))
    assert re.search(r"[\d,]+ events, 4?\d issues, 1 projects", said), said
    other.start()
    books = read_books(other, owner)  # the owner's token and project are those of the backup
    assert not [event_id for event_id, times in books.ids.items() if times > 1]
    lost = before - books.ids.keys()
    assert not lost, f"{len(lost)} events from before the backup are lost"
    assert books.ids.keys() <= attempted, "events from after the backup"
    assert books.wrong_issues == []
    assert books.project_events == len(books.ids)
    assert books.dead_letters == 0
    with Traffic(other, envelope_path, envelopes(seed=2), per_second=100.0) as later:  # keys as before
        later.wait_for(50)
    assert later.acknowledged <= read_books(other, owner).ids.keys()
    other.stop()
    other.check_log()


def test_what_waited_in_the_spool_is_applied_after_the_restore(serve, owner, envelope_path, envelopes, tmp_path: Path):
    ingest = serve(role="ingest")
    ingest.start()
    with Traffic(ingest, envelope_path, envelopes(), per_second=200.0) as traffic:
        traffic.wait_for(60)
    ingest.stop()
    target = tmp_path / "condev.backup"
    manifest = json.loads(ingest.verb("backup", str(target), "--json"))  # nothing runs: the verb opens the stores
    assert (manifest["store"]["tables"]["events"], len(manifest["spool"]["files"])) == (0, 1)
    other = serve("elsewhere", known=False)
    other.verb("restore", str(target))
    other.start()
    books = read_books(other, owner)
    assert books.ids.keys() == traffic.acknowledged
    assert books.project_events == len(traffic.acknowledged)
    other.stop()
    other.check_log()


def test_a_restore_says_what_is_in_its_way_and_replaces_when_told(
    serve, owner, envelope_path, envelopes, tmp_path: Path
):
    appliance = serve()
    appliance.start()
    with Traffic(appliance, envelope_path, envelopes(), per_second=200.0) as traffic:
        traffic.wait_for(30)
    read_books(appliance, owner)
    target = tmp_path / "condev.backup"
    assert "not encrypted" not in appliance.verb("backup", str(target))  # a warning goes to standard error
    assert "is there already" in refused(appliance, "backup", str(target))
    assert "the appliance runs on" in refused(appliance, "restore", str(target))
    with Traffic(appliance, envelope_path, envelopes(seed=2), per_second=200.0) as later:
        later.wait_for(30)
    read_books(appliance, owner)
    appliance.stop()
    assert "say --replace to lose what is here" in refused(appliance, "restore", str(target))
    appliance.verb("restore", str(target), "--replace")
    appliance.start()
    books = read_books(appliance, owner)
    assert books.ids.keys() == traffic.acknowledged
    assert books.wrong_issues == []
    appliance.stop()
    appliance.check_log()


def test_a_scheduled_backup_is_made_read_back_and_shown(serve, owner, tmp_path: Path):
    appliance = serve(
        environ=SECRET, config='[backup]\nschedule = "daily"\npassphrase = { env = "CONDEV_BACKUP_PASSPHRASE" }\n'
    )
    appliance.start()

    def shown() -> dict[str, object]:
        return appliance.get("/api/v1/system", owner.token)["backup"]

    appliance.wait_until(lambda: shown()["last_good_at"] is not None, "a backup by schedule", 90)
    assert (shown()["scheduled"], shown()["last_error"]) == (True, "")
    (made,) = (appliance.data_dir / "backups").iterdir()
    assert made.stat().st_size == shown()["bytes"]
    assert "all right" in appliance.verb("backup", "verify", str(made))
    appliance.stop()
    appliance.check_log()


def test_an_appliance_does_not_start_on_half_a_restore(serve, tmp_path: Path):
    appliance = serve()
    (appliance.data_dir / "restore.incomplete").write_text("x")
    assert "a restore into" in refused(appliance, "serve", "--port", str(appliance.port))
