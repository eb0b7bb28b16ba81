"""Releases and offline bundles: nothing of them is loaded before its signature held."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from appliance import __version__
from tests.deploy.installer.machine import ANSWERS, Machine


class Bundle:
    """A release with a key of its own, signed as `minisign -S -l` does."""

    def __init__(self, place: Path) -> None:
        place.mkdir()
        self.file = place / f"condev-monitor-{__version__}-{os.uname().machine.replace('x86_64', 'amd64')}.tar.gz"
        self.file.write_bytes(b"an image")
        private = Ed25519PrivateKey.generate()
        raw = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.key = base64.b64encode(b"Ed" + b"12345678" + raw).decode()
        sums = place / "SHA256SUMS"
        sums.write_text(f"{hashlib.sha256(b'an image').hexdigest()}  {self.file.name}\n")
        signature = private.sign(sums.read_bytes())
        comment = "a test"
        globally = private.sign(signature + comment.encode())
        lines = (
            "untrusted comment: a test", base64.b64encode(b"Ed12345678" + signature).decode(),
            f"trusted comment: {comment}", base64.b64encode(globally).decode(),
        )  # fmt: skip
        (place / "SHA256SUMS.minisig").write_text("\n".join(lines) + "\n")


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return Bundle(tmp_path / "release")


def without(machine: Machine, hidden: str) -> str:
    """A path on which one program cannot be found."""
    place = machine.place / f"without-{hidden}"
    place.mkdir()
    for folder in os.environ["PATH"].split(":"):
        for program in Path(folder).iterdir() if Path(folder).is_dir() else ():
            if program.name != hidden and not (place / program.name).is_symlink():
                (place / program.name).symlink_to(program)
    return str(place)


@pytest.mark.parametrize("hidden", ["minisign", "openssl"])
def test_an_offline_bundle_is_loaded_when_its_signature_holds(machine: Machine, bundle: Bundle, hidden: str) -> None:
    if hidden == "openssl" and shutil.which("minisign") is None:
        pytest.skip("minisign is missing (Debian: minisign)")
    path = without(machine, hidden)
    machine.install(*ANSWERS, "--offline", str(bundle.file), "--key", bundle.key, path=path)
    assert f"load --quiet --input {bundle.file}" in machine.commands


@pytest.mark.parametrize("hidden", ["minisign", "openssl"])
@pytest.mark.parametrize("harm", ["bundle", "sums", "signature", "key", "none of them signed"])
def test_a_bundle_that_was_tampered_with_is_refused(dash: Machine, bundle: Bundle, hidden: str, harm: str) -> None:
    if hidden == "openssl" and shutil.which("minisign") is None:
        pytest.skip("minisign is missing (Debian: minisign)")
    key, sums, signature = bundle.key, bundle.file.parent / "SHA256SUMS", bundle.file.parent / "SHA256SUMS.minisig"
    if harm == "bundle":
        bundle.file.write_bytes(b"another image")
    elif harm == "sums":
        sums.write_text(sums.read_text() + f"{'0' * 64}  other\n")
    elif harm == "signature":
        signature.write_text(Bundle(dash.place / "other").file.parent.joinpath(signature.name).read_text())
    elif harm == "key":
        key = Bundle(dash.place / "other").key
    else:
        signature.unlink()
    done = dash.install(*ANSWERS, "--offline", str(bundle.file), "--key", key, path=without(dash, hidden))
    assert done.returncode == 1
    assert [command for command in dash.commands if command.startswith("load")] == []


def test_nothing_is_taken_without_a_key_to_verify_it_with(dash: Machine, bundle: Bundle) -> None:
    assert dash.install(*ANSWERS, "--offline", str(bundle.file)).returncode == 2
    dash.install(*ANSWERS, "--offline", str(bundle.file), "--no-verify")
    assert f"load --quiet --input {bundle.file}" in dash.commands


def test_a_release_is_downloaded_verified_and_loaded(dash: Machine, bundle: Bundle) -> None:
    place = dash.place / "served" / f"v{__version__}"
    shutil.copytree(bundle.file.parent, place)
    if shutil.which("curl") is None:
        pytest.skip("curl is missing")
    done = dash.install(
        *ANSWERS, from_stdin=True, CONDEV_RELEASES=f"file://{dash.place}/served", CONDEV_KEY=bundle.key,
    )  # fmt: skip
    assert [command for command in dash.commands if command.startswith("load")], done.stderr
    missing = dash.install(
        *ANSWERS, from_stdin=True, CONDEV_RELEASES=f"file://{dash.place}/nowhere", CONDEV_KEY=bundle.key
    )
    assert (missing.returncode, "could not be downloaded" in missing.stderr) == (1, True)
