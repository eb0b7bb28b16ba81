"""What apply does and leaves, step by step, on an engine that is a file."""

from __future__ import annotations

import json
import os
import stat

import pytest
from msgspec import structs

from appliance.deploy.apply.engine import EngineError
from appliance.deploy.apply.journal import Fate, Releases, Step
from appliance.deploy.apply.layout import ApplyError, BusyError
from appliance.deploy.apply.run import FailedError
from appliance.deploy.apply.switch import roll_back
from appliance.deploy.plugin_install import LOCK_FILE
from appliance.deploy.render.secrets import StackSecret

from .conftest import FileImages, House


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


def test_a_service_that_dies_of_the_self_tests_event_goes_back(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.apply()
    house.write("two")

    async def deadly(*_: object) -> str:
        house.compose.stop(["ingest"])
        return "there and back"

    monkeypatch.setattr("appliance.deploy.apply.run.run_self_test", deadly)
    with pytest.raises(FailedError, match=r"^self_test: not well: ingest \(exited\)"):
        house.apply()
    assert house.check_whole() == "one"


def test_only_a_service_without_a_health_check_is_given_time_to_die(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr("appliance.deploy.apply.run.SETTLE_SECONDS", 5.0)
    monkeypatch.setattr("appliance.deploy.apply.run.time.sleep", waited.append)
    house.apply()
    assert waited == [5.0]
    as_they_are = house.compose.states
    monkeypatch.setattr(
        house.compose, "states", lambda: [structs.replace(state, health="healthy") for state in as_they_are()]
    )
    house.write("two")
    house.apply()
    assert waited == [5.0]


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
