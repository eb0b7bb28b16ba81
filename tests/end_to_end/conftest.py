"""The browser fixtures of tests/browser serve here, too."""

from __future__ import annotations

import importlib.util
from pathlib import Path

SPEC = importlib.util.spec_from_file_location("browser_fixtures", Path(__file__).parents[1] / "browser" / "conftest.py")
assert SPEC is not None
assert SPEC.loader is not None
_fixtures = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(_fixtures)

browser = _fixtures.browser
npm_modules = _fixtures.npm_modules
sdk_bundle = _fixtures.sdk_bundle
