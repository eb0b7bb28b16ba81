"""The proof that an appliance gives of itself."""

from __future__ import annotations

import stat
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from appliance.instance import KEY_FILE, asked_proof, make_key, prove
from appliance.testing.running import RunningAppliance

NONCE = "0123456789abcdef" * 2


def test_processes_that_start_at_once_agree_on_one_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: make_key(tmp_path), range(16)))
    assert [path.name for path in tmp_path.iterdir()] == [KEY_FILE]
    assert stat.S_IMODE((tmp_path / KEY_FILE).stat().st_mode) == 0o600
    key = (tmp_path / KEY_FILE).read_text()
    make_key(tmp_path)
    assert (tmp_path / KEY_FILE).read_text() == key
    assert len(key) == 64


def test_another_data_directory_gives_another_proof(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        make_key(tmp_path / name)
    assert prove(tmp_path / "a", NONCE) == prove(tmp_path / "a", NONCE)
    assert prove(tmp_path / "a", NONCE) != prove(tmp_path / "b", NONCE)
    assert (tmp_path / "a" / KEY_FILE).read_text() not in prove(tmp_path / "a", NONCE)


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/healthz", b""),
        ("/healthz", NONCE.encode()),
        ("/healthz", b"nonce="),
        ("/healthz", b"nonce=" + NONCE.upper().encode()),
        ("/healthz", b"nonce=" + NONCE.encode() + b"0"),
        ("/healthz", b"nonce=" + NONCE.encode() + b"&x=1"),
        ("/healthz", b"nonce=\xff\xfe"),
        ("/readyz", b"nonce=" + NONCE.encode()),
    ],
)
def test_what_asks_for_no_proof_gets_none(tmp_path: Path, path: str, query: bytes) -> None:
    make_key(tmp_path)
    assert asked_proof(tmp_path, path, query) == ""


def test_without_a_key_there_is_no_proof(tmp_path: Path) -> None:
    assert asked_proof(tmp_path, "/healthz", b"nonce=" + NONCE.encode()) == ""


def test_a_whole_appliance_answers_with_its_proof_and_otherwise_as_ever(tmp_path: Path) -> None:
    with RunningAppliance(tmp_path / "running") as running:
        with urllib.request.urlopen(f"{running.url}/healthz?nonce={NONCE}") as answer:
            assert prove(running.data_dir, NONCE).encode() in answer.read()
            assert answer.headers["cache-control"] == "no-store"
        with urllib.request.urlopen(f"{running.url}/healthz") as answer:
            assert b"proof" not in answer.read()
