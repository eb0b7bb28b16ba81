"""Puts a release's files in place, and goes back to the last good one. Each may be done again after a kill."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from appliance.deploy.apply.engine import Compose, EngineError
from appliance.deploy.apply.images import Images
from appliance.deploy.apply.journal import Fate, Release, Releases, Step
from appliance.deploy.apply.layout import ApplyError, Installation, replace_tree, size_of, tidy_tree, write_file
from appliance.deploy.apply.prepare import APPLIANCE_GROUP, APPLIED_CONFIG, give
from appliance.deploy.extensions import load_without_secrets
from appliance.deploy.plan import size_text
from appliance.deploy.plugin_install import LOCK_FILE

BACKUP_SECONDS: Final = 6 * 3600.0  # 100 GB at 5 MB/s; a person watches, and may end it
CORE: Final = "core"
RESTORED: Final = "restore.backup"  # the backup's name in the container that restores it
STATELESS: Final = ("caddy", "cloudflared")  # they say "back in a moment" while the rest is restored
ASIDE: Final = ".before-restore"  # where the data lie meanwhile that the version before cannot read
SPOOL: Final = "spool"  # goes on behind the backup: its finished segments were kept
KEPT_AS_THEY_ARE: Final = (
    SPOOL,
    "plugins.d",
    "instance.key",
)  # of the data directory, beside what the stores do not know
STORE_FILES: Final = ("metadata", "clickhouse", "control.sock", "running.json")  # never beside others' data
_CONDEV: Final = "from appliance.cli import main; main()"


class NothingBeforeError(ApplyError):
    """The release that runs is the first good one."""


def put(installation: Installation, release: Release) -> None:
    """Make the directory's files those of the release. Files of another release that it lacks are removed.

    Args:
        installation: where to; `.env`, config.toml and data are never touched.
        release: complete.
    """
    wanted = {path.relative_to(release.files) for path in release.files.rglob("*") if path.is_file()}
    for name in sorted(wanted):
        target = installation.root / name
        target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        private = str(name) == APPLIED_CONFIG
        write_file(target, (release.files / name).read_bytes(), 0o640 if private else 0o644)
        if private:
            give(target, APPLIANCE_GROUP)
    for other in Releases(installation).all():
        for path in other.files.rglob("*"):
            name = path.relative_to(other.files)
            if path.is_file() and name not in wanted:
                (installation.root / name).unlink(missing_ok=True)
    if release.plugins.is_dir():
        # The lock file is what a container is started anew for: under one that stays, the tree has to stay too, since
        # its mount is of this very directory, and the plugins would be gone when it next starts a process.
        if _lock_of(release.plugins) != _lock_of(installation.plugins):
            replace_tree(release.plugins, installation.plugins)
        else:
            tidy_tree(installation.plugins)


def lies_in_place(installation: Installation, release: Release) -> bool:
    """Whether the directory's files are those of the release, byte for byte."""
    for path in release.files.rglob("*"):
        if path.is_file():
            try:
                if (installation.root / path.relative_to(release.files)).read_bytes() != path.read_bytes():
                    return False
            except OSError:
                return False
    return installation.plugins.is_dir()


def roll_back(
    installation: Installation, compose: Compose, images: Images, *, restore: bool, say: Callable[[str], None]
) -> Release:
    """Go from the release that runs to the good one before it, under the installation's lock.

    Args:
        installation: the directory.
        compose: runs the stack.
        images: of the engine.
        restore: the data may be put back to the backup that was made before the upgrade.
        say: progress.

    Raises:
        ApplyError: there is none, its data cannot be read, or it does not start.
    """
    with installation.locked():
        recover(installation, compose, images, say)
        releases = Releases(installation)
        current = releases.current
        good = _before(releases, current) if current is not None else None
        if current is None or good is None:
            raise NothingBeforeError("there is no release before the one that runs")
        record = current.record()
        if not record.readable_by_previous and not restore:
            raise ApplyError(
                f"{good.name} cannot read the data that {current.name} migrated. With --restore the backup from before "
                f"the upgrade is put back ({record.backup or 'there is none'}), and what was stored since then is lost"
            )
        go_back(installation, compose, images, current, good, say)
        return good


def wrapper_image(installation: Installation, images: Images, release: Release) -> None:
    """Have the host's `condev` run this release's image, by the name it was installed as while that is the same one."""
    record = release.record()
    image_id = record.image_ids.get(CORE, "")
    if not image_id:
        return
    place = installation.root / "image"
    for name in (_first_line(place), record.image_names.get(CORE, ""), record.images.get(CORE, "")):
        if name and images.id_of(name) == image_id:
            if _first_line(place) != name:
                write_file(place, f"{name}\n".encode())
            return


def go_back(
    installation: Installation,
    compose: Compose,
    images: Images,
    failed: Release,
    good: Release,
    say: Callable[[str], None],
) -> None:
    """Put the last good release back and start it. `.env` and the data stay, unless the data cannot be read by it.

    Args:
        installation: of both.
        compose: runs the stack.
        images: for the host's own command.
        failed: whose journal gets the lines.
        good: to go back to.
        say: progress.

    Raises:
        ApplyError: even that did not work; it is tried again the next time anything is done here.
    """
    record = failed.record()
    restore = failed.has(Step.MIGRATE, "begun") and not record.readable_by_previous
    with failed.step(Step.ROLLBACK, say) as said:
        put(installation, good)
        if restore:
            _restore(installation, compose, record.backup, say)
        compose.up()
        unwell = [state for state in compose.states() if not state.well]
        if unwell:
            raise EngineError("after going back, not well: " + ", ".join(f"{s.service} ({s.status})" for s in unwell))
        wrapper_image(installation, images, good)
        Releases(installation).set_current(good)
        installation.keep_spool.unlink(missing_ok=True)
        said["note"] = f"{good.name} runs again" + (f", with the data of {record.backup}" if restore else "")


def recover(installation: Installation, compose: Compose, images: Images, say: Callable[[str], None]) -> None:
    """Finish or undo what a kill left half done; the next apply then starts from a release that is whole.

    Raises:
        ApplyError: going back did not work.
    """
    releases = Releases(installation)
    for release in releases.unfinished():
        good = releases.current
        if good is not None and good.name == release.name and not release.has(Step.ROLLBACK, "begun"):
            say(f"{release.name} was good when it was interrupted: finishing it")
            finish(installation, images, release, say)
        elif releases.fate(release) is Fate.UNTOUCHED or good is None:
            why = "before it changed anything" if good is not None else "and there is no release to go back to"
            release.note(Step.ABANDON, "done", f"it was interrupted {why}")
            say(f"{release.name} was interrupted {why}: starting anew")
            if good is not None:
                installation.keep_spool.unlink(missing_ok=True)
        else:
            back_to = _before(releases, release) if good.name == release.name else good
            if back_to is None:
                raise ApplyError(f"{release.name} was interrupted on the way back, and there is no release before it")
            say(f"{release.name} was interrupted: going back to {back_to.name} first")
            go_back(installation, compose, images, release, back_to, say)


def finish(installation: Installation, images: Images, release: Release, say: Callable[[str], None]) -> None:
    """From here on this release is the one to go back to; what belongs to it alone is tidied."""
    releases = Releases(installation)
    releases.set_current(release)
    wrapper_image(installation, images, release)
    installation.keep_spool.unlink(missing_ok=True)
    release.note(Step.GOOD, "done")
    gone = releases.prune()
    kept = {reference for one in releases.all() for reference in _pinned(one)}
    try:
        images.drop(sorted(images.kept() - kept))
    except EngineError as error:  # old tags cost disk, not correctness
        say(f"old images stay: {error}")
    if gone:
        say(f"removed {len(gone)} old releases")


def room_for_backup(installation: Installation, *, required: bool) -> None:
    """See that a backup leaves ingest its room: a full disk costs events, a missing backup only a way back.

    Args:
        installation: whose data.
        required: whether it may not be gone without.

    Raises:
        ApplyError: there is not enough.
    """
    installation.backups.mkdir(mode=0o700, exist_ok=True)
    # At most as large as the data. Other backups and the spool are not in it.
    data = sum(size_of(path) for path in installation.data.iterdir() if path.name not in (SPOOL, "backups"))
    data += size_of(installation.root / "clickhouse-data") + size_of(installation.root / "postgres")
    spare = load_without_secrets(installation.config).ingest.spool_min_free_bytes
    free = shutil.disk_usage(installation.backups).free
    if free < data + spare:
        raise ApplyError(
            f"a backup may take {size_text(data)} and ingest needs {size_text(spare)} beside it, and {size_text(free)} "
            f"are free in {installation.backups}: free some"
            + (" (there is no way back to this version without it)" if required else ", or go without: --no-backup")
        )


def take_backup(installation: Installation, target: Path) -> None:
    """Have the running core write a backup; `condev backup` in a process of its own, with this one's environment.

    Raises:
        ApplyError: it could not; the text says why.
    """
    installation.backups.mkdir(mode=0o700, exist_ok=True)
    _condev(installation, "backup", str(target), "--before-upgrade")


def _restore(installation: Installation, compose: Compose, backup: str, say: Callable[[str], None]) -> None:
    """The data as the backup has them, and behind them what the spool has since."""
    file, aside = installation.backups / backup, installation.root / ASIDE
    done = aside / "restored"  # from here on only what was set aside is sorted
    if not backup or not (file.is_file() or done.is_file()):
        raise ApplyError(
            "the data were migrated in a way that the version before cannot read, and there is no backup to restore: "
            "start the newer version again with `condev apply`"
        )
    compose.stop([state.service for state in compose.states() if state.service not in STATELESS])
    if not done.is_file():
        say(f"restoring {backup}")
        _set_aside(installation, aside)
        if os.geteuid() == 0:
            os.chown(file, APPLIANCE_GROUP, APPLIANCE_GROUP)  # the container's user reads it
        # In the version that wrote those data, and on the stack's network, where a database may be.
        compose.run(CORE, ["restore", f"/{RESTORED}", "--replace"], volumes=[f"{file}:/{RESTORED}:ro,z"])
        write_file(done, b"", 0o600)
    _remove(installation.data / "restored")  # config.toml and secrets of the backup: this host has its own
    for source in sorted((aside / "data").iterdir()):
        target = installation.data / source.name
        if source.name in KEPT_AS_THEY_ARE or not (target.exists() or source.name.startswith(STORE_FILES)):
            _remove(target)
            source.rename(target)
    gone = aside.with_name(f"{ASIDE}.done")
    _remove(gone)
    aside.rename(gone)
    _remove(gone)


def _set_aside(installation: Installation, aside: Path) -> None:
    """Empty directories for the stores: what a newer version made of them, an older one does not even open."""
    aside.mkdir(mode=0o700, exist_ok=True)
    for name in ("postgres", "clickhouse-data", "data"):  # data last: with it there, all are
        place, old = installation.root / name, aside / name
        if not old.exists() and place.is_dir():
            place.rename(old)
        if old.is_dir():
            _remove(place)
            place.mkdir()
            shutil.copystat(old, place)
            if os.geteuid() == 0:
                os.chown(place, old.stat().st_uid, old.stat().st_gid)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _lock_of(plugins: Path) -> bytes | None:
    """What says which plugins lie there; None when nothing does."""
    try:
        return (plugins / LOCK_FILE).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _condev(installation: Installation, *arguments: str) -> None:
    """A verb on the installation's data."""
    environ = {
        **os.environ,
        "CONDEV_DATA_DIR": str(installation.data),
        "CONDEV_CONFIG": str(installation.root / APPLIED_CONFIG),
        "PYTHONPATH": str(installation.plugins),
    }
    try:
        done = subprocess.run(  # noqa: S603 - our own words
            [sys.executable, "-c", _CONDEV, *arguments],
            capture_output=True, text=True, check=False, env=environ, timeout=BACKUP_SECONDS, cwd=installation.root,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise ApplyError(f"condev {arguments[0]} took longer than {BACKUP_SECONDS / 3600:.0f} hours") from None
    if done.returncode:
        raise ApplyError(f"condev {arguments[0]}: {done.stderr.strip()[-2000:]}")


def _before(releases: Releases, release: Release) -> Release | None:
    """The newest good release older than this one."""
    return next((one for one in releases.good() if one.name < release.name), None)


def _pinned(release: Release) -> list[str]:
    try:
        return list(release.record().images.values())
    except ApplyError:
        return []


def _first_line(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except FileNotFoundError:
        return ""
