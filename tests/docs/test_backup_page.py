"""Each command of docs/backup.md, as it stands there."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from appliance.config_file import load
from appliance.testing.running import CONDEV, Owner, RunningAppliance

PAGE = Path(__file__).parents[2] / "docs" / "backup.md"
COMMANDS = [
    line
    for block in re.findall(r"^```sh\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
]


def test_every_command_of_the_page_works(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "backup-passphrase").write_text("correct horse battery staple\n")
    (tmp_path / "backups").mkdir()
    appliance = RunningAppliance(tmp_path / "data")
    owner = Owner(appliance)
    elsewhere = RunningAppliance(tmp_path / "new-host")
    for command in COMMANDS:
        words = command.replace("/root/", f"{tmp_path}/root/").replace("/backups/", f"{tmp_path}/backups/").split()
        assert words[0] == "condev"
        target = elsewhere if words[1] == "restore" else appliance
        extra = ["--no-doctor"] if words[1] == "support-bundle" else []  # it has tests of its own, and takes 15 s
        places = ["--config", str(target.config_file), "--data-dir", str(target.data_dir)]
        done = subprocess.run(
            [CONDEV, *words[1:], *extra, *places], capture_output=True, text=True, check=False, cwd=tmp_path
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
    assert {word for command in COMMANDS for word in command.split()[1:2]} == {"backup", "restore", "support-bundle"}
    with elsewhere as running:
        assert [p["name"] for p in running.get("/api/v1/projects", owner.token)["items"]] == ["Shop"]
    manifest = (tmp_path / "backups" / "condev.backup").read_bytes()[:4_000]
    assert b'"version"' in manifest


def test_the_schedule_of_the_page_is_what_config_takes(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("CONDEV_BACKUP_PASSPHRASE", "correct horse")
    (toml,) = re.findall(r"^```toml\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    file = tmp_path / "config.toml"
    file.write_text(toml)
    backup = load(file).backup
    assert (backup.schedule, backup.keep, backup.directory) == ("daily", 7, "/mnt/other-disk/condev")
