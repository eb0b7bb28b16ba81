"""Files that a verb writes for a person, when it runs in the container that `condev` on the host starts for it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from appliance.cli.context import fail

MOUNTS: Final = Path("/proc/self/mountinfo")
_OCTAL: Final = re.compile(r"\\([0-7]{3})")  # spaces and the like in a mount's name


def refuse_lost(target: Path) -> None:
    """End the process with one clear line when the file would lie in the container, and go when the container does.

    Args:
        target: a file or a directory to write; need not exist.
    """
    if not os.environ.get("CONDEV_DIR") or not os.environ.get("CONDEV_HOST_ROOT"):
        return  # not started by the host's `condev`: the file system is the person's own
    if mount_of(target.resolve(), MOUNTS.read_text("utf-8")) == Path("/"):
        fail(
            f"{target} would be lost with the container that this runs in: name a file in a directory of the host that "
            "exists, by its path from / and without links, for example /root/NAME"
        )


def mount_of(path: Path, mounts: str) -> Path:
    """Where the file system of a path is mounted. Device numbers do not say: a container may share the host's.

    Args:
        path: absolute, without links; need not exist.
        mounts: in the format of /proc/self/mountinfo.
    """
    points = {Path(_OCTAL.sub(lambda found: chr(int(found[1], 8)), line.split()[4])) for line in mounts.splitlines()}
    return next((place for place in (path, *path.parents) if place in points), Path("/"))
