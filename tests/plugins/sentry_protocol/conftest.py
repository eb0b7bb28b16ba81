"""The Sentry protocol and its recorded requests."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.hookspecs import Protocol
from condev_plugins.sentry_protocol import SentryProtocol

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def protocol() -> Protocol:
    return SentryProtocol()


@pytest.fixture
def golden() -> Path:
    return GOLDEN
