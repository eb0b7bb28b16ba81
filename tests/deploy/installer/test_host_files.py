"""A verb in the helper container refuses to write where the file would go when the container does."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from appliance.cli import condev, host_files
from appliance.cli.host_files import mount_of
from appliance.config_file import read_secret

# Of a container on the host's own file system (storage driver vfs): all three have one device number.
MOUNTS = """\
501 400 8:1 /var/lib/docker/vfs/dir/x / rw,relatime - ext4 /dev/sda1 rw
502 501 8:1 /opt/condev /opt/condev rw,relatime - ext4 /dev/sda1 rw
503 501 8:1 /home/my\\040files /home/my\\040files rw,relatime - ext4 /dev/sda1 rw
"""


@pytest.mark.parametrize(
    ("path", "mount"),
    [
        ("/opt/condev/backups/x", "/opt/condev"),
        ("/opt/condev-2/x", "/"),
        ("/home/my files/x", "/home/my files"),
        ("/x", "/"),
    ],
)
def test_what_is_mounted_where(path: str, mount: str) -> None:
    assert mount_of(Path(path), MOUNTS) == Path(mount)


@pytest.mark.parametrize(
    "words", [("backup", "x"), ("support-bundle", "x"), ("render", "--out", "x"), ("plugins", "new", "notifier", "x")]
)
def test_a_file_that_would_be_lost_is_refused_by_the_hosts_command_alone(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    there = tmp_path / "there"
    there.mkdir()
    monkeypatch.chdir(there)
    monkeypatch.setattr(host_files, "MOUNTS", mounts)
    monkeypatch.setenv("CONDEV_DIR", str(tmp_path / "none"))
    monkeypatch.setenv("CONDEV_HOST_ROOT", "/host")
    monkeypatch.setenv("CONDEV_DATA_DIR", str(tmp_path / "data"))
    done = CliRunner().invoke(condev, words)
    assert done.exit_code == 1
    assert "would be lost with the container" in done.stderr
    assert list(there.iterdir()) == []


def test_a_secret_outside_of_the_directory_is_said_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONDEV_DIR", "/opt/condev")
    monkeypatch.setenv("CONDEV_HOST_ROOT", "/host")
    with pytest.raises(ValueError, match="outside of /opt/condev: put the file there, readable for user 10001"):
        read_secret({"file": str(tmp_path / "none")}, {})
    with pytest.raises(ValueError, match=r"No such file or directory$"):
        read_secret({"file": "/opt/condev/none"}, {})
    monkeypatch.delenv("CONDEV_HOST_ROOT")
    with pytest.raises(ValueError, match=r"No such file or directory$"):
        read_secret({"file": str(tmp_path / "none")}, {})


def test_otherwise_any_place_is_the_persons_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_files, "MOUNTS", tmp_path / "never read")
    monkeypatch.setenv("CONDEV_DIR", "/opt/condev")
    monkeypatch.delenv("CONDEV_HOST_ROOT", raising=False)
    host_files.refuse_lost(Path("/x"))
