"""What each service needs: the least it runs with, the most it makes use of, its share of what is to spare.

The figures are measured ones where they say so (docs/sizes.md); a plan adds nothing to them but arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from appliance.config import GIB, MIB
from appliance.deploy.plan import PlanError, Profile, size_text

TOLERANCE: Final = 0.05  # a "2 GiB" server shows 1.9: the kernel and the firmware keep the rest
MINIMUM_MEMORY: Final = 1 * GIB
# At most so much memory, as shown, for a profile. What is above 12 GiB is large.
PROFILES: Final[tuple[tuple[Profile, int], ...]] = (("tiny", 3 * GIB // 2), ("small", 3 * GIB), ("medium", 12 * GIB))

# The host's own: kernel, sshd, cron (about 70 MB), dockerd and containerd (110), a shim of 12 for each container.
LEAST_RESERVE: Final = 192 * MIB
MOST_RESERVE: Final = 2 * GIB  # page cache beyond it is what `unplanned` leaves
RESERVE_SHARE: Final = 8  # an eighth
COOLIFY_RESERVE: Final = 640 * MIB  # its own web application, Postgres, Redis, websockets and Traefik

# Measured in containers of 524 and 161 MiB, the least of tiny: 22,000 events from a full spool, pages asked meanwhile.
# The most that could not be given back was 258 MB in core and 83 in ingest.
IDLE_INGEST: Final = 90 * MIB  # measured
IDLE_CORE: Final = 222 * MIB  # measured: 170 and 52 for the decode worker; the embedded engine is in it, idle
BATCH_FACTOR: Final = 4  # measured: a batch is in memory as bytes, as items, as columns and as the engine's block


class Need(Struct, frozen=True, kw_only=True):
    """One service's bounds."""

    name: str
    least: int  # bytes; below it the service would be killed, so there is no plan
    most: int  # bytes; more would lie idle
    weight: int  # its share of what is to spare
    cpus: float
    pids: int
    reason: str


class Sizes(Struct, frozen=True, kw_only=True):
    """The bounds of a profile, in MiB: (least, most, weight)."""

    caddy: tuple[int, int, int]
    core: tuple[int, int, int]  # without an engine inside
    embedded_core: tuple[int, int, int]
    ingest_spare: tuple[int, int, int]  # on top of what bodies in flight take
    postgres: tuple[int, int, int]
    clickhouse: tuple[int, int, int]
    in_flight: int  # of bodies being received
    batch: int  # of records applied as one


# Postgres and ClickHouse stand in tiny and small for those who insist on servers there.
SIZES: Final[dict[Profile, Sizes]] = {
    "tiny": Sizes(
        caddy=(64, 80, 1), core=(320, 512, 6), embedded_core=(524, 768, 12), ingest_spare=(128, 160, 2),
        postgres=(192, 320, 2), clickhouse=(1200, 1200, 8), in_flight=22, batch=6,
    ),
    "small": Sizes(
        caddy=(96, 128, 1), core=(384, 768, 8), embedded_core=(640, 1536, 16), ingest_spare=(128, 192, 2),
        postgres=(256, 512, 3), clickhouse=(1200, 1536, 8), in_flight=64, batch=12,
    ),
    "medium": Sizes(
        caddy=(128, 192, 1), core=(512, 1024, 6), embedded_core=(1024, 2048, 12), ingest_spare=(160, 288, 2),
        postgres=(320, 1536, 8), clickhouse=(1200, 8192, 24), in_flight=64, batch=12,
    ),
    "large": Sizes(
        caddy=(192, 256, 1), core=(1024, 2048, 4), embedded_core=(1536, 3072, 12), ingest_spare=(192, 320, 1),
        postgres=(1536, 8192, 6), clickhouse=(4096, 65536, 28), in_flight=128, batch=12,
    ),
}  # fmt: skip


def profile_of(memory: int) -> Profile:
    """The profile of a host that has so many bytes to give."""
    for profile, most in PROFILES:
        if memory <= most:
            return profile
    return "large"


def profiles_from(profile: Profile) -> list[Profile]:
    """A profile and the smaller ones, largest first: where one does not fit, a smaller one may."""
    return list(SIZES)[: list(SIZES).index(profile) + 1][::-1]


def reserve_of(memory: int) -> int:
    """What the host keeps for itself."""
    return min(MOST_RESERVE, max(LEAST_RESERVE, memory // RESERVE_SHARE))


def allot(needs: Sequence[Need], memory: int) -> dict[str, int]:
    """Give each its least, then share out what is left by weight, up to the most of each.

    Rounded down to whole MiB, so that the sum never exceeds `memory`; with more memory nobody gets less.

    Args:
        needs: the services.
        memory: bytes for all of them.

    Raises:
        PlanError: not even the least fits; each part is named with what it takes.
    """
    given = {need.name: need.least for need in needs}
    spare: int = memory - sum(given.values())
    if spare < 0:
        parts = " + ".join(f"{need.name} {size_text(need.least)}" for need in needs)
        raise PlanError([f"{parts} = {size_text(memory - spare)}, and {size_text(max(0, memory))} is there for them"])
    open_needs: list[Need] = [need for need in needs if need.most > need.least]
    while open_needs and spare > 0:
        weights = sum(need.weight for need in open_needs)
        full: list[Need] = [n for n in open_needs if n.least + spare * n.weight // weights >= n.most]
        if not full:
            for need in open_needs:
                given[need.name] += spare * need.weight // weights
            break
        for need in full:
            given[need.name] = need.most
            spare -= need.most - need.least
        open_needs = [need for need in open_needs if need not in full]
    return {name: size // MIB * MIB for name, size in given.items()}
