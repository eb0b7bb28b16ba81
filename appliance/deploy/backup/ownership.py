"""On a host, `condev` runs as root, and the appliance as somebody else, whose the data directory is."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def give_to_owner(data_dir: Path) -> None:
    """As root, give what root made in the data directory to the directory's owner; as anybody else, nothing."""
    if os.geteuid() != 0:
        return
    owner = data_dir.stat()
    if owner.st_uid == 0:
        return
    for folder, folders, files in os.walk(data_dir):
        for name in (*folders, *files):
            path = Path(folder, name)
            with contextlib.suppress(FileNotFoundError):
                if path.lstat().st_uid == 0:
                    os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
