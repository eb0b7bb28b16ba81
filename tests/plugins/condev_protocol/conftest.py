"""The condev protocol."""

from __future__ import annotations

import pytest

from appliance.hookspecs import Protocol
from condev_plugins.condev_protocol import CondevProtocol


@pytest.fixture
def protocol() -> Protocol:
    return CondevProtocol()
