"""Tables of rules, alerts, the outbox and its deliveries."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from appliance.metadata.database import Base, BigId


class RuleModel(Base):
    """When a project notifies whom."""

    __tablename__ = "alert_rules"

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(120))
    condition: Mapped[str] = mapped_column(String(64))  # a registered Rule: new_issue, regression, …
    settings: Mapped[str] = mapped_column(Text, default="{}")  # JSON, by the Rule's form
    channel: Mapped[str] = mapped_column(String(64), default="email")
    recipients: Mapped[str] = mapped_column(Text, default="")  # one a line; "" = the project's people
    throttle_minutes: Mapped[int | None] = mapped_column(default=None)  # None: the appliance's
    enabled: Mapped[bool] = mapped_column(Boolean, default=True)
    created_at: Mapped[int] = mapped_column(BigInteger)
    throttled_until: Mapped[int | None] = mapped_column(BigInteger, default=None)  # until then firings join a digest


class AlertModel(Base):
    """One firing of a rule."""

    __tablename__ = "alerts"
    __table_args__ = (Index("ix_alerts_project_at", "project_id", "at"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    rule_id: Mapped[int | None] = mapped_column(ForeignKey("alert_rules.id", ondelete="SET NULL"), index=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    issue_id: Mapped[int | None] = mapped_column(BigInteger, default=None, index=True)
    change: Mapped[str] = mapped_column(Text)  # JSON of hookspecs.IssueChange
    at: Mapped[int] = mapped_column(BigInteger)
    outbox_id: Mapped[int | None] = mapped_column(BigInteger, default=None, index=True)  # None: waits for a digest


class OutboxModel(Base):
    """Something to be done after commit, at least once: a notification to deliver or a plugin hook to call."""

    __tablename__ = "outbox"
    __table_args__ = (
        Index("ix_outbox_state_next_at", "state", "next_at"),
        UniqueConstraint("dedupe_key"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    purpose: Mapped[str] = mapped_column(String(16))  # change, notification, alert, digest, hook
    dedupe_key: Mapped[str] = mapped_column(String(120))  # filling twice after a crash adds nothing
    channel: Mapped[str] = mapped_column(String(64), default="")
    body: Mapped[str] = mapped_column(Text)  # JSON, by purpose
    rule_id: Mapped[int | None] = mapped_column(BigInteger, default=None, index=True)
    project_id: Mapped[int | None] = mapped_column(BigInteger, default=None, index=True)
    state: Mapped[str] = mapped_column(String(16), default="waiting")  # waiting, sending, delivered, failed, discarded
    attempts: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[int] = mapped_column(BigInteger)
    next_at: Mapped[int] = mapped_column(BigInteger)
    finished_at: Mapped[int | None] = mapped_column(BigInteger, default=None)
    last_error: Mapped[str] = mapped_column(Text, default="")


class DeliveryModel(Base):
    """One attempt of one notifier to deliver one outbox entry."""

    __tablename__ = "deliveries"

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    outbox_id: Mapped[int] = mapped_column(ForeignKey("outbox.id", ondelete="CASCADE"), index=True)
    project_id: Mapped[int | None] = mapped_column(BigInteger, default=None, index=True)
    channel: Mapped[str] = mapped_column(String(64))
    notifier: Mapped[str] = mapped_column(String(64))
    attempt: Mapped[int] = mapped_column()
    started_at: Mapped[int] = mapped_column(BigInteger, index=True)
    seconds: Mapped[float] = mapped_column(default=0.0)
    ok: Mapped[bool] = mapped_column(Boolean)
    skipped: Mapped[bool] = mapped_column(Boolean, default=False)  # its breaker was open, or it is not configured
    reply: Mapped[str] = mapped_column(Text, default="")
    provider_id: Mapped[str] = mapped_column(String(200), default="")
    subject: Mapped[str] = mapped_column(String(300), default="")
    recipients: Mapped[str] = mapped_column(Text, default="")
