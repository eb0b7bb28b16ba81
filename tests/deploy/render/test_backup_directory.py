"""Where scheduled backups go, when it is not the data directory, is there in core."""

from __future__ import annotations

from pathlib import Path

import pytest

from .tools import configured, read_compose, rendered, write


def test_an_absolute_directory_is_mounted_into_core_alone_and_never_made(tmp_path: Path) -> None:
    _, files, _ = rendered(configured(tmp_path, '[backup]\ndirectory = "/mnt/backups"\n'))
    services = read_compose(write(tmp_path, files))["services"]
    mounts = {mount["target"]: mount for mount in services["core"]["volumes"]}
    others = {mount["target"] for mount in services["ingest"]["volumes"]}
    assert set(mounts) == others | {"/mnt/backups"}
    assert "/mnt/backups" not in others
    mount = mounts["/mnt/backups"]
    assert (mount["type"], mount["source"], mount.get("read_only", False)) == ("bind", "/mnt/backups", False)
    assert not mount["bind"].get("create_host_path")


@pytest.mark.parametrize("directory", ["", "/data/backups", "relative"])
def test_what_lies_in_the_data_directory_needs_no_mount(tmp_path: Path, directory: str) -> None:
    _, files, _ = rendered(configured(tmp_path, f'[backup]\ndirectory = "{directory}"\n'))
    services = read_compose(write(tmp_path, files))["services"]
    assert services["core"]["volumes"] == services["ingest"]["volumes"]
