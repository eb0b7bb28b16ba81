"""What is refused first when the spool fills: the kinds that are large and missed least, long before it is full."""

from __future__ import annotations

from typing import Final

from appliance.model import Category

# The fraction of the spool from which a kind is refused. One replay takes the room of a hundred errors, so the second
# half is kept from it; measurements and transactions are statistics, which survive a gap; sessions make the crash-free
# rate, which a gap skews; errors are what the appliance is for. The last two per cent are for the counts of drops.
SHED_AT: Final = {
    Category.OTHER: 0.50,
    Category.REPLAY: 0.50,
    Category.MEASUREMENT: 0.70,
    Category.TRANSACTION: 0.75,
    Category.SESSION: 0.85,
    Category.ERROR: 0.98,
}
LOWEST: Final = min(SHED_AT.values())


def is_shed(category: Category, level: float) -> bool:
    """Whether a request of this kind is refused at this level of the spool (0 to 1)."""
    return level >= LOWEST and level >= SHED_AT[category]
