"""What changes or drops items before they are grouped and stored."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

from appliance.model import Item


class Processor(ABC):
    """Changes or drops items before they are grouped and stored. Runs in the decode worker.

    Must be deterministic: sampling is by a hash of the item's id, never by a random number.
    """

    name: str
    order: int = 100  # lower runs first: scrub 10, user_agent 50
    on_failure: Literal["skip", "dead_letter"] = "skip"

    @abstractmethod
    def process_batch(self, items: list[Item]) -> list[Item]:
        """Return the items to keep, changed in place or replaced. Those left out are counted as dropped by it.

        When it raises, the host calls it again item by item; an item that still raises is kept as it was before
        (`skip`) or its record becomes a dead letter (`dead_letter`).
        """
