"""Backups before what cannot be undone, migrations, and the way back over one, on an engine that is a file."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from appliance.config import MIB
from appliance.deploy.apply.journal import Releases
from appliance.deploy.apply.layout import ApplyError, Installation
from appliance.deploy.apply.run import FailedError
from appliance.deploy.apply.schemas import Schemas
from appliance.deploy.apply.switch import roll_back

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
