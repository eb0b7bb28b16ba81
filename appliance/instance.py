"""Proves that whoever answers at an address is this appliance: an HMAC with a key that only its data directory holds.

Asked by `condev doctor` at `/healthz?nonce=…`. The key is used for nothing else, so that an answer gives nothing away.
"""

from __future__ import annotations

import hmac
import os
import re
import secrets
from pathlib import Path
from typing import Final

KEY_FILE: Final = "instance.key"
NONCE: Final = re.compile(r"[0-9a-f]{32}")  # 128 bits, in the one spelling that doctor uses


def make_key(data_dir: Path) -> None:
    """Write the key when there is none. Several processes may do so at once: the first one's stays.

    Args:
        data_dir: exists.

    Raises:
        OSError: it cannot be written.
    """
    path = data_dir / KEY_FILE
    if path.exists():
        return
    own = data_dir / f"{KEY_FILE}.{os.getpid()}.{secrets.token_hex(4)}"
    descriptor = os.open(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(32))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(own, path)  # never replaces
        except FileExistsError:
            return
        except OSError:  # a file system without links: whoever comes last has it
            os.replace(own, path)
    finally:
        own.unlink(missing_ok=True)


def prove(data_dir: Path, nonce: str) -> str:
    """What the appliance of this data directory answers to a nonce.

    Args:
        data_dir: where the key lies.
        nonce: 32 hexadecimal digits.

    Raises:
        OSError: there is no key, or it may not be read.
    """
    key = (data_dir / KEY_FILE).read_text("ascii")
    return hmac.new(key.encode(), f"condev-doctor:{nonce}".encode(), "sha256").hexdigest()


def asked_proof(data_dir: Path, path: str, query: bytes) -> str:
    """The proof that a request asks for; "" when it asks for none, or there is no key.

    Args:
        data_dir: where the key lies.
        path: of the request; only `/healthz` asks.
        query: its query string, `nonce=` and 32 hexadecimal digits.
    """
    nonce = query.removeprefix(b"nonce=").decode("latin-1")
    if path != "/healthz" or len(nonce) == len(query) or not NONCE.fullmatch(nonce):
        return ""
    try:
        return prove(data_dir, nonce)
    except OSError:
        return ""
