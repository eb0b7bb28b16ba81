"""The image's locks say the same as pyproject.toml, and leave out what they must."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, Final, cast

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

REPOSITORY: Final = Path(__file__).parents[3]
PYPROJECT: Final = cast("dict[str, Any]", tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8")))
PINNED: Final = re.compile(r"^(?P<name>[\w.-]+)==(?P<version>[^ ;\\]+)", re.MULTILINE)
IMAGE: Final = {"python_version": "3.13", "python_full_version": "3.13.0", "sys_platform": "linux", "extra": ""}


def pinned(lock: str) -> dict[str, Version]:
    text = (REPOSITORY / lock).read_text("utf-8")
    return {canonicalize_name(found["name"]): Version(found["version"]) for found in PINNED.finditer(text)}


@pytest.mark.parametrize(
    ("lock", "requirements"),
    [
        ("requirements.lock", [*PYPROJECT["project"]["dependencies"], *PYPROJECT["dependency-groups"]["image"]]),
        (
            "requirements-build.lock",
            [*PYPROJECT["build-system"]["requires"], *PYPROJECT["dependency-groups"]["image-build"]],
        ),
    ],
)
def test_a_lock_holds_all_that_pyproject_asks_for_in_its_ranges(lock: str, requirements: list[str]) -> None:
    found = pinned(lock)
    asked = [one for one in map(Requirement, requirements) if one.marker is None or one.marker.evaluate(IMAGE)]
    wrong = [str(one) for one in asked if canonicalize_name(one.name) not in found]
    wrong += [str(one) for one in asked if (v := found.get(canonicalize_name(one.name))) and v not in one.specifier]
    assert wrong == [], "run `make lock`"


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-build.lock"])
def test_a_lock_has_hashes_and_names_no_host(lock: str) -> None:
    text = (REPOSITORY / lock).read_text("utf-8")
    blocks = re.split(r"\n(?=\S)", text.strip())[1:]
    assert len(blocks) > 20
    assert [block.split()[0] for block in blocks if "--hash=sha256:" not in block] == []
    assert "://" not in text
    assert "index-url" not in text


def test_the_image_is_spared_what_chdb_core_names_without_needing() -> None:
    assert {"pandas", "pyarrow", "numpy"} & set(pinned("requirements.lock")) == set()
    assert "chdb-core" in pinned("requirements.lock")
