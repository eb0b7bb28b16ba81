"""What `/app-config?v=2` answers: the options that the project's page sets over those of the page itself."""

from __future__ import annotations

from typing import Final

import msgspec

from appliance.hookspecs import Answer, ProjectSettings
from appliance.model import Json, JsonObject

MAX_AGE: Final = 300  # seconds for which a browser keeps it: a change reaches every visitor within five minutes


def settings_answer(app_id: str, settings: ProjectSettings | None) -> Answer:
    """The settings of a project; for an unknown key those that send nothing but what is refused.

    Args:
        app_id: the key that was asked for.
        settings: of its project; None when the key is unknown.
    """
    replay = settings is not None and settings.replay_enabled
    sdk: JsonObject = {**(settings.sdk if settings is not None else {}), "replay": replay}
    data: dict[str, Json] = {"appId": app_id, "replayEnabled": replay, "sdk": sdk}
    body = msgspec.json.encode({"success": True, "data": data})
    return Answer(status=200, body=body, headers=(("Cache-Control", f"public, max-age={MAX_AGE}"),))
