"""`condev restore` for a stack: in the core's image, with its secrets, on its network, while core and ingest stand."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from appliance.data_dir import RESTORE_MARKER
from appliance.deploy.apply.engine import Compose
from appliance.deploy.apply.layout import Installation
from appliance.deploy.apply.prepare import APPLIANCE_GROUP
from appliance.secret import Secret

WRITERS: Final = ("ingest", "core")
_FILE: Final = "/restore.backup"  # where the container finds them
_PASSPHRASE: Final = "/restore.passphrase"  # noqa: S105 - the name of a file


def stack_of(data_dir: Path) -> Path | None:
    """The directory of the stack whose data these are, when this process looks after it; `condev` on the host says."""
    root = os.environ.get("CONDEV_DIR", "")
    if not root or not Installation(Path(root)).compose.is_file():
        return None
    return Path(root) if Installation(Path(root)).data == data_dir else None


def restore_stack(root: Path, file: Path, passphrase: Secret | None, *, replace: bool) -> str:
    """Stop what writes, restore, start it again; what the restore printed.

    Raises:
        ApplyError: it could not be done. Where nothing was changed yet, what was stopped runs again.
    """
    installation, compose = Installation(root), Compose(root)
    with installation.locked(), ExitStack() as stack:
        words = ["restore", _FILE, *(["--replace"] if replace else [])]
        volumes = [f"{stack.enter_context(_readable(file))}:{_FILE}:ro,z"]
        if passphrase is not None:
            path = stack.enter_context(_written(installation.data / "tmp" / "restore.passphrase", passphrase))
            words += ["--passphrase-file", _PASSPHRASE]
            volumes.append(f"{path}:{_PASSPHRASE}:ro,z")
        compose.stop(WRITERS)
        try:
            return compose.run("core", words, volumes=volumes)
        finally:
            if not (installation.data / RESTORE_MARKER).exists():  # else the core would refuse, and say the same again
                compose.up(reversed(WRITERS))


@contextmanager
def _readable(file: Path) -> Generator[Path]:
    """The backup, for a moment the appliance's: its user in the container reads what root alone may read here."""
    before = file.stat()
    if os.geteuid() == 0:
        os.chown(file, APPLIANCE_GROUP, APPLIANCE_GROUP)
    try:
        yield file.resolve()
    finally:
        if os.geteuid() == 0:
            os.chown(file, before.st_uid, before.st_gid)


@contextmanager
def _written(path: Path, passphrase: Secret) -> Generator[Path]:
    """The passphrase in a file of the appliance's: on a command line or in the environment others could see it."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(passphrase.reveal())
            if os.geteuid() == 0:
                os.fchown(descriptor, APPLIANCE_GROUP, APPLIANCE_GROUP)
        yield path
    finally:
        path.unlink(missing_ok=True)
