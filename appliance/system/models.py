"""Tables of periodic jobs and of small facts about this installation."""

from __future__ import annotations

from sqlalchemy import BigInteger, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from appliance.metadata.database import Base


class LeaseModel(Base):
    """A periodic job: who runs it until when, and how the last run ended."""

    __tablename__ = "job_leases"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    holder: Mapped[str] = mapped_column(String(64), default="")
    held_until: Mapped[int] = mapped_column(BigInteger, default=0)
    last_started_at: Mapped[int | None] = mapped_column(BigInteger, default=None)
    last_finished_at: Mapped[int | None] = mapped_column(BigInteger, default=None)
    last_error: Mapped[str] = mapped_column(Text, default="")
    next_at: Mapped[int] = mapped_column(BigInteger, default=0)


class FactModel(Base):
    """A small fact that must survive a restart (installation id, what the set-up did)."""

    __tablename__ = "facts"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[str] = mapped_column(Text)
