"""docs/troubleshooting.md has a section for every code that can be emitted, and none for any other."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import click
import pytest

from appliance.cli import condev
from appliance.deploy.doctor import GROUPS

REPOSITORY = Path(__file__).parents[3]
DOCTOR = REPOSITORY / "appliance" / "deploy" / "doctor"
PAGE = (REPOSITORY / "docs" / "troubleshooting.md").read_text("utf-8")
SECTIONS = dict(re.findall(r"^### (\S+)\n\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL))
LEVELS = {"ok": "ok", "warn": "Warning", "error": "Error"}


def emitted() -> dict[str, set[str]]:
    """Code → the levels it is emitted with, read off the calls in the checks."""
    found: dict[str, set[str]] = {}
    for file in DOCTOR.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            is_report = (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in LEVELS
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id == "say"
            )
            if is_report:
                code = node.args[0]
                assert isinstance(code, ast.Constant), f"{file.name}:{node.lineno}: the code must be a literal"
                found.setdefault(str(code.value), set()).add(LEVELS[node.func.attr])
    return found


BAD = {code: levels for code, levels in emitted().items() if levels != {"ok"}}


def test_findings_are_made_in_no_other_way() -> None:
    makers = [file.name for file in DOCTOR.glob("*.py") if re.search(r"\bFinding\(", file.read_text("utf-8"))]
    assert makers == ["findings.py"]


def test_every_code_has_a_section_and_no_section_lacks_a_code() -> None:
    assert sorted(SECTIONS) == sorted(BAD)


@pytest.mark.parametrize("code", sorted(BAD))
def test_a_section_says_how_bad_it_is(code: str) -> None:
    assert {re.match(r"\*\*(\w+)\.\*\*", SECTIONS[code])[1]} == BAD[code]  # type: ignore[index]


@pytest.mark.parametrize("code", sorted(BAD))
def test_every_code_is_provoked_by_a_test(code: str) -> None:
    tests = "".join(file.read_text("utf-8") for file in Path(__file__).parent.glob("test_*.py"))
    assert f'"{code}"' in tests


def test_a_code_means_one_thing_whether_it_is_good_or_bad() -> None:
    assert {code: levels for code, levels in emitted().items() if len(levels) > 1} == {}


def test_the_page_leads_to_sections_that_it_has() -> None:
    for target in re.findall(r"\]\(#([\w-]+)\)", PAGE):
        assert target in SECTIONS


@pytest.mark.parametrize("page", ["troubleshooting.md", "no-outbound-smtp.md"])
def test_verbs_that_the_pages_name_exist_with_their_options(page: str) -> None:
    text = (REPOSITORY / "docs" / page).read_text("utf-8")
    lines = re.findall(r"`(condev [^`]+)`|^(condev [^#\n]+)", text, re.MULTILINE)
    for words in ((one or other).split() for one, other in lines):
        command: click.Command = condev
        rest = words[1:]
        while isinstance(command, click.Group):
            found = command.get_command(click.Context(command), rest.pop(0))
            assert found is not None, " ".join(words)
            command = found
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in rest if word.startswith("--")} <= known, " ".join(words)


def test_groups_are_those_of_the_checks() -> None:
    said = set(re.findall(r'Reporter\("(\w+)"\)', "".join(f.read_text() for f in DOCTOR.glob("*.py"))))
    assert said == set(GROUPS)
