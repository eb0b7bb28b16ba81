"""Version 2 of the condev protocol."""

from __future__ import annotations

import pytest

from appliance.hookspecs import Protocol
from condev_plugins.condev_protocol import CondevProtocolV2


@pytest.fixture
def protocol() -> Protocol:
    return CondevProtocolV2()
