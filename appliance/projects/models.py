"""Tables of projects and their ingest keys."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from appliance.metadata.database import Base, BigId


class ProjectModel(Base):
    """One monitored front-end application."""

    __tablename__ = "projects"

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    slug: Mapped[str] = mapped_column(String(64), unique=True)
    name: Mapped[str] = mapped_column(String(120))
    created_at: Mapped[int] = mapped_column(BigInteger)
    deleted_at: Mapped[int | None] = mapped_column(BigInteger, default=None)
    allowed_origins: Mapped[str] = mapped_column(Text, default="*")  # one a line; "*" or https://*.example.com
    replay_enabled: Mapped[bool] = mapped_column(Boolean, default=True)
    requests_per_second: Mapped[float | None] = mapped_column(default=None)  # None: the appliance's
    settings: Mapped[str] = mapped_column(Text, default="{}")  # JSON: options for our SDK
    first_event_at: Mapped[int | None] = mapped_column(BigInteger, default=None)
    last_event_at: Mapped[int | None] = mapped_column(BigInteger, default=None)
    event_count: Mapped[int] = mapped_column(BigInteger, default=0)  # for life


class IngestKeyModel(Base):
    """A key of a DSN. It is public, so it is stored as it is."""

    __tablename__ = "ingest_keys"

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), index=True)
    key: Mapped[str] = mapped_column(String(64), unique=True)  # 32 hex digits
    label: Mapped[str] = mapped_column(String(120), default="Default")
    created_at: Mapped[int] = mapped_column(BigInteger)
    disabled_at: Mapped[int | None] = mapped_column(BigInteger, default=None)
