"""What apply does and leaves, step by step, on an engine that is a file."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest

from appliance.config import MIB
from appliance.deploy.apply.engine import EngineError
from appliance.deploy.apply.journal import Fate, Releases, Step
from appliance.deploy.apply.layout import ApplyError, BusyError, Installation
from appliance.deploy.apply.run import FailedError
from appliance.deploy.apply.schemas import Schemas
from appliance.deploy.apply.switch import roll_back
from appliance.deploy.plugin_install import LOCK_FILE
from appliance.deploy.render.secrets import StackSecret

from .conftest import FileImages, House

TWO = Schemas(
    revision="2",
    known_revisions=("1", "2"),
    revision_readable_by=("2", "1"),
    event_store=1,
    event_store_readable_from=1,
)
TWO_ALONE = Schemas(
    revision="2", known_revisions=("1", "2"), revision_readable_by=("2",), event_store=1, event_store_readable_from=1
)


def steps(house: House) -> list[str]:
    return [f"{entry.step} {entry.state}" for entry in Releases(house.installation).all()[-1].entries()]


def test_the_first_apply_goes_through_every_step_in_order(house: House) -> None:
    assert house.apply() == "applied"
    done = [line.split()[0] for line in steps(house) if line.endswith("done")]
    assert done == [
        "plugins",
        "check",
        "plan",
        "images",
        "backup",
        "switch",
        "migrate",
        "start",
        "health",
        "self_test",
        "good",
    ]
    assert house.check_whole() == "one"


def test_with_nothing_changed_nothing_is_done(house: House) -> None:
    house.apply()
    before = {path: path.stat().st_mtime_ns for path in house.installation.root.rglob("*") if path.is_file()}
    assert house.apply() == "unchanged"
    after = {path: path.stat().st_mtime_ns for path in house.installation.root.rglob("*") if path.is_file()}
    assert after == before
    assert len(Releases(house.installation).all()) == 1


def test_a_container_that_is_not_what_the_files_say_is_put_right(house: House) -> None:
    house.apply()
    house.compose._set("core", "another", "running")
    assert house.apply() == "applied"
    house.check_whole()


def test_a_rendered_file_that_somebody_edited_is_put_right(house: House) -> None:
    house.apply()
    house.installation.compose.write_text("# by hand\n")
    assert house.apply() == "applied"
    assert house.check_whole() == "one"


def test_a_file_that_the_new_release_lacks_is_removed_and_comes_back_with_a_rollback(house: House) -> None:
    house.write("one", {"clickhouse/config.d/caps.xml": "<x/>"})
    house.apply()
    house.write("two")
    house.apply()
    assert not (house.installation.root / "clickhouse/config.d/caps.xml").exists()
    roll_back(house.installation, house.compose, FileImages(), restore=False, say=house.said.append)
    assert house.check_whole() == "one"
    assert (house.installation.root / "clickhouse/config.d/caps.xml").read_text() == "<x/>"


def test_a_release_that_does_not_start_goes_back_and_says_which_step_and_why(house: House) -> None:
    house.apply()
    house.write("broken")
    with pytest.raises(
        FailedError,
        match=r"(?s)^start: docker compose up: .*unhealthy\nthe last lines of core:.*broken on purpose.*runs again",
    ):
        house.apply()
    assert house.check_whole() == "one"
    assert Releases(house.installation).fate(Releases(house.installation).all()[-1]) is Fate.ROLLED_BACK


def test_a_self_test_that_does_not_come_back_goes_back(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.apply()
    house.write("two")

    async def lost(*_: object) -> str:
        raise ApplyError("the event was accepted, and could not be read back")

    monkeypatch.setattr("appliance.deploy.apply.run.run_self_test", lost)
    with pytest.raises(FailedError, match=r"^self_test: the event was accepted"):
        house.apply()
    assert house.check_whole() == "one"


def test_a_first_install_that_fails_is_left_to_be_looked_at_and_the_next_run_finishes_it(house: House) -> None:
    house.write("broken")
    with pytest.raises(FailedError, match="first install"):
        house.apply()
    house.write("two")
    assert house.apply() == "applied"
    assert house.check_whole() == "two"


def test_when_going_back_fails_too_the_next_run_goes_back_first(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.apply()
    house.write("broken")
    up = house.compose.up
    monkeypatch.setattr(house.compose, "up", lambda: (_ for _ in ()).throw(EngineError("the engine is gone")))
    with pytest.raises(FailedError, match=r"going back .* failed too: the engine is gone"):
        house.apply()
    monkeypatch.setattr(house.compose, "up", up)
    house.write("one")
    assert house.apply() == "unchanged"
    assert house.check_whole() == "one"


def test_the_persons_own_files_are_never_touched(house: House) -> None:
    root = house.installation.root
    (root / ".env").write_text("MINE=1\n")
    (root / "notes.txt").write_text("x")
    before = [(root / name).stat().st_mtime_ns for name in (".env", "config.toml", "notes.txt")]
    house.apply()
    house.write("broken")
    with pytest.raises(FailedError):
        house.apply()
    assert [(root / name).stat().st_mtime_ns for name in (".env", "config.toml", "notes.txt")] == before


def test_secrets_are_made_once_for_root_alone_and_never_replaced(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = StackSecret("POSTGRES_PASSWORD", "of postgres", can_be_generated=True)
    render = house.render
    monkeypatch.setattr(house, "render", lambda: __import__("msgspec").structs.replace(render(), secrets=[secret]))
    house.apply()
    made = house.installation.env.read_text()
    assert stat.S_IMODE(house.installation.env.stat().st_mode) == 0o600
    value = made.rpartition("POSTGRES_PASSWORD=")[2].strip()
    assert len(value) == 48
    assert not any(value in line for line in house.said)
    house.write("two")
    house.apply()
    assert house.installation.env.read_text() == made


def test_secrets_that_only_a_person_has_are_all_named_at_once(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = [StackSecret("RESEND_API_KEY", "named by plugins.resend.api_key", can_be_generated=False),
               StackSecret("TUNNEL_TOKEN", "of the tunnel", can_be_generated=False)]  # fmt: skip
    render = house.render
    monkeypatch.delenv("RESEND_API_KEY", raising=False)
    monkeypatch.setattr(house, "render", lambda: __import__("msgspec").structs.replace(render(), secrets=secrets))
    with pytest.raises(ApplyError, match=r"lacks: RESEND_API_KEY \(named by .*\), TUNNEL_TOKEN"):
        house.apply()
    assert Releases(house.installation).all() == []


def test_a_dry_run_shows_the_difference_and_changes_nothing(house: House) -> None:
    house.apply()
    before = sorted(str(path) for path in house.installation.root.rglob("*"))
    house.write("two")
    assert house.apply(dry_run=True) == "dry run"
    assert "+# two" in house.said
    assert sorted(str(path) for path in house.installation.root.rglob("*")) == before
    assert house.check_whole() == "one"


def test_two_at_once_are_refused(house: House) -> None:
    with house.installation.locked(), pytest.raises(BusyError, match="wait"):
        house.apply()


def test_config_that_runs_is_a_copy_that_others_cannot_read(house: House) -> None:
    house.installation.config.write_text('[mail]\nfrom = "x"\n')
    house.apply()
    applied = house.installation.root / "config.applied.toml"
    assert applied.read_text() == '[mail]\nfrom = "x"\n'
    assert not applied.stat().st_mode & 0o007
    if os.geteuid() == 0:
        assert applied.stat().st_gid == 10001
    override = (house.installation.root / "compose.override.yaml").read_text()
    assert "./config.applied.toml:/etc/condev/config.toml:ro" in override


def test_no_backup_for_a_change_of_settings_one_for_a_migration(house: House) -> None:
    house.apply()
    house.ran()
    house.write("two")
    house.apply()
    assert not house.installation.backups.exists()
    house.schemas = TWO
    house.write("three reads-two")
    house.apply()
    (backup,) = house.installation.backups.iterdir()
    assert Releases(house.installation).all()[-1].record().backup == backup.name


def test_the_spool_keeps_what_is_finished_while_the_backup_is_written(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.apply()
    house.ran()
    house.schemas = TWO_ALONE
    seen: list[bool] = []

    def backup(installation: Installation, target: Path) -> None:
        seen.append(installation.keep_spool.exists())
        house.backup(installation, target)

    monkeypatch.setattr("appliance.deploy.apply.run.take_backup", backup)
    house.write("two reads-two")
    house.apply()
    assert seen == [True]
    assert house.check_whole() == "two reads-two"


def test_a_backup_that_fails_changes_nothing_and_keeps_nothing_in_the_spool(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.apply()
    house.ran()

    def backup(*_: object) -> None:
        raise ApplyError("condev backup: the disk broke")

    monkeypatch.setattr("appliance.deploy.apply.run.take_backup", backup)
    house.write("two")
    with pytest.raises(FailedError, match=r"(?s)the disk broke.*nothing was changed"):
        house.apply(backup="always")
    assert house.check_whole() == "one"


def test_without_room_for_a_backup_it_stops_before_anything_changes(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.apply()
    house.ran()
    (house.installation.root / "postgres").mkdir()
    (house.installation.root / "postgres" / "table").write_bytes(b"x" * 4096)
    for name in ("spool", "backups"):  # are not in a backup
        (house.installation.data / name).mkdir()
        with (house.installation.data / name / "large").open("wb") as file:
            file.truncate(1 << 40)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=256 * MIB + 4096))
    house.write("two")
    with pytest.raises(FailedError, match=r"(?s)ingest needs 256 MiB.*or go without: --no-backup\nnothing was changed"):
        house.apply(backup="always")
    assert house.check_whole() == "one"
    assert list(house.installation.backups.iterdir()) == []
    house.apply(backup="never")
    assert house.check_whole() == "two"
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=256 * MIB + 8192))
    house.write("three")
    house.apply(backup="always")
    assert house.check_whole() == "three"


def test_backups_of_upgrades_that_failed_do_not_pile_up(house: House) -> None:
    house.apply()
    house.write("broken")
    for _ in range(3):
        with pytest.raises(FailedError):
            house.apply(backup="always")
    assert len(list(house.installation.backups.iterdir())) == 1
    house.write("two")
    house.apply()
    assert list(house.installation.backups.iterdir()) == []


def test_a_backup_that_is_gone_is_said_before_anything_is_stopped(house: House) -> None:
    house.apply()
    house.ran()
    house.schemas = TWO_ALONE
    house.write("two reads-two")
    house.apply()
    (backup,) = house.installation.backups.iterdir()
    backup.unlink()
    with pytest.raises(ApplyError, match="there is no backup to restore"):
        roll_back(house.installation, house.compose, FileImages(), restore=True, say=house.said.append)
    assert {made["state"] for made in house.compose.containers().values()} == {"running"}


def test_plugins_that_stay_are_left_where_containers_have_them_mounted(house: House) -> None:
    house.apply()
    before = house.installation.plugins.stat().st_ino
    house.write("two")
    house.apply()
    roll_back(house.installation, house.compose, FileImages(), restore=False, say=house.said.append)
    assert house.installation.plugins.stat().st_ino == before
    (house.installation.plugins / LOCK_FILE).write_text("others")  # as by an apply that was killed
    house.write("three")
    house.apply()
    assert (house.installation.plugins / LOCK_FILE).read_bytes() == (
        Releases(house.installation).all()[-1].plugins / LOCK_FILE
    ).read_bytes()


@pytest.mark.parametrize(("revision", "event_store"), [("of a newer version", 1), ("1", 2)])
def test_data_of_a_newer_version_are_nothing_to_migrate(house: House, revision: str, event_store: int) -> None:
    house.apply()
    house.ran(revision, event_store)
    house.write("two")
    assert house.apply(backup="never") == "applied"
    record = Releases(house.installation).all()[-1].record()
    assert (record.readable_by_previous, record.backup) == (True, "")
    assert house.check_whole() == "two"


def test_a_migration_stops_the_core_alone_and_keeps_the_spool_meanwhile(house: House) -> None:
    house.apply()
    house.ran()
    house.schemas = TWO
    seen: list[tuple[str, dict[str, str], bool]] = []
    run = house.compose.run

    def look(service, command, **more):
        states = {name: made["state"] for name, made in house.compose.containers().items()}
        seen.append((command[0], states, house.installation.keep_spool.exists()))
        return run(service, command, **more)

    house.compose.run = look  # type: ignore[method-assign]
    house.write("two reads-two")
    house.apply()
    assert seen == [("migrate", {"caddy": "running", "core": "exited", "ingest": "running"}, True)]
    assert house.check_whole() == "two reads-two"


def test_data_that_the_old_version_cannot_read_come_from_the_backup_when_it_fails(house: House) -> None:
    house.apply()
    house.ran()
    (house.installation.data / "spool").mkdir()
    (house.installation.data / "spool" / "accepted-since").write_text("x")
    house.schemas = TWO_ALONE
    house.write("broken")
    with pytest.raises(FailedError, match="runs again"):
        house.apply()
    assert house.check_whole() == "one"
    assert (house.installation.data / "schema").read_text() == "1"
    assert (house.installation.data / "spool" / "accepted-since").exists()


def test_without_a_backup_such_an_upgrade_is_refused_before_anything_changes(house: House) -> None:
    house.apply()
    house.ran()
    house.schemas = TWO_ALONE
    house.write("two reads-two")
    with pytest.raises(FailedError, match=r"(?s)backup has to be made first.*nothing was changed"):
        house.apply(backup="never")
    assert house.check_whole() == "one"


def test_a_rollback_over_such_a_migration_wants_to_be_told_so(house: House) -> None:
    house.apply()
    house.ran()
    house.schemas = TWO_ALONE
    house.write("two reads-two")
    house.apply()
    with pytest.raises(ApplyError, match="--restore"):
        roll_back(house.installation, house.compose, FileImages(), restore=False, say=house.said.append)
    assert house.check_whole() == "two reads-two"
    roll_back(house.installation, house.compose, FileImages(), restore=True, say=house.said.append)
    assert house.check_whole() == "one"


def test_a_rollback_twice_goes_two_releases_back_and_no_further(house: House) -> None:
    for text in ("one", "two", "three"):
        house.write(text)
        house.apply()
    for wanted in ("two", "one"):
        roll_back(house.installation, house.compose, FileImages(), restore=False, say=house.said.append)
        assert house.check_whole() == wanted
    with pytest.raises(ApplyError, match="no release before"):
        roll_back(house.installation, house.compose, FileImages(), restore=False, say=house.said.append)


def test_old_releases_are_pruned_and_the_ones_to_go_back_to_are_kept(house: House) -> None:
    for number in range(9):
        house.write(f"number {number}")
        house.apply(backup="always")
    assert len(Releases(house.installation).all()) == 5
    # Each backup is as large as the data: that of what runs, and of the one before.
    assert {path.name for path in house.installation.backups.iterdir()} == {
        release.record().backup for release in Releases(house.installation).all()[-2:]
    }
    assert house.check_whole() == "number 8"


def test_a_release_of_the_same_second_never_takes_a_name_that_pruning_freed(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.strftime", lambda *_: "20260101T000000Z")
    for number in range(7):
        house.write(f"number {number}")
        house.apply()
    assert [release.name for release in Releases(house.installation).all()] == [
        f"20260101T000000Z-00{number}" for number in range(3, 8)
    ]


def test_the_journal_survives_a_torn_line(house: House) -> None:
    house.apply()
    release = Releases(house.installation).all()[-1]
    with release.journal.open("ab") as file:
        file.write(b'{"at":1,"st')
    release.note(Step.ROLLBACK, "begun", "after it")
    assert release.entries()[-1].note == "after it"
    assert release.has(Step.GOOD, "done")


def test_the_image_of_the_hosts_own_command_follows_the_release(house: House) -> None:
    house.apply()
    assert (house.installation.root / "image").read_text() == "core:1\n"


def test_no_secret_of_the_configuration_is_kept_in_settings(house: House) -> None:
    house.apply()
    release = Releases(house.installation).all()[-1]
    assert json.loads((release.directory / "settings.json").read_text()) == {"text": house.rendered}
