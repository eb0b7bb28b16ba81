"""A real Chromium that reaches a machine by its public name, over TLS that it trusts for one authority's sake."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.stack.lab.site import AUTHORITY, DOMAIN
from tests.stack.lab.vps import Vps

CHROMIUM: Final = Path("/usr/bin/chromium")


@contextmanager
def browser_at(vps: Vps) -> Generator[Any]:
    """A page of a browser for which the name leads to the machine.

    It takes certificates that this machine's own authority signed, by that authority's key; any other one that it does
    not know it refuses, as it does everywhere.
    """
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not installed")
    from playwright.sync_api import sync_playwright

    trusted = ",".join(_key_hash(vps.path(AUTHORITY).with_name(name)) for name in ("root.crt", "intermediate.crt"))
    flags = [
        "--no-sandbox", f"--host-resolver-rules=MAP {DOMAIN} {vps.address}",
        f"--ignore-certificate-errors-spki-list={trusted}",
    ]  # fmt: skip
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=flags)
        yield browser.new_page()
        browser.close()


def _key_hash(certificate: Path) -> str:
    key = x509.load_pem_x509_certificate(certificate.read_bytes()).public_key()
    encoded = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(encoded).digest()).decode()
