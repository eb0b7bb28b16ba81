"""The pages that repeat the code say what the code says."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("docs_generate", REPOSITORY / "docs" / "generate.py")
assert SPEC is not None
assert SPEC.loader is not None
generate = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(generate)


@pytest.mark.parametrize("name", sorted(generate.PAGES))
def test_a_generated_page_is_up_to_date(name: str) -> None:
    written = (REPOSITORY / "docs" / name).read_text("utf-8")
    assert written == generate.PAGES[name](), f"docs/{name} is stale: run python docs/generate.py"
