"""Killed at every step: the next run ends in one of the two releases, never between.

A child process really ends, without a word, at its n-th change of the file system or of the engine; for every n until
there is no more to end at. The points are Python's own audit events, so that the code under test knows nothing of it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.deploy.apply.layout import ApplyError
from appliance.deploy.apply.schemas import Schemas
from appliance.deploy.apply.switch import NothingBeforeError, roll_back

from .conftest import FileImages, House

pytestmark = pytest.mark.faults
KILLED = 99
CHANGES = frozenset({"os.rename", "os.link", "os.mkdir", "os.remove", "os.rmdir", "os.chmod", "shutil.copytree"})
TWO_ALONE = Schemas(
    revision="2", known_revisions=("1", "2"), revision_readable_by=("2",), event_store=1, event_store_readable_from=1
)
MAX_POINTS = 600  # far more than an apply has; a test that never ends is no test


def killed_at(point: int, root: Path, work: Callable[[], object]) -> bool:
    """Do the work in a child that ends at its n-th change; False when it came through."""
    child = os.fork()
    if child == 0:
        count = 0

        def hook(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal count
            writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
            if not (event in CHANGES or event == "condev.engine" or writes) or not arguments:
                return
            if str(root) not in str(arguments[0]):
                return
            count += 1
            if count == point:
                os._exit(KILLED)

        code = 0
        try:
            sys.addaudithook(hook)
            work()
        except ApplyError:
            code = 1
        except Exception:  # noqa: BLE001 - what the child met is shown, whatever it was
            traceback.print_exc()
            code = 2
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, 1, KILLED), code
    return code == KILLED


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill is no power cut: what was written is there without being synced."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


def every_kill(house: House, before: Callable[[], None], work: Callable[[], object], after: Callable[[], None]) -> int:
    """For each point: a fresh start, the kill, and what must hold when it is run again. How many points there were."""
    root, engine = house.installation.root, house.compose.engine
    before()
    start = root.with_name("start")
    shutil.copytree(root, start)
    state = engine.read_text() if engine.exists() else None
    for point in range(1, MAX_POINTS):
        shutil.rmtree(root)
        shutil.copytree(start, root)
        if state is None:
            engine.unlink(missing_ok=True)
        else:
            engine.write_text(state)
        if not killed_at(point, root, work):
            return point - 1
        after()
    raise AssertionError("it never came through")


def again(house: House) -> None:
    """`condev apply` once more, which may fail and then has gone back."""
    try:
        house.apply()
    except ApplyError:
        return


def test_a_first_install_killed_anywhere_is_finished_by_the_next_run(house: House) -> None:
    def after() -> None:
        house.apply()
        assert house.check_whole() == "one"

    assert every_kill(house, lambda: None, house.apply, after) > 30


def test_an_apply_killed_anywhere_is_finished_by_the_next_run(house: House) -> None:
    def before() -> None:
        house.apply()
        house.ran()
        house.write("two", {"clickhouse/users.d/caps.xml": "<x/>"})

    def after() -> None:
        house.apply()
        assert house.check_whole() == "two"

    assert every_kill(house, before, house.apply, after) > 40


def test_one_that_does_not_start_and_is_killed_anywhere_ends_in_the_old_release(house: House) -> None:
    def before() -> None:
        house.apply()
        house.ran()
        house.write("broken")

    def after() -> None:
        again(house)
        assert house.check_whole() == "one"

    assert every_kill(house, before, house.apply, after) > 40


def test_who_changes_their_mind_after_a_kill_has_the_old_release_whole(house: House) -> None:
    def before() -> None:
        house.write("one")
        house.apply()
        house.ran()

    def work() -> None:
        house.write("two")
        house.apply()

    def after() -> None:
        house.write("one")
        house.apply()
        assert house.check_whole() == "one"

    assert every_kill(house, before, work, after) > 40


def run_with_data(house: House) -> None:
    """The release that is there runs, has accepted a record, and holds a plugin of the operator's."""
    house.apply()
    house.ran()
    for folder, name in (("spool", "accepted"), ("plugins.d", "mine.py")):
        (house.installation.root / "data" / folder).mkdir()
        (house.installation.root / "data" / folder / name).write_text("x")


def test_an_upgrade_that_migrates_for_good_killed_anywhere_ends_in_either_with_data_it_can_read(house: House) -> None:
    root = house.installation.root

    def before() -> None:
        run_with_data(house)
        house.schemas = TWO_ALONE
        house.write("two reads-two")

    def after() -> None:
        house.apply()
        assert house.check_whole() == "two reads-two"
        assert (root / "data" / "schema").read_text() == "2"
        assert (root / "data" / "spool" / "accepted").exists()
        assert (root / "data" / "plugins.d" / "mine.py").exists()

    assert every_kill(house, before, house.apply, after) > 40


def test_one_that_fails_after_such_a_migration_killed_anywhere_has_its_old_data_back(house: House) -> None:
    root = house.installation.root

    def before() -> None:
        run_with_data(house)
        house.schemas = TWO_ALONE
        house.write("broken reads-two")

    def after() -> None:
        again(house)
        assert house.check_whole() == "one"
        schema = root / "data" / "schema"
        assert not schema.exists() or schema.read_text() == "1"
        assert (root / "data" / "spool" / "accepted").exists()
        assert (root / "data" / "plugins.d" / "mine.py").exists()
        assert not (root / ".before-restore").exists()
        assert not (root / ".before-restore.done").exists()

    assert every_kill(house, before, house.apply, after) > 60


@pytest.mark.parametrize("again_by", ["rollback", "apply"])
def test_a_rollback_killed_anywhere_ends_in_the_old_release_or_the_new(house: House, again_by: str) -> None:
    def before() -> None:
        house.apply()
        house.ran()
        house.write("two")
        house.apply()

    def work() -> None:
        roll_back(house.installation, house.compose, FileImages(), restore=False, say=house.said.append)

    def after() -> None:
        if again_by == "apply":  # config.toml still says two
            house.apply()
            assert house.check_whole() == "two"
            return
        with contextlib.suppress(NothingBeforeError):
            work()
        assert house.check_whole() == "one"

    assert every_kill(house, before, work, after) > 15
