"""`.env` beside compose.yaml: the secrets the services need, made once and kept, and the person's own lines."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from appliance.deploy.apply.layout import ApplyError, write_file

# `${NAME:?…}` and `${NAME?…}`: what Compose refuses to start without.
_REQUIRED: Final = re.compile(r"\$\{([A-Z][A-Z0-9_]*):?\?")
_LINE: Final = re.compile(r"^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*?)\s*$")
SECRET_BYTES: Final = 24  # 192 bits; in hexadecimal it needs no quoting in a URL, in .env or in XML
MAX_BYTES: Final = 256 * 1024
_HEADER: Final = (
    "# Secrets of this installation, written once by `condev apply`. Keep a copy: without them a backup of the\n"
    "# databases' own files cannot be opened. Lines of your own may be added (RESEND_API_KEY=…); then `condev apply`.\n"
)


def read(path: Path) -> dict[str, str]:
    """The variables of the file; none when there is no file.

    Raises:
        ApplyError: it cannot be read.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ApplyError(f"{path} is larger than 256 KiB: is it the right file?")
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ApplyError(f"{path} cannot be read: {error}") from error
    found: dict[str, str] = {}
    for line in text.splitlines():
        match = _LINE.match(line)
        if match and not line.lstrip().startswith("#"):
            found[match[1]] = _unquoted(match[2])
    return found


def required(rendered: Iterable[str]) -> list[str]:
    """The names that the rendered files cannot do without."""
    return sorted({name for text in rendered for name in _REQUIRED.findall(text)})


def add(path: Path, names: Iterable[str]) -> None:
    """Make a secret for each name and append it; what stands there already stays as it is, byte for byte.

    Args:
        path: made with mode 0600 when it is not there.
        names: none of which the file has.
    """
    lines = "".join(f"{name}={secrets.token_hex(SECRET_BYTES)}\n" for name in names)
    if not lines:
        return
    before = path.read_bytes() if path.exists() else _HEADER.encode()
    gap = b"" if before.endswith(b"\n") or not before else b"\n"
    write_file(path, before + gap + lines.encode(), 0o600)


def exposed(path: Path) -> bool:
    """Whether others may read it."""
    return path.exists() and bool(path.stat().st_mode & 0o077)


def _unquoted(value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
        return value[1:-1]
    return value.partition(" #")[0].rstrip()
