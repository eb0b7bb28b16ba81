"""`condev upgrade --to`: what is asked before another version's image takes over, which has no terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from appliance.cli import apply as verbs


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The words that the other version's `condev` was given."""
    found: list[list[str]] = []

    def hand_over(_image: str, arguments: Sequence[str], **_: object) -> int:
        found.append(list(arguments))
        return 0

    monkeypatch.setattr(verbs, "hand_over", hand_over)
    return found


def upgrade(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: bool, *more: str) -> str:
    """On a terminal where a person gives this answer."""
    asked: list[str] = []

    def confirm(question: str, **_: object) -> bool:
        asked.append(question)
        return answer

    class Terminal:
        @staticmethod
        def isatty() -> bool:
            return True

    monkeypatch.setattr(verbs, "sys", type("Sys", (), {"stdin": Terminal, "stdout": Terminal}))
    monkeypatch.setattr(click, "confirm", confirm)
    done = CliRunner().invoke(verbs.upgrade, ["--dir", str(tmp_path), "--to", "9.9.9", *more])
    assert done.exit_code == 0, done.output
    return " ".join(asked)


def test_a_person_on_a_terminal_is_asked_before_the_other_version_takes_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, handed: list[list[str]]
) -> None:
    assert "9.9.9" in upgrade(tmp_path, monkeypatch, False)
    assert handed == []
    assert "9.9.9" in upgrade(tmp_path, monkeypatch, True)
    assert handed == [["upgrade", "--dir", str(tmp_path), "--yes"]]


def test_with_yes_or_in_a_dry_run_nobody_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, handed: list[list[str]]
) -> None:
    assert upgrade(tmp_path, monkeypatch, False, "--yes") == ""
    assert upgrade(tmp_path, monkeypatch, False, "--dry-run") == ""
    assert handed == [["upgrade", "--dir", str(tmp_path), *flags] for flags in (["--yes"], ["--dry-run"])]
