"""What a person can do with dead letters: look, try again, give up. The pipeline does the trying.

Works on the metadata and the files, whether the appliance is running or not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from sqlalchemy import func, select, update

from appliance.accounts.access import Actor, NotFoundError, Permission
from appliance.accounts.audit import record
from appliance.hookspecs import Clock
from appliance.ingest.decompress import BadEncodingError, BodyTooLargeError, decompress
from appliance.metadata.database import Database
from appliance.model import MICROSECONDS
from appliance.pipeline.counts import add_drops
from appliance.pipeline.dead_letters import WAITING, DeadLetterFiles
from appliance.pipeline.models import DeadLetterModel
from appliance.pipeline.wire import Drop
from appliance.spool.record import SpooledRecord, SpooledRecordError, decode_record
from appliance.system.schemas import DeadLetterContent, DeadLetterItem, DeadLetterList

MAX_PAGE: Final = 200
MAX_SHOWN: Final = 64 * 1024  # characters of a body: what a person reads
MAX_READ: Final = 20 * 1024 * 1024  # decompressed, in a thread
AT_ONCE: Final = 500  # rows of one write transaction
DAY: Final = 86_400 * MICROSECONDS


class DeadLetters:
    """Dead letters, for owners and admins."""

    def __init__(
        self, database: Database, files: DeadLetterFiles, clock: Clock, wake: Callable[[], None] = lambda: None
    ) -> None:
        """Args: wake: tells a pipeline of this process that something waits; another one finds it by itself."""
        self._database = database
        self._files = files
        self._clock = clock
        self._wake = wake

    async def list(
        self, actor: Actor, *, limit: int = 50, cursor: str = "", all_states: bool = False
    ) -> DeadLetterList:
        """Newest first; those retried or discarded only with `all_states`. Raises `ForbiddenError`."""
        actor.require(Permission.SYSTEM_WRITE)
        limit = min(max(limit, 1), MAX_PAGE)
        query = select(DeadLetterModel).order_by(DeadLetterModel.id.desc()).limit(limit + 1)
        if not all_states:
            query = query.where(DeadLetterModel.state.in_(WAITING))
        if cursor.isdigit() and len(cursor) < 19:
            query = query.where(DeadLetterModel.id < int(cursor))
        async with self._database.read() as session:
            rows = [_item(row) for row in await session.scalars(query)]
        following = str(rows[limit - 1].id) if len(rows) > limit else None
        return DeadLetterList(items=rows[:limit], next=following)

    async def kept(self) -> tuple[int, int]:
        """How many there are, and their bytes."""
        async with self._database.read() as session:
            sums = select(func.count(), func.coalesce(func.sum(DeadLetterModel.bytes), 0))
            count, size = (await session.execute(sums.where(DeadLetterModel.state.in_(WAITING)))).one()
            return int(count), int(size)

    async def content(self, actor: Actor, letter_id: int) -> DeadLetterContent:
        """One with what was received. Raises `ForbiddenError`, `NotFoundError`."""
        actor.require(Permission.SYSTEM_WRITE)
        async with self._database.read() as session:
            row = await session.get(DeadLetterModel, letter_id)
        if row is None:
            raise NotFoundError(f"There is no dead letter {letter_id}, or it was removed.")
        item = _item(row)
        try:
            payload = await asyncio.to_thread(self._files.path(item.record_id).read_bytes)
        except FileNotFoundError:
            gone = "Its bytes are no longer kept."
            return DeadLetterContent(
                item=item, headers={}, query="", address="", body="", body_bytes=0, cut=False, problem=gone
            )
        return await asyncio.to_thread(_content, item, payload)

    async def retry(self, actor: Actor, ids: Sequence[int] | None) -> int:
        """Let the pipeline try them again.

        Args:
            actor: an owner or admin.
            ids: which; None: all that are kept.

        Returns:
            How many it was asked to.
        """
        actor.require(Permission.SYSTEM_WRITE)
        changed = await self._move(actor, ids, "retrying", "dead_letters.retried")
        self._wake()
        return len(changed)

    async def discard(self, actor: Actor, ids: Sequence[int] | None) -> int:
        """Give them up for good; they are counted as dropped. Arguments as of `retry`."""
        actor.require(Permission.SYSTEM_WRITE)
        changed = await self._move(actor, ids, "discarded", "dead_letters.discarded")
        await asyncio.to_thread(self._files.remove, changed)
        return len(changed)

    async def _move(self, actor: Actor, ids: Sequence[int] | None, state: str, action: str) -> list[str]:
        """Change the state of those that are kept; their record ids."""
        changed: list[str] = []
        while True:
            async with self._database.write() as session:
                wanted = select(DeadLetterModel.id).where(DeadLetterModel.state == "kept").limit(AT_ONCE)
                if ids is not None:
                    wanted = wanted.where(DeadLetterModel.id.in_(list(ids)[:MAX_PAGE]))
                now = self._clock.now()
                moved = (
                    await session.execute(
                        update(DeadLetterModel)
                        .where(DeadLetterModel.id.in_(list(await session.scalars(wanted))))
                        .values(state=state)
                        .returning(DeadLetterModel.record_id, DeadLetterModel.project_id)
                        .execution_options(synchronize_session=False)
                    )
                ).all()
                if state == "discarded":
                    reason = "dead_letter_discarded"
                    await add_drops(
                        session, [Drop(now // DAY, row.project_id, "pipeline", reason, "other", 1) for row in moved]
                    )
                if moved:
                    record(session, actor, action, now, target=f"{len(moved)} dead letters")
            changed += [row.record_id for row in moved]
            if len(moved) < AT_ONCE:
                return changed


def _item(row: DeadLetterModel) -> DeadLetterItem:
    return DeadLetterItem(
        id=row.id,
        record_id=row.record_id,
        protocol=row.protocol,
        route=row.route,
        project_id=row.project_id,
        received_at=row.received_at,
        created_at=row.created_at,
        reason=row.reason,
        detail=row.detail,
        bytes=row.bytes,
        state=row.state,
    )


def _content(item: DeadLetterItem, payload: bytes) -> DeadLetterContent:
    try:
        spooled = decode_record(payload)
    except SpooledRecordError as error:
        spooled, problem = None, str(error)
    else:
        problem = ""
    if not isinstance(spooled, SpooledRecord):
        return _shown(item, SpooledRecord(protocol="", route="", project_id=0, received_at=0), payload, problem)
    try:
        body = decompress(spooled.body, spooled.headers.get("content-encoding", ""), MAX_READ)
    except (BadEncodingError, BodyTooLargeError) as error:
        return _shown(item, spooled, spooled.body, f"As it was received: {error}")
    return _shown(item, spooled, body, "")


def _shown(item: DeadLetterItem, spooled: SpooledRecord, body: bytes, problem: str) -> DeadLetterContent:
    return DeadLetterContent(
        item=item,
        headers=spooled.headers,
        query=spooled.query,
        address=spooled.address,
        body=body[: MAX_SHOWN * 4].decode(errors="replace")[:MAX_SHOWN],
        body_bytes=len(body),
        cut=len(body) > MAX_SHOWN,
        problem=problem,
    )
