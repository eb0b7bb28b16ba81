"""`condev upgrade`: what it would take, and handing over to another version's image."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, cast

import docker
from docker.errors import DockerException

from appliance import __version__
from appliance.deploy.apply.engine import EngineError
from appliance.deploy.apply.images import KEPT, Images
from appliance.deploy.apply.journal import Release, Releases, Step, durations
from appliance.deploy.apply.layout import ApplyError, Installation, size_of
from appliance.deploy.apply.prepare import plugins_into
from appliance.deploy.apply.rendering import render_apart
from appliance.deploy.apply.schemas import migrations, running_of
from appliance.deploy.extensions import load_without_secrets
from appliance.deploy.plan import size_text

IMAGE: Final = "condev-monitor"
HELPER_LABEL: Final = "condev.helper"
_VERSION: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,63}")
_CONTAINER: Final = re.compile(r"/containers/([0-9a-f]{64})/")
# Where no release was measured here yet: pulling and starting on a small VPS, and a backup at 20 MB/s to a cloud disk.
_GUESS: Final[Mapping[Step, float]] = {Step.IMAGES: 60.0, Step.START: 60.0, Step.HEALTH: 10.0, Step.SELF_TEST: 10.0}
BACKUP_RATE: Final = 20 * 1024 * 1024


def is_this_version(version: str) -> bool:
    """Whether it is the one that asks."""
    return version.removeprefix("v") == __version__


def image_of(installation: Installation, version: str) -> str:
    """The image of a version, from where this installation's images come.

    Raises:
        ApplyError: it is no version.
    """
    version = version.removeprefix("v")
    if not _VERSION.fullmatch(version):
        raise ApplyError(f"{version!r} is no version; expected one such as 1.4.0")
    names = [os.environ.get("CONDEV_IMAGE", "")]
    current = Releases(installation).current
    if current is not None:
        names.append(current.record().image_names.get("core", ""))
    for name in names:
        repository = name.rpartition(":")[0] if ":" in name.rpartition("/")[2] else name
        if repository and not repository.startswith((f"{KEPT}/", "sha256")):
            return f"{repository}:{version}"
    return f"{IMAGE}:{version}"


def forecast(installation: Installation, images: Images, host_root: Path) -> Iterator[str]:
    """From which version to which, what is migrated, how long it takes, and how much disk.

    Args:
        installation: the directory.
        images: the engine's.
        host_root: where the host's /proc and /sys are.

    Raises:
        ApplyError: config.toml or a plugin is wrong.
    """
    releases = Releases(installation)
    current = releases.current
    running = running_of(installation.data)
    yield f"version: {current.record().version if current else 'none'} → {__version__}"
    staged = releases.stage()
    try:
        wanted = load_without_secrets(installation.config).plugins.install
        plugins_into(installation, wanted, current, staged.plugins)
        schemas = render_apart(installation.root, staged.plugins, host_root).schemas
    finally:
        releases.unstage()
    changes = migrations(schemas, running)
    for step in changes.steps or ("nothing to migrate",):
        yield f"migrations: {step}"
    if changes.pending and not changes.readable_by_previous:
        yield "migrations: the version before cannot read the result; going back restores the backup that is made first"
    elif changes.pending:
        yield "migrations: the version before can read the result; going back needs no backup"
    data = (
        size_of(installation.data)
        + size_of(installation.root / "clickhouse-data")
        + size_of(installation.root / "postgres")
    )
    yield _time(releases, data, pending=changes.pending)
    yield _disk(installation, images, current, data)


def _time(releases: Releases, data: int, *, pending: bool) -> str:
    known = durations(releases)
    seconds = sum(known.get(step, guess) for step, guess in _GUESS.items())
    seconds += max(known.get(Step.BACKUP, 0.0), data / BACKUP_RATE)
    if pending:
        seconds += max(known.get(Step.MIGRATE, 0.0), 10.0)
    how = "as measured here before" if known else "a guess: nothing was measured here yet"
    return (
        f"time: about {max(1, round(seconds / 60))} min ({how}); events are accepted meanwhile, but for the seconds in "
        "which ingest itself is replaced"
    )


def _disk(installation: Installation, images: Images, current: Release | None, data: int) -> str:
    app = images.size(current.record().images.get("core", "")) if current else 0
    free = shutil.disk_usage(installation.root).free
    # The new image beside the old one, and a backup that is at most as large as the data.
    needed = (app or 700 * 1024 * 1024) + data
    short = "" if free > needed else ": NOT ENOUGH, free some first or it will stop before anything is changed"
    return f"disk: up to {size_text(needed)} (image and backup), {size_text(free)} are free{short}"


# ── another version's image does it ──


class _Container(Protocol):
    attrs: Mapping[str, Any]

    def start(self) -> None: ...

    def logs(self, *, stream: bool, follow: bool) -> Iterator[bytes]: ...

    def wait(self) -> Mapping[str, Any]: ...

    def remove(self, *, force: bool) -> None: ...


class _Containers(Protocol):
    def get(self, container: str) -> _Container: ...

    def create(self, image: str, command: Sequence[str], **settings: object) -> _Container: ...


class _Client(Protocol):
    containers: _Containers

    def close(self) -> None: ...


def hand_over(image: str, arguments: Sequence[str], *, pull: bool, say: Callable[[str], None]) -> int:
    """Run `condev ARGUMENTS` in another image, with everything that this container was given.

    Args:
        image: pulled unless it is here.
        arguments: for that version's `condev`.
        pull: whether it may be fetched.
        say: what it prints.

    Returns:
        Its exit code.

    Raises:
        ApplyError: this is no container of ours, or the image cannot be had.
    """
    own = own_container(Path("/proc/self/mountinfo"))
    if not own:
        raise ApplyError(
            "`condev upgrade --to` hands over to that version's image, and this does not run in one: check out the "
            "version and run `condev apply` from there"
        )
    images = Images()
    try:
        if not images.id_of(image):
            if not pull:
                raise EngineError(f"{image} is not on this host: load it (docker load --input FILE)")
            say(f"pulling {image}")
            images.pull(image)
    finally:
        images.close()
    try:
        client = cast("_Client", docker.from_env())
        try:
            return _run_like(client, own, image, arguments)
        finally:
            client.close()
    except (DockerException, OSError) as error:
        raise EngineError(f"{image} cannot be run: {error}") from error


def own_container(mountinfo: Path) -> str:
    """The id of the container this runs in, by the files that the engine mounts into each; "" outside of one."""
    try:
        match = _CONTAINER.search(mountinfo.read_text("utf-8"))
    except OSError:
        return ""
    return match[1] if match else ""


def _run_like(client: _Client, own: str, image: str, arguments: Sequence[str]) -> int:
    attrs = client.containers.get(own).attrs
    host, config = cast("dict[str, Any]", attrs["HostConfig"]), cast("dict[str, Any]", attrs["Config"])
    environment = [line for line in cast("list[str]", config["Env"] or []) if _is_given(line)]
    container = client.containers.create(
        image,
        list(arguments),
        environment=[*environment, f"CONDEV_IMAGE={image}"],
        user=config.get("User") or "0:0",
        working_dir=config.get("WorkingDir") or "/",
        volumes=cast("list[str]", host.get("Binds") or []),
        network_mode=host.get("NetworkMode") or "host",
        userns_mode=host.get("UsernsMode") or "host",  # as the host's `condev` says, since which it may be older
        security_opt=cast("list[str]", host.get("SecurityOpt") or []),
        labels={HELPER_LABEL: "1"},
    )
    try:
        container.start()
        for piece in container.logs(stream=True, follow=True):
            sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
        return int(container.wait()["StatusCode"])
    finally:
        container.remove(force=True)


def _is_given(line: str) -> bool:
    """Not what the old image itself set: the new one sets its own."""
    return not line.startswith(("PATH=", "PYTHON", "MALLOC_", "LANG=", "HOME=", "TZ=", "CONDEV_IMAGE="))
