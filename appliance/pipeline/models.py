"""Tables of the pipeline: intents, dead letters and counts of what was dropped."""

from __future__ import annotations

from sqlalchemy import BigInteger, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from appliance.metadata.database import Base, BigId, Unsigned64


class IntentModel(Base):
    """A spool range that is being applied: durable before its first effect. The last done one is the cursor."""

    __tablename__ = "pipeline_intents"

    epoch: Mapped[int] = mapped_column(Unsigned64, primary_key=True)
    segment: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    start: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    end: Mapped[int] = mapped_column(BigInteger)
    attempts: Mapped[int] = mapped_column(default=0)
    skip: Mapped[str] = mapped_column(Text, default="[]")  # JSON: offsets of records that became dead letters
    created_at: Mapped[int] = mapped_column(BigInteger)
    done_at: Mapped[int | None] = mapped_column(BigInteger, default=None, index=True)


class DeadLetterModel(Base):
    """A record that could not be processed; its bytes lie in a file of the data directory."""

    __tablename__ = "dead_letters"

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    record_id: Mapped[str] = mapped_column(String(64), unique=True)
    protocol: Mapped[str] = mapped_column(String(32))
    route: Mapped[str] = mapped_column(String(32))
    project_id: Mapped[int] = mapped_column(BigInteger, index=True)
    received_at: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[int] = mapped_column(BigInteger, index=True)
    reason: Mapped[str] = mapped_column(String(64))  # undecodable, timed_out, crashed, processor, refused_by_store
    detail: Mapped[str] = mapped_column(Text)
    bytes: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str] = mapped_column(String(16), default="kept", index=True)  # kept, retrying, retried, discarded


class DropCountModel(Base):
    """What was not kept, per project, reason, category and day, by ingest and by the pipeline."""

    __tablename__ = "drop_counts"

    day: Mapped[int] = mapped_column(primary_key=True)  # days since the epoch
    project_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)  # 0: the project is unknown
    source: Mapped[str] = mapped_column(String(16), primary_key=True)  # ingest, pipeline, client
    reason: Mapped[str] = mapped_column(String(64), primary_key=True)
    category: Mapped[str] = mapped_column(String(32), primary_key=True)
    quantity: Mapped[int] = mapped_column(BigInteger, default=0)


class PipelineCountModel(Base):
    """Totals for life: records, events, bytes, duplicates."""

    __tablename__ = "pipeline_counts"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    quantity: Mapped[int] = mapped_column(BigInteger, default=0)
