"""docs/operations.md names every condition with its thresholds, and nothing that is not there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from appliance.config import Config
from appliance.ingest.asgi import IngestApp
from appliance.system import judging, watchdog
from appliance.system.conditions import RULES, Code

PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text("utf-8")
ROWS = {match[1]: match[0] for match in re.finditer(r"^\| `(\w+)` \|.*$", PAGE, re.MULTILINE)}
WORDS = {2: "two looks in a row", 3: "three looks in a row", 5: "five looks in a row"}


def test_every_condition_has_a_row_and_every_row_a_condition() -> None:
    assert set(ROWS) == {str(code) for code in Code} == {str(code) for code in RULES}


@pytest.mark.parametrize("code", list(Code))
def test_a_row_says_how_patient_the_condition_is(code: Code) -> None:
    said = [words for words in WORDS.values() if words in ROWS[code]]
    patience = RULES[code].patience
    assert said == ([WORDS[patience]] if patience > 1 else [])


def test_its_numbers_are_those_of_the_code() -> None:
    config = Config().monitoring
    for words in (
        f"`[monitoring] disk_days` ({config.disk_days:g})",
        f"`[monitoring] certificate_days` ({config.certificate_days:g})",
        f"`[monitoring] backup_hours` ({config.backup_hours:g};",
        f"more than {judging.LAG_RAISE / 60:.0f} minutes",
        f"more than {judging.FULL_RAISE:.0%}".replace("%", " %"),
        f"under {judging.FULL_CLEAR:.0%}".replace("%", " %"),
        f"more than {judging.MEMORY_RAISE:.0%}".replace("%", " %"),
        f"under {judging.MEMORY_CLEAR:.0%}".replace("%", " %"),
        f"at least {judging.DROPS_LEAST} records",
        f"**{watchdog.STUCK_FACTOR} times**",
        f"**{watchdog.RESTART_FACTOR} times**",
        f"exit code **{watchdog.EXIT_CODE}**",
    ):
        assert words in PAGE, words


def test_the_names_of_readyz_are_all_there() -> None:
    import inspect

    names = re.findall(r'"(\w+)":', inspect.getsource(IngestApp.problems))
    assert names
    assert all(f"`{name}`" in PAGE for name in [*names, "metadata"])
