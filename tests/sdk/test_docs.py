"""docs/sdk.md says what sdk/src/types.ts has: each option, rate and function, and none that is not there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "sdk.md").read_text("utf-8")
TYPES = (ROOT / "sdk" / "src" / "types.ts").read_text("utf-8")
NESTED = {  # option → the interface of its object
    "breadcrumbs": "BreadcrumbOptions",
    "requests": "RequestOptions",
    "flood": "FloodOptions",
    "performance": "PerformanceOptions",
    "whiteScreen": "WhiteScreenOptions",
    "replay": "ReplayOptions",
    "offline": "OfflineOptions",
    "sampleRates": "SampleRates",
}


def members(interface: str) -> set[str]:
    """The names of an interface's members."""
    body = re.search(rf"export interface {interface} \{{\n(.*?)^\}}", TYPES, re.MULTILINE | re.DOTALL)
    assert body, interface
    return set(re.findall(r"^  (\w+)\??:", body[1], re.MULTILINE))


def documented(heading: str) -> set[str]:
    """What stands as `code` in the first column of the table under a heading."""
    section = re.search(rf"^#+ {heading}\n(.*?)(?=^#|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert section, heading
    first = [line.split("|")[1] for line in section[1].splitlines() if line.startswith("| `")]
    return {name for cell in first for name in re.findall(r"`([\w.]+)", cell)}


def test_every_option_is_documented_and_nothing_else() -> None:
    assert documented("Options") == members("Options")


def test_every_part_of_an_option_is_documented_and_nothing_else() -> None:
    expected = {f"{option}.{name}" for option, interface in NESTED.items() for name in members(interface)}
    assert documented("In detail") | documented("Sampling") == expected


def test_every_function_of_the_api_is_documented_and_nothing_else() -> None:
    code = source("api") + source("index")
    exported = set(re.findall(r"^export (?:const|function|async function) (\w+)", code, re.MULTILINE))
    for names in re.findall(r"^export \{ ([\w, ]+) \}", code, re.MULTILINE):
        exported |= set(names.split(", "))
    assert documented("API") == exported - {"initWith"}


@pytest.mark.parametrize("name", ["react", "vue", "next"])
def test_what_an_entry_point_exports_is_in_its_section(name: str) -> None:
    module = source(f"frameworks/{name}")
    exported = re.findall(r"^export (?:const|function|async function|class) (\w+)", module, re.MULTILINE)
    assert exported
    assert [one for one in exported if one not in PAGE] == []


def test_the_readme_says_the_sizes_that_lint_allows() -> None:
    table = re.findall(r"^\| `(\w+\.js)` \| ([\d,]+) \|", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE)
    sizes: dict[str, int] = json.loads((ROOT / "sdk" / "sizes.json").read_text())
    assert {name: int(size.replace(",", "")) for name, size in table} == sizes


def source(name: str) -> str:
    """A module of the SDK."""
    return (ROOT / "sdk" / "src" / f"{name}.ts").read_text("utf-8")
