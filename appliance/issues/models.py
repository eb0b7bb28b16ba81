"""Tables of issues: hashes lead to issues many-to-one, counters are for life."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, ForeignKey, Index, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from appliance.metadata.database import Base, BigId, Unsigned64


class IssueModel(Base):
    """One problem."""

    __tablename__ = "issues"
    __table_args__ = (
        Index("ix_issues_project_state_last_seen", "project_id", "state", "last_seen"),
        Index("ix_issues_project_last_seen", "project_id", "last_seen"),
        Index("ix_issues_project_first_seen", "project_id", "first_seen"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    title: Mapped[str] = mapped_column(String(300))
    culprit: Mapped[str] = mapped_column(String(300), default="")
    type: Mapped[str] = mapped_column(String(200), default="")
    kind: Mapped[str] = mapped_column(String(32))
    level: Mapped[str] = mapped_column(String(16))
    platform: Mapped[str] = mapped_column(String(32), default="")
    grouping: Mapped[str] = mapped_column(Text, default="{}")  # JSON: why the first hash was made so

    state: Mapped[str] = mapped_column(String(16), default="open")  # open, resolved, ignored
    regressed_at: Mapped[int | None] = mapped_column(BigInteger, default=None)  # set while it is open again
    resolved_at: Mapped[int | None] = mapped_column(BigInteger, default=None)
    resolved_in: Mapped[str] = mapped_column(String(200), default="")  # a release; "" = now
    ignored_until: Mapped[int | None] = mapped_column(BigInteger, default=None)
    ignored_until_count: Mapped[int | None] = mapped_column(BigInteger, default=None)  # of event_count

    event_count: Mapped[int] = mapped_column(BigInteger, default=0)
    user_sketch: Mapped[bytes] = mapped_column(LargeBinary, default=b"")  # HyperLogLog registers
    user_count: Mapped[int] = mapped_column(BigInteger, default=0)  # estimated from the sketch
    first_seen: Mapped[int] = mapped_column(BigInteger)
    last_seen: Mapped[int] = mapped_column(BigInteger)
    first_release: Mapped[str] = mapped_column(String(200), default="")
    last_release: Mapped[str] = mapped_column(String(200), default="")
    first_event_id: Mapped[str] = mapped_column(String(32), default="")
    last_event_id: Mapped[str] = mapped_column(String(32), default="")
    withheld_payloads: Mapped[int] = mapped_column(BigInteger, default=0)
    overflow: Mapped[bool] = mapped_column(Boolean, default=False)  # the project's overflow issue
    # Several hashes lead here, or did: their rows count their own events and users. Until then only the issue counts:
    # nearly all issues have one hash, and a second row for every event would cost as much as all the rest.
    shared: Mapped[bool] = mapped_column(Boolean, default=False)
    merged_into: Mapped[int | None] = mapped_column(BigInteger, default=None)  # an alias: its hashes moved away


class IssueHashModel(Base):
    """A group hash and the issue it leads to. Merging moves rows; `home_issue_id` remembers where one came from."""

    __tablename__ = "issue_hashes"

    project_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    hash: Mapped[int] = mapped_column(Unsigned64, primary_key=True)
    issue_id: Mapped[int] = mapped_column(ForeignKey("issues.id", ondelete="CASCADE"), index=True)
    home_issue_id: Mapped[int] = mapped_column(BigInteger)
    explanation: Mapped[str] = mapped_column(Text, default="{}")  # JSON: "why grouped"
    event_count: Mapped[int] = mapped_column(BigInteger, default=0)  # what unmerge takes with it; kept while shared
    first_seen: Mapped[int] = mapped_column(BigInteger)
    last_seen: Mapped[int] = mapped_column(BigInteger)
    user_sketch: Mapped[bytes] = mapped_column(LargeBinary, default=b"")


class IssueReleaseModel(Base):
    """An issue's events in one release (at most 200 releases an issue, then the rest is not listed)."""

    __tablename__ = "issue_releases"
    __table_args__ = (Index("ix_issue_releases_release", "release"),)  # "when was this release first seen?"

    issue_id: Mapped[int] = mapped_column(ForeignKey("issues.id", ondelete="CASCADE"), primary_key=True)
    release: Mapped[str] = mapped_column(String(200), primary_key=True)
    first_seen: Mapped[int] = mapped_column(BigInteger)
    last_seen: Mapped[int] = mapped_column(BigInteger)
    event_count: Mapped[int] = mapped_column(BigInteger, default=0)


class IssueActivityModel(Base):
    """Who (or what) changed an issue's state, and when."""

    __tablename__ = "issue_activity"

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    issue_id: Mapped[int] = mapped_column(ForeignKey("issues.id", ondelete="CASCADE"), index=True)
    at: Mapped[int] = mapped_column(BigInteger)
    user_id: Mapped[int | None] = mapped_column(BigInteger, default=None)
    actor: Mapped[str] = mapped_column(String(254), default="")  # "" = the appliance
    action: Mapped[str] = mapped_column(String(32))  # opened, resolved, regressed, ignored, reopened, merged, unmerged
    detail: Mapped[str] = mapped_column(Text, default="")


class NewIssueWindowModel(Base):
    """How many issues a project opened in an hour: the bound on new issues."""

    __tablename__ = "new_issue_windows"

    project_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    hour: Mapped[int] = mapped_column(BigInteger, primary_key=True)  # hours since the epoch
    opened: Mapped[int] = mapped_column(BigInteger, default=0)
    overflowed: Mapped[int] = mapped_column(BigInteger, default=0)  # events sent to the overflow issue
